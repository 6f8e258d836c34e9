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
use crate::metrics::ArchiveFaults;

/// How often it is looked at, in seconds.
const LOOK: i64 = 10;
/// A revision and a time that grow are written so often, in seconds.
const WRITE: i64 = 60;
/// An archive that is further behind says why, in milliseconds.
const BEHIND: i64 = 10_000;
/// Times that are further from the operator's clock are told, in seconds: an idle archive's are a minute old.
const SKEW: u64 = 300;
/// What it says without a full backup.
const NO_BASE: &str = "there is no full backup that it could be put over: make a Backup of this Cluster with \
                       backupMethod: datafile, into the same BackupRepo";
/// What it says of a Cluster without members.
const STOPPED: &str = "the Cluster has no members: start it, and what changes then is archived";
/// One that is as far behind is given its credential again, which may have been replaced.
const RENEW: i64 = 120_000;

/// Decides.
pub(super) fn decide(backup: &Backup, seen: &Seen, settings: &Settings, now: &Time) -> Decision {
    let status = backup.status.clone().unwrap_or_default();
    if backup.metadata.deletion_timestamp.is_some() {
        return leave(backup, seen, settings, status);
    }
    match status.phase {
        Some(BackupPhase::Completed) if seen.keeper.is_some() => return again(status, Act::Cancel),
        Some(BackupPhase::Completed | BackupPhase::Failed) => {
            return keep(backup, seen, status, now);
        }
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
    if let Some(why) = &seen.foreign {
        return wait(status, why.clone(), LOOK);
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
    let mut known = keeper.members.iter();
    let parted = !known.any(|member| keep.members.contains(member));
    if stale || parted || keeper.made_of != keep.made_of(&ground.frame) {
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
        members: members(&ground)?,
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

/// One name for all, whichever they are. One by one where a certificate of the user's must have the pods' names, and
/// needs none for all of them.
fn members(ground: &Ground) -> Result<Vec<String>, Obstacle> {
    let (scheme, domain) = (scheme(&ground.tls), &ground.domain);
    if !ground.own_ca {
        return Ok(vec![format!("{scheme}://{domain}:2379")]);
    }
    if ground.pods.is_empty() {
        return Err(Obstacle::Later(STOPPED.to_owned()));
    }
    let pods = ground.pods.iter();
    Ok(pods
        .map(|pod| format!("{scheme}://{pod}.{domain}:2379"))
        .collect())
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
    let late = || format!("more than {} s behind: {}", BEHIND / 1000, why());
    status.failure_reason = shrunk(&status, report).or_else(|| behind.then(late));
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
    if status.failure_reason.is_none() {
        status.failure_reason = skewed(report, now).or_else(|| report.warning.clone());
    }
    let written = status
        .time_range
        .as_ref()
        .and_then(|range| range.end.as_ref());
    // By its own clock, too, which may be ahead.
    let clock = now.0.as_second().max(report.until / 1000);
    if written.is_none_or(|written| clock - written.0.as_second() >= WRITE) {
        reach(&mut status, report, seen);
    }
    status
}

/// An archive's times are by the clock of its pod's node, and who asks for a time means another one.
fn skewed(report: &ArchiveReport, now: &Time) -> Option<String> {
    // What is behind says nothing of the time.
    if report.since.is_none() || report.lag > BEHIND {
        return None;
    }
    let (until, now) = (report.until / 1000, now.0.as_second());
    let off = until.abs_diff(now);
    let word = if until > now { "ahead of" } else { "behind" };
    // Rounded, so that a status is not written again and again.
    let minutes = (off + SKEW / 2) / SKEW * (SKEW / 60);
    (off > SKEW).then(|| {
        format!(
            "its times are about {minutes} minutes {word} the operator's clock: set the clocks of the nodes. A restore to a \
             time leads to another moment, by as much; one to a revision does not"
        )
    })
}

/// The repository had more of the archive than it has now.
fn shrunk(status: &BackupStatus, report: &ArchiveReport) -> Option<String> {
    // A writer that has just begun has not looked yet, and says nothing of where the archive begins.
    let looked = report.since.is_some();
    let known = status
        .revision
        .filter(|known| looked && *known > report.through)?;
    // Without how far it is now: that changes with every look, and the status would be written each time.
    Some(format!(
        "the repository has less of the archive than it had, which was up to revision {known}: something other than the \
         operator has deleted its newest segments, or has set the repository back. A restore to its end is refused until \
         it has come as far again"
    ))
}

/// What is wrong with an archive of this status, for figures.
pub(super) fn faults(status: &BackupStatus, seen: &Seen) -> ArchiveFaults {
    let told = seen.keeper.as_ref().map(|keeper| keeper.report.is_some());
    let members = seen
        .cluster
        .as_ref()
        .map(|cluster| !cluster.pods.is_empty());
    // One that never began for want of members has nothing to write.
    let written = told.unwrap_or(members == Some(false));
    let missing = !written && matches!(status.phase, Some(BackupPhase::New | BackupPhase::Running));
    // Neither has one that never began for want of a full backup.
    let waits = status.path.is_none() && status.failure_reason.as_deref() == Some(NO_BASE);
    ArchiveFaults {
        gap: status.phase != Some(BackupPhase::Completed) && status.gap.is_some(),
        silent: missing && !waits,
        waits: missing && waits,
    }
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
    // What it had stays known.
    status.revision = status.revision.max(Some(report.through));
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
