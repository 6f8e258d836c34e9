//! PURE: the backup that comes before etcd changes its minor. What a newer minor has written an older one may not read,
//! so that a change that went wrong is left by a restore.
//!
//! A Backup object, which is read back and verified, in the repository of the component's BackupPolicy: a snapshot on a
//! member's own volume would be lost with what it is to protect from.

use std::collections::BTreeMap;

use etcd_operator_api::backup::{BackupPhase, DeletionPolicy};
use etcd_operator_api::backup_policy::DATAFILE;
use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{Backup, BackupSpec, Component, InstanceSet, labels};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use crate::definition::Minor;

/// Characters of the Cluster's UID in the backup's name: another Cluster of the name has other backups.
const UID: usize = 8;

/// A backup that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Its name. Another edit of the Cluster makes another one due: data has changed since.
    pub(super) name: String,
    to: Minor,
}

/// What there is of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BackupSeen {
    /// The backup.
    pub(super) backup: Option<Backup>,
    /// Why none can be made, when there is none.
    pub(super) obstacle: Option<String>,
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// It is verified.
    Passed,
    /// It is to be made.
    Make(Box<Backup>),
    /// It is not verified yet, or has failed.
    Waits(String),
    /// There is no place for it.
    Impossible(String),
}

/// The backup that must be verified before pods are made of the minor that is asked for; none while a member runs that
/// minor, which is the way back of a change that is not complete, nor where the owner wants none.
pub(super) fn due(component: &Component, its: Option<&InstanceSet>) -> Option<Due> {
    let its = its?;
    let status = its.status.as_ref()?;
    status.cluster_id.as_ref()?;
    let to = Minor::of(component.spec.service_version.as_deref()?)?;
    let made_for = Minor::of(its.annotations().get(labels::SERVICE_VERSION)?)?;
    let runs = |member: &KnownMember| member.version.as_deref().and_then(Minor::of) == Some(to);
    let annotations = component.annotations();
    let unwanted = annotations.get(labels::WITHOUT_BACKUP).map(String::as_str) == Some("true");
    if made_for == to || unwanted || status.members.iter().any(runs) {
        return None;
    }
    let uid = annotations.get(labels::CLUSTER_UID);
    let uid: String = uid
        .into_iter()
        .flat_map(|uid| uid.chars())
        .take(UID)
        .collect();
    let minor = to.to_string().replace('.', "-");
    let generation = component.metadata.generation.unwrap_or_default();
    let name = format!("{}-{uid}-to-{minor}-{generation}", component.name_any());
    Some(Due { name, to })
}

/// Where it stands.
pub(super) fn stage(due: &Due, component: &Component, seen: Option<&BackupSeen>) -> Stage {
    let name = &due.name;
    let Some(seen) = seen else {
        return Stage::Waits(format!("Backup {name} is not known yet"));
    };
    let Some(backup) = &seen.backup else {
        return match &seen.obstacle {
            Some(why) => Stage::Impossible(why.clone()),
            None => Stage::Make(Box::new(build(due, component))),
        };
    };
    let status = backup.status.clone().unwrap_or_default();
    let why = status.failure_reason.map(|why| format!(": {why}"));
    let why = why.unwrap_or_default();
    if backup.metadata.deletion_timestamp.is_some() {
        return Stage::Waits(format!(
            "Backup {name} is being deleted; another is made then"
        ));
    }
    match status.phase {
        Some(BackupPhase::Completed) if status.verified == Some(true) => Stage::Passed,
        Some(phase) if phase.is_ended() => Stage::Waits(format!(
            "Backup {name} has failed{why}; delete it to have another made, or set the Cluster's annotation {}: \"true\"",
            labels::WITHOUT_BACKUP
        )),
        phase => {
            let phase = phase.unwrap_or(BackupPhase::New);
            Stage::Waits(format!("Backup {name} is {phase:?}{why}"))
        }
    }
}

fn build(due: &Due, component: &Component) -> Backup {
    let own = component.labels();
    let copied = [labels::MANAGED_BY, labels::INSTANCE, labels::COMPONENT_NAME];
    let copied = copied.iter().filter_map(|label| own.get_key_value(*label));
    let mut given: BTreeMap<String, String> = copied
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    given.insert(labels::BEFORE_UPGRADE.to_owned(), due.to.to_string());
    Backup {
        metadata: ObjectMeta {
            name: Some(due.name.clone()),
            namespace: component.namespace(),
            labels: Some(given),
            ..ObjectMeta::default()
        },
        spec: BackupSpec {
            backup_policy_name: ComponentName::existing(&component.name_any()).backup_policy(),
            backup_method: DATAFILE.to_owned(),
            // It was not asked for by name: it is the owner's to delete, and holds no namespace that goes.
            deletion_policy: DeletionPolicy::Retain,
            ..BackupSpec::default()
        },
        status: None,
    }
}
