//! PURE: a Backup that is being deleted: what runs for it first, then its data, then itself.

use etcd_operator_api::Backup;
use etcd_operator_api::backup::{BackupPhase, BackupStatus, DeletionPolicy};
use kube::{Resource, ResourceExt};

use super::decision::{Act, Decision, FINALIZER, Settings, act};
use super::job::Frame;
use super::observed::{JobSeen, JobState, Seen};
use super::place;

/// While what makes it still writes; a pod on a node that is off may never end.
const STOPS: &str = "waits until its pod has ended; on a node that does not come back, delete that pod with --force";

/// A Backup that is being deleted: its Job first, then its data, then itself.
pub(super) fn leave(
    backup: &Backup,
    seen: &Seen,
    settings: &Settings,
    mut status: BackupStatus,
) -> Decision {
    if !backup
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
    {
        return act(status, Act::Record);
    }
    let ended = status.phase.is_some_and(BackupPhase::is_ended);
    if !ended && status.phase != Some(BackupPhase::Deleting) {
        status.phase = Some(BackupPhase::Deleting);
        status.failure_reason = None;
    }
    let runs = |job: &JobSeen| job.state == JobState::Running;
    if seen.job.as_ref().is_some_and(runs) || seen.keeper.is_some() {
        status.failure_reason = Some(STOPS.to_owned());
        return Decision {
            status,
            act: Act::Cancel,
            again: Some(2),
        };
    }
    if status.path.is_none() || backup.spec.deletion_policy == DeletionPolicy::Retain {
        return act(status, Act::Release);
    }
    erase(backup, seen, settings, status)
}

/// The data of a Backup that is being deleted, by a Job.
fn erase(backup: &Backup, seen: &Seen, settings: &Settings, mut status: BackupStatus) -> Decision {
    status.phase = Some(BackupPhase::Deleting);
    // Nothing makes it any more: its data may stay for long, and the next backup does not wait for that.
    status.job = None;
    let keep = "or set spec.deletionPolicy to Retain to keep the data";
    match &seen.eraser {
        Some(JobSeen {
            state: JobState::Succeeded,
            ..
        }) => act(status, Act::Release),
        Some(JobSeen {
            state: JobState::Failed(why),
            report,
            ..
        }) => {
            let told = report.as_ref().and_then(|report| report.failure.clone());
            let why = told.unwrap_or_else(|| why.clone());
            status.failure_reason = Some(format!(
                "its data is not deleted: {why}; delete the Job to try again, {keep}"
            ));
            Decision {
                status,
                act: Act::Record,
                again: None,
            }
        }
        Some(job) => {
            status.failure_reason = job.stuck.clone();
            Decision {
                status,
                act: Act::Record,
                again: Some(10),
            }
        }
        None => match eraser(backup, seen, settings, &status) {
            Ok(frame) => act(status, Act::Erase(Box::new(frame))),
            Err(why) => {
                status.failure_reason = Some(format!(
                    "its data cannot be deleted: {why}; correct that, {keep}"
                ));
                Decision {
                    status,
                    act: Act::Record,
                    again: Some(30),
                }
            }
        },
    }
}

fn eraser(
    backup: &Backup,
    seen: &Seen,
    settings: &Settings,
    status: &BackupStatus,
) -> Result<Frame, String> {
    let repo = match &seen.repo {
        Some(Ok(repo)) => repo,
        Some(Err(why)) => return Err(why.clone()),
        None => return Err("its BackupRepo is gone".to_owned()),
    };
    let namespace = backup.namespace().unwrap_or_default();
    Ok(Frame {
        owner: backup.controller_owner_ref(&()).unwrap_or_default(),
        uid: backup.uid().unwrap_or_default(),
        tool: settings.tool.clone(),
        // The Cluster may be gone: the program needs no etcd to delete.
        etcd: None,
        like: seen.cluster.clone().unwrap_or_default().pod,
        place: place::read_for(repo, &namespace)
            .map_err(|why| format!("BackupRepo {:?}: {why}", repo.name_any()))?,
        path: status.path.clone().unwrap_or_default(),
        retries: 3,
        pass_phrase: None,
        namespace,
    })
}
