//! PURE: whether etcd may go to the version that is asked for, and what comes before pods of another minor: a backup, on
//! the way back etcd's own downgrade, and before 3.7 logs that it reads. What members run counts, not what was asked
//! for last (V5).

use etcd_operator_api::{Backup, Component, InstanceSet, labels};
use kube::ResourceExt;

use super::observe::Observed;
use super::snapshot::{self, Stage};
use crate::definition::{
    Minor, NoRoad, check_upgrade, leads_down, leads_past_old_requests, minor_of,
};

/// etcd cannot go there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChangeError {
    #[error(transparent)]
    Upgrade(#[from] NoRoad),
    #[error("serviceVersion cannot go to {to} yet: the version that {pod} runs is not known")]
    VersionUnknown { to: String, pod: String },
    #[error(
        "serviceVersion cannot go to {to}, another minor, without a backup before: {why}; make one possible, or set the \
         Cluster's annotation {}: \"true\"",
        labels::WITHOUT_BACKUP
    )]
    NoBackup { to: String, why: String },
}

/// What comes before pods of another minor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Change {
    /// The version that pods are made for until then.
    pub(super) until: Option<String>,
    /// The minor that etcd's data is to be led back to.
    pub(super) downgrade: Option<Minor>,
    /// The minor for whose servers the members' logs are prepared.
    pub(super) upgrade: Option<Minor>,
    /// The backup to make.
    pub(super) backup: Option<Box<Backup>>,
    /// What is waited for, where no other object tells it.
    pub(super) waits: Option<String>,
}

/// What comes before `to`. Versions of a stopped component are as they were seen last.
pub(super) fn change(
    component: &Component,
    to: &str,
    observed: &Observed,
) -> Result<Change, ChangeError> {
    let formed = |its: &&InstanceSet| {
        let status = its.status.as_ref();
        status.is_some_and(|status| status.cluster_id.is_some())
    };
    // Before the cluster has formed no member has written what another version could not read.
    let Some(its) = observed.instance_set.as_ref().filter(formed) else {
        return Ok(Change::default());
    };
    let members = its.status.iter().flat_map(|status| &status.members);
    let members: Vec<_> = members.filter(|m| !m.pod_name.is_empty()).collect();
    let wished = its.annotations().get(labels::SERVICE_VERSION);
    let wished = wished.map_or(to, String::as_str);
    let unknown = members.iter().find(|member| member.version.is_none());
    let mut running: Vec<&str> = members
        .iter()
        .filter_map(|m| m.version.as_deref())
        .collect();
    if running.is_empty() {
        running.push(wished);
    } else if let Some(unknown) = unknown.filter(|_| minor_of(wished) != minor_of(to)) {
        // Within a minor any order is fine, so that what is unknown holds up nothing but a change of minor.
        let (to, pod) = (to.to_owned(), unknown.pod_name.clone());
        return Err(ChangeError::VersionUnknown { to, pod });
    }
    check_upgrade(&running, to)?;
    if let Some(due) = snapshot::due(component, Some(its)) {
        let stage = snapshot::stage(&due, component, observed.backup.as_ref());
        let mut change = Change {
            until: Some(wished.to_owned()),
            ..Change::default()
        };
        match stage {
            Stage::Passed => return Ok(prepared(&running, to, its)),
            Stage::Impossible(why) => {
                let to = to.to_owned();
                return Err(ChangeError::NoBackup { to, why });
            }
            Stage::Make(backup) => {
                change.waits = Some(format!("Backup {} is made first", due.name));
                change.backup = Some(backup);
            }
            Stage::Waits(why) => change.waits = Some(why),
        }
        return Ok(change);
    }
    Ok(prepared(&running, to, its))
}

/// Pods stay of the version that they are made for until servers of the other minor can read what every member has: its
/// data on the way back, where one that runs already holds the cluster's version; its log on the way to 3.7.
fn prepared(running: &[&str], to: &str, its: &InstanceSet) -> Change {
    let downgrade = leads_down(running, to);
    let upgrade = leads_past_old_requests(running, to);
    let wished = its.annotations().get(labels::SERVICE_VERSION);
    let made_for = wished.and_then(|wished| Minor::of(wished));
    let readable = its.status.as_ref().and_then(|s| s.readable_by.as_deref());
    let readable = |to: Minor| readable.and_then(Minor::of) == Some(to);
    let back = |to: Minor| {
        let runs = running.iter().any(|version| Minor::of(version) == Some(to));
        !runs && !readable(to) && made_for.is_some_and(|made_for| made_for > to)
    };
    let up = |to: Minor| !readable(to) && made_for.is_some_and(|made_for| made_for < to);
    let waits = downgrade.is_some_and(back) || upgrade.is_some_and(up);
    Change {
        until: wished.filter(|_| waits).cloned(),
        downgrade,
        upgrade,
        ..Change::default()
    }
}
