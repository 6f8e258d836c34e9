//! Pure: which backups of a cluster are verified, and since when.

use etcd_operator_api::backup::{BackupPhase, BackupStatus};
use etcd_operator_api::backup_policy::ARCHIVE;
use etcd_operator_api::{Backup, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kbagent_protocol::BackupReport;
use kube::ResourceExt;

use super::observed::Seen;
use crate::metrics::BackupTimes;

/// Most earlier backups that a Job looks for.
const LOOKED: usize = 50;

/// Cluster and component of a Backup that has begun, for figures.
pub(super) fn cluster(backup: &Backup) -> Option<String> {
    let (cluster, component) = of(backup)?;
    let namespace = backup.namespace().unwrap_or_default();
    Some(format!("{namespace}/{cluster}-{component}"))
}

/// What a Backup says of how old its cluster's backups are; nothing when the cluster is gone.
pub(super) fn told(backup: &Backup, seen: &Seen) -> BackupTimes {
    if seen.cluster.is_none() {
        return BackupTimes::default();
    }
    BackupTimes {
        asked: asked(backup),
        proven: proven(backup),
    }
}

/// When a full backup was asked for.
fn asked(backup: &Backup) -> Option<i64> {
    let full = backup.spec.backup_method != ARCHIVE && backup.metadata.deletion_timestamp.is_none();
    let made = backup.metadata.creation_timestamp.as_ref()?;
    full.then(|| made.0.as_second())
}

/// Whether a Backup is verified and no other of its cluster is newer.
pub(super) fn is_newest(backup: &Backup, others: &[Backup]) -> bool {
    let Some(own) = proven(backup) else {
        return false;
    };
    let mut same = others
        .iter()
        .filter(|other| of(other) == of(backup) && other.uid() != backup.uid())
        .filter(|other| whose(other) == whose(backup));
    !same.any(|other| proven(other).is_some_and(|at| at > own))
}

/// Name and UID of the Cluster that a backup is of, read from its path: one that was made again under the same name is
/// another one, and its backups make none of the former's superfluous.
pub(super) fn whose(backup: &Backup) -> Option<(&str, &str)> {
    backup.status.as_ref()?.cluster()
}

/// The archive that is put over a backup and has no newer one: the backup stays although its time is over.
pub(super) fn carried(backup: &Backup, others: &[Backup]) -> Option<String> {
    let status = backup.status.as_ref()?;
    let (place, own) = (status.place()?, (proven(backup)?, status.revision));
    let newer = |other: &&Backup| {
        let revision = other.status.as_ref().and_then(|status| status.revision);
        proven(other).is_some_and(|at| (at, revision) > own) && is_at(other, place)
    };
    let archive = |other: &&Backup| {
        let stays = other.metadata.deletion_timestamp.is_none();
        stays && other.spec.backup_method == ARCHIVE && is_at(other, place)
    };
    let archive = others.iter().find(archive)?;
    let replaced = others.iter().any(|other| newer(&other));
    (!replaced).then(|| archive.name_any())
}

/// Names of verified full backups at a place, the newest first.
pub(super) fn earlier(place: (&str, &str), others: &[Backup]) -> Vec<String> {
    let here = others.iter().filter(|other| is_at(other, place));
    let mut known: Vec<_> = here
        .filter_map(|other| Some((proven(other)?, other.name_any())))
        .collect();
    known.sort();
    let newest = known.into_iter().rev().take(LOOKED);
    newest.map(|(_, name)| name).collect()
}

/// What the Job of a backup that is `Completed` now has reported, and the place of that.
fn ended<'a, 's>(
    backup: &Backup,
    status: &'s BackupStatus,
    seen: &'a Seen,
) -> Option<(&'a BackupReport, (&'s str, &'s str))> {
    let before = backup.status.as_ref().and_then(|status| status.phase);
    let ends = status.phase == Some(BackupPhase::Completed) && status.phase != before;
    let report = seen.job.as_ref().and_then(|job| job.report.as_ref());
    report.zip(status.place()).filter(|_| ends)
}

/// Of these, those whose data the Job of a backup that is `Completed` now has not found.
pub(super) fn lost<'a>(backup: &Backup, status: &BackupStatus, seen: &'a Seen) -> Vec<&'a Backup> {
    let Some((report, place)) = ended(backup, status, seen) else {
        return Vec::new();
    };
    let others = seen.others.iter();
    others
        .filter(|other| other.uid() != backup.uid() && proven(other).is_some())
        .filter(|other| is_at(other, place) && report.lost.contains(&other.name_any()))
        .collect()
}

/// The one that its pass phrase has not opened.
pub(super) fn locked<'a>(
    backup: &Backup,
    status: &BackupStatus,
    seen: &'a Seen,
) -> Option<&'a Backup> {
    let (report, place) = ended(backup, status, seen)?;
    let name = report.locked.as_ref()?;
    let mut others = seen.others.iter();
    others.find(|other| {
        other.uid() != backup.uid() && other.name_any() == *name && is_at(other, place)
    })
}

/// Revision and time of each verified full backup at a place.
pub(super) fn bases(place: (&str, &str), others: &[Backup]) -> Vec<(i64, Time)> {
    let base = |other: &Backup| {
        let status = other.status.as_ref()?;
        proven(other).filter(|_| is_at(other, place))?;
        Some((status.revision?, status.completion_timestamp.clone()?))
    };
    others.iter().filter_map(base).collect()
}

/// Revision of the newest full backup that a restore of an archive can begin with; -1 where there is none.
pub(super) fn newest_base(archive: &Backup, others: &[Backup]) -> i64 {
    let status = archive.status.as_ref();
    let place = status.and_then(|status| status.place());
    let bases = place.map_or_else(Vec::new, |place| bases(place, others));
    let revisions = bases.into_iter().map(|(revision, _)| revision);
    revisions.max().unwrap_or(-1)
}

fn is_at(backup: &Backup, place: (&str, &str)) -> bool {
    let status = backup.status.as_ref();
    status.and_then(|status| status.place()) == Some(place)
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
