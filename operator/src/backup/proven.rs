//! Pure: when the newest verified backup of a cluster was completed.

use etcd_operator_api::backup::BackupPhase;
use etcd_operator_api::{Backup, labels};
use kube::ResourceExt;

use super::observed::Seen;

/// The cluster of a Backup, and when its newest verified full backup was completed; `None` for the time when the
/// cluster is gone or nothing was ever verified. Nothing of a Backup that never began.
pub(super) fn newest(backup: &Backup, seen: &Seen) -> Option<(String, Option<i64>)> {
    let own = of(backup)?;
    let others = seen
        .others
        .iter()
        .filter(|other| of(other).as_ref() == Some(&own));
    let newest = others.chain([backup]).filter_map(proven).max();
    let name = format!(
        "{}/{}-{}",
        backup.namespace().unwrap_or_default(),
        own.0,
        own.1
    );
    Some((name, newest.filter(|_| seen.cluster.is_some())))
}

/// Whether a Backup is verified and no other of its cluster is newer.
pub(super) fn is_newest(backup: &Backup, others: &[Backup]) -> bool {
    let Some(own) = proven(backup) else {
        return false;
    };
    let mut same = others
        .iter()
        .filter(|other| of(other) == of(backup) && other.uid() != backup.uid());
    !same.any(|other| proven(other).is_some_and(|at| at > own))
}

/// The Cluster and the component.
fn of(backup: &Backup) -> Option<(String, String)> {
    let label = |label: &str| backup.labels().get(label).cloned();
    Some((label(labels::INSTANCE)?, label(labels::COMPONENT_NAME)?))
}

/// When a verified backup that stays was completed, in seconds since 1970.
pub(super) fn proven(backup: &Backup) -> Option<i64> {
    let status = backup.status.as_ref()?;
    let counts = status.phase == Some(BackupPhase::Completed) && status.verified == Some(true);
    let stays = backup.metadata.deletion_timestamp.is_none();
    let at = status.completion_timestamp.as_ref()?;
    (counts && stays).then(|| at.0.as_second())
}
