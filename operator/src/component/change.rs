//! PURE: whether etcd may go to the version that is asked for, and what comes before pods of another minor: a backup,
//! on the way back etcd's own downgrade, and before 3.7 logs that it reads. What members run counts, not what was asked
//! for last (V5).

use etcd_operator_api::condition::Reason;
use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::{Backup, Component, InstanceSet, labels};
use kube::ResourceExt;

use super::observe::Observed;
use super::snapshot::{self, Stage};
use super::v2store::{Store, store};
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
    #[error(
        "serviceVersion cannot go to {to}: clients have left something in the store of etcd's API v2, which {to} does not start \
         with (etcdutl check v2store in {pod}: {found}); restore a Backup into a new Cluster, which leaves it behind, or set the \
         Cluster's annotation {}: \"true\"",
        labels::WITHOUT_V2_CHECK
    )]
    V2Content {
        to: String,
        pod: String,
        found: String,
    },
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
    pub(super) waits: Option<Wait>,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// In one word.
    pub(super) reason: Reason,
    /// What it is.
    pub(super) text: String,
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
    let first = match unchecked(component, &members, (wished, to))? {
        None => backup(component, to, observed)?,
        some => some,
    };
    Ok(match first {
        Some(change) => Change {
            until: Some(wished.to_owned()),
            ..change
        },
        None => prepared(&running, to, its),
    })
}

/// What is waited for until members have said that `to` would start with their data.
fn unchecked(
    component: &Component,
    members: &[&KnownMember],
    (wished, to): (&str, &str),
) -> Result<Option<Change>, ChangeError> {
    match store(component, (members, wished), to) {
        Store::Clean => Ok(None),
        Store::Content { pod, found } => {
            let to = to.to_owned();
            Err(ChangeError::V2Content { to, pod, found })
        }
        Store::Unknown(why) => {
            let text =
                format!("whether {to} would start with the data of members is not known: {why}");
            Ok(Some(waits(Reason::V2StoreUnchecked, text)))
        }
    }
}

/// The backup that comes first, or what it waits for.
fn backup(
    component: &Component,
    to: &str,
    observed: &Observed,
) -> Result<Option<Change>, ChangeError> {
    let Some(due) = snapshot::due(component, observed.instance_set.as_ref()) else {
        return Ok(None);
    };
    match snapshot::stage(&due, component, observed.backup.as_ref()) {
        Stage::Passed => Ok(None),
        Stage::Impossible(why) => {
            let to = to.to_owned();
            Err(ChangeError::NoBackup { to, why })
        }
        Stage::Make(backup) => {
            let text = format!("Backup {} is made first", due.name);
            Ok(Some(Change {
                backup: Some(backup),
                ..waits(Reason::BackupFirst, text)
            }))
        }
        Stage::Waits(why) => Ok(Some(waits(Reason::BackupFirst, why))),
    }
}

fn waits(reason: Reason, text: String) -> Change {
    Change {
        waits: Some(Wait { reason, text }),
        ..Change::default()
    }
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
