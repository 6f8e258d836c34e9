//! PURE: the Backup of an archive and what was seen -> its next status, and one act.

use etcd_operator_api::backup::{ArchiveGap, BackupPhase, BackupStatus, TimeRange};
use etcd_operator_api::backup_policy::DATAFILE;
use etcd_operator_api::{Backup, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::ArchiveReport;
use kube::ResourceExt;

use super::decision::{Act, Decision, FINALIZER, FORMAT, Obstacle, Settings, act, hindered};
use super::job::Keep;
use super::leave::leave;
use super::observed::{KeeperSeen, Seen};
use super::period;
use super::place::Place;
use super::plan::{Ground, ground, keeper_name, scheme};

/// How often it is looked at, in seconds.
const LOOK: i64 = 10;
/// A revision and a time that grow are written so often, in seconds.
const WRITE: i64 = 60;
/// An archive that is further behind says why, in milliseconds.
const BEHIND: i64 = 10_000;
/// One that is as far behind is given its credential again, which may have been replaced.
const RENEW: i64 = 120_000;

/// Decides.
pub(super) fn decide(backup: &Backup, seen: &Seen, settings: &Settings, now: &Time) -> Decision {
    let status = backup.status.clone().unwrap_or_default();
    if backup.metadata.deletion_timestamp.is_some() {
        return leave(backup, seen, settings, status);
    }
    if status.phase == Some(BackupPhase::Failed) {
        return act(status, Act::Record);
    }
    let held = backup
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER);
    if !held {
        return act(status, Act::Hold);
    }
    let wanted = ground(backup, seen, settings).and_then(|ground| wanted(backup, seen, ground));
    let (ground, keep) = match (wanted, &seen.keeper) {
        (Ok(wanted), _) => wanted,
        (Err(obstacle), None) => return hindered(backup, status, obstacle, now),
        // What runs runs on, as long as it can.
        (Err(obstacle), Some(keeper)) => {
            let mut status = follow(status, keeper, None, now);
            status.failure_reason = Some(obstacle.text());
            return again(status, Act::Record);
        }
    };
    let Some(keeper) = &seen.keeper else {
        let status = BackupStatus {
            phase: Some(BackupPhase::New),
            failure_reason: None,
            format_version: Some(FORMAT.to_owned()),
            start_timestamp: status.start_timestamp.clone().or_else(|| Some(now.clone())),
            backup_repo_name: Some(ground.repo.clone()),
            path: Some(ground.frame.path.clone()),
            job: Some(keeper_name(backup)),
            ..status
        };
        return again(status, Act::Keep(Box::new((ground.frame, keep))));
    };
    let status = follow(status, keeper, newest(seen, &ground), now);
    let stale = keeper
        .report
        .as_ref()
        .is_some_and(|report| report.lag > RENEW && report.failure.is_some());
    if stale || keeper.made_of != keep.made_of(&ground.frame) {
        return again(status, Act::Keep(Box::new((ground.frame, keep))));
    }
    again(status, Act::Record)
}

fn again(status: BackupStatus, act: Act) -> Decision {
    Decision {
        status,
        act,
        again: Some(LOOK),
    }
}

/// What must run: over the newest full backup, when nothing ran before.
fn wanted(backup: &Backup, seen: &Seen, mut ground: Ground) -> Result<(Ground, Keep), Obstacle> {
    if let Place::Claim { mode, .. } = &ground.frame.place
        && mode == "ReadWriteOncePod"
    {
        return Err(Obstacle::Refused(format!(
            "BackupRepo {:?} has config.accessMode ReadWriteOncePod, and an archive's pod would keep full backups out: use \
             ReadWriteMany",
            ground.repo
        )));
    }
    let kept = seen.keeper.as_ref().and_then(|keeper| keeper.after);
    let after = match kept {
        Some(after) => after,
        None => newest(seen, &ground).ok_or_else(|| {
            Obstacle::Later(
                "there is no full backup that it could be put over: make a Backup of this Cluster with backupMethod: \
                 datafile first, into the same BackupRepo"
                    .to_owned(),
            )
        })?,
    };
    let keep = backup.spec.retention_period.as_deref().map(period::seconds);
    let keep = Keep {
        members: format!("{}://{}:2379", scheme(&ground.tls), ground.domain),
        tls: ground.tls.clone(),
        after,
        seconds: keep.and_then(Result::ok),
        name: keeper_name(backup),
        cluster: ground.cluster.clone(),
        component: ground.component.clone(),
    };
    // It needs no program of etcd.
    ground.frame.etcd = None;
    Ok((ground, keep))
}

/// The revision of the newest full backup that is verified.
fn newest(seen: &Seen, ground: &Ground) -> Option<i64> {
    let fits = |other: &&Backup| {
        let of = |label: &str| other.labels().get(label).map(String::as_str);
        let status = other.status.clone().unwrap_or_default();
        other.spec.backup_method == DATAFILE
            && of(labels::INSTANCE) == Some(ground.cluster.as_str())
            && of(labels::COMPONENT_NAME) == Some(ground.component.as_str())
            && status.phase == Some(BackupPhase::Completed)
            && status.verified == Some(true)
            && status.backup_repo_name.as_deref() == Some(ground.repo.as_str())
    };
    let found = seen.others.iter().filter(fits);
    found
        .filter_map(|other| other.status.as_ref()?.revision)
        .max()
}

/// The status after what was seen of the Deployment; what only grows is written once a minute.
fn follow(
    mut status: BackupStatus,
    keeper: &KeeperSeen,
    full: Option<i64>,
    now: &Time,
) -> BackupStatus {
    let Some(report) = &keeper.report else {
        let silent = "its pod does not answer";
        status.failure_reason = Some(keeper.stuck.clone().unwrap_or_else(|| silent.to_owned()));
        return status;
    };
    status.phase = Some(BackupPhase::Running);
    let behind = report.lag > BEHIND;
    let why = || {
        report
            .failure
            .clone()
            .unwrap_or_else(|| "the member has more than the archive".to_owned())
    };
    status.failure_reason =
        behind.then(|| format!("more than {} s behind: {}", BEHIND / 1000, why()));
    if let (Some(revision), Some(reason)) = (report.gap_until, report.gap.clone()) {
        status.gap = Some(ArchiveGap { revision, reason });
    }
    // Over a newer full backup all that follows can be restored.
    status.gap = status
        .gap
        .filter(|gap| full.is_none_or(|full| full < gap.revision));
    let Some(range) = range(report) else {
        return status;
    };
    let written = status
        .time_range
        .as_ref()
        .and_then(|range| range.end.as_ref());
    if written.is_none_or(|written| now.0.duration_since(written.0).as_secs() >= WRITE) {
        status.revision = Some(report.through);
        status.time_range = Some(range);
    }
    status
}

/// The times that can be restored; of an archive that has a segment.
fn range(report: &ArchiveReport) -> Option<TimeRange> {
    let time = |at: i64| Timestamp::from_millisecond(at).ok();
    // Whole seconds, as Kubernetes writes times: the first is rounded up.
    let start = report.since?.saturating_add(999) / 1000 * 1000;
    Some(TimeRange {
        start: time(start).map(Time),
        end: time(report.until / 1000 * 1000).map(Time),
    })
}
