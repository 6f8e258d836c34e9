//! PURE: the Backup of an archive and what was seen -> its next status, and one act.

use etcd_operator_api::Backup;
use etcd_operator_api::backup::{ArchiveGap, BackupPhase, BackupStatus, TimeRange};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::ArchiveReport;
use kube::ResourceExt;

use super::decision::{Act, Decision, FINALIZER, FORMAT, Obstacle, Settings, act, hindered, wait};
use super::keeper::Keep;
use super::leave::leave;
use super::observed::{KeeperSeen, Seen};
use super::period;
use super::place::Place;
use super::plan::{Ground, encryption, ground, keep, keeper_name, scheme};
use super::proven::bases;

/// How often it is looked at, in seconds.
const LOOK: i64 = 10;
/// A revision and a time that grow are written so often, in seconds.
const WRITE: i64 = 60;
/// An archive that is further behind says why, in milliseconds.
const BEHIND: i64 = 10_000;
/// What it says without a full backup.
const NO_BASE: &str = "there is no full backup that it could be put over: make a Backup of this Cluster with \
                       backupMethod: datafile, into the same BackupRepo";
/// One that is as far behind is given its credential again, which may have been replaced.
const RENEW: i64 = 120_000;

/// Decides.
pub(super) fn decide(backup: &Backup, seen: &Seen, settings: &Settings, now: &Time) -> Decision {
    let status = backup.status.clone().unwrap_or_default();
    if backup.metadata.deletion_timestamp.is_some() {
        return leave(backup, seen, settings, status);
    }
    match status.phase {
        Some(BackupPhase::Failed) => return act(status, Act::Record),
        Some(BackupPhase::Completed) if seen.keeper.is_some() => return again(status, Act::Cancel),
        Some(BackupPhase::Completed) => return keep(backup, seen, status, now),
        _ => {}
    }
    let held = backup
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER);
    if !held {
        return act(status, Act::Hold);
    }
    if let Some(why) = gone(&status, seen) {
        return end(backup, seen, status, why, now);
    }
    let wanted = ground(backup, seen, settings).and_then(|ground| wanted(backup, seen, ground));
    let (ground, keep) = match (wanted, &seen.keeper) {
        (Ok(wanted), _) => wanted,
        // What is in the repository is worth a wait.
        (Err(obstacle), None) if status.path.is_some() => {
            return wait(status, obstacle.text(), LOOK);
        }
        (Err(obstacle), None) => return hindered(backup, status, obstacle, now),
        // What runs runs on, as long as it can.
        (Err(obstacle), Some(keeper)) => {
            let mut status = follow(status, keeper, seen, now);
            status.failure_reason = Some(obstacle.text());
            return again(status, Act::Record);
        }
    };
    let Some(keeper) = &seen.keeper else {
        let policy = seen.policy.as_ref();
        let status = BackupStatus {
            encryption_config: policy.and_then(|policy| encryption(backup, policy).cloned()),
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
    let status = follow(status, keeper, seen, now);
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

/// Why nothing more can come: the Cluster is gone, or another one has its name.
fn gone(status: &BackupStatus, seen: &Seen) -> Option<String> {
    let (name, uid) = status.cluster()?;
    let told = match seen.owner.as_ref()? {
        Some(there) if there == uid => return None,
        Some(_) => format!("Cluster {name:?} is another one now: make another Backup for it"),
        None => format!("Cluster {name:?} is gone"),
    };
    Some(format!(
        "{told}; what was archived of it can be restored until this Backup is deleted"
    ))
}

/// The archive has ended; it expires when all in it is older than it was to be kept.
fn end(
    backup: &Backup,
    seen: &Seen,
    mut status: BackupStatus,
    why: String,
    now: &Time,
) -> Decision {
    if let Some(report) = seen
        .keeper
        .as_ref()
        .and_then(|keeper| keeper.report.as_ref())
    {
        reach(&mut status, report, seen);
    }
    status.phase = Some(BackupPhase::Completed);
    status.completion_timestamp = Some(now.clone());
    status.expiration = period::end(backup.spec.retention_period.as_deref(), now);
    status.failure_reason = Some(why);
    let next = seen.keeper.as_ref().map_or(Act::Record, |_| Act::Cancel);
    again(status, next)
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
    // It stays where it has begun, whatever becomes of the policy's pathPrefix.
    let begun = backup
        .status
        .as_ref()
        .and_then(|status| status.path.clone());
    if let Some(path) = begun {
        ground.frame.path = path;
    }
    let kept = seen.keeper.as_ref().and_then(|keeper| keeper.after);
    let after = match kept {
        Some(after) => after,
        None => newest(seen, &ground).ok_or_else(|| Obstacle::Later(NO_BASE.to_owned()))?,
    };
    let keep = backup.spec.retention_period.as_deref().map(period::seconds);
    let keep = Keep {
        members: members(&ground),
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

/// One by one: a certificate of the user's must have the pods' names, and needs none for all of them.
fn members(ground: &Ground) -> Vec<String> {
    let scheme = scheme(&ground.tls);
    let pods = ground.pods.iter();
    pods.map(|pod| format!("{scheme}://{pod}.{}:2379", ground.domain))
        .collect()
}

/// The revision of the newest full backup that is verified.
fn newest(seen: &Seen, ground: &Ground) -> Option<i64> {
    let (folder, _) = ground.frame.path.rsplit_once('/')?;
    let bases = bases((&ground.repo, folder), &seen.others);
    bases.into_iter().map(|(revision, _)| revision).max()
}

/// The status after what was seen of the Deployment; what only grows is written once a minute.
fn follow(mut status: BackupStatus, keeper: &KeeperSeen, seen: &Seen, now: &Time) -> BackupStatus {
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
    let bases = status
        .place()
        .map_or_else(Vec::new, |place| bases(place, &seen.others));
    // Over a newer full backup all that follows can be restored.
    status.gap = status
        .gap
        .filter(|gap| bases.iter().all(|(revision, _)| *revision < gap.revision));
    if base(report, &bases).is_none() {
        status.time_range = None;
        status
            .failure_reason
            .get_or_insert_with(|| NO_BASE.to_owned());
        return status;
    }
    let written = status
        .time_range
        .as_ref()
        .and_then(|range| range.end.as_ref());
    if written.is_none_or(|written| now.0.duration_since(written.0).as_secs() >= WRITE) {
        reach(&mut status, report, seen);
    }
    status
}

/// Records what can be restored: nothing of an archive without a segment, or without a full backup below it.
fn reach(status: &mut BackupStatus, report: &ArchiveReport, seen: &Seen) {
    let bases = status
        .place()
        .map_or_else(Vec::new, |place| bases(place, &seen.others));
    let Some((since, base)) = report.since.zip(base(report, &bases)) else {
        return;
    };
    let time = |at: i64| Timestamp::from_millisecond(at).ok();
    // Whole seconds, as Kubernetes writes times: the first is rounded up.
    let start = time(since.saturating_add(999) / 1000 * 1000);
    status.revision = Some(report.through);
    status.time_range = Some(TimeRange {
        start: start.map(|start| Time(start.max(base.0))),
        end: time(report.until / 1000 * 1000).map(Time),
    });
}

/// When the first of the full backups was completed that the archive can be put over.
fn base(report: &ArchiveReport, bases: &[(i64, Time)]) -> Option<Time> {
    let fits = bases
        .iter()
        .filter(|(revision, _)| report.after.is_none_or(|after| *revision >= after));
    fits.map(|(_, at)| at.clone()).min_by_key(|at| at.0)
}
