//! PURE: what can be decided about a Backup, and what is in its way.

use etcd_operator_api::Backup;
use etcd_operator_api::backup::{BackupPhase, BackupStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::job::{Frame, Save};
use super::keeper::Keep;
use super::period;

/// Finalizer of a Backup: its data in the repository goes before it.
pub(super) const FINALIZER: &str = "dataprotection.kubeblocks.io/finalizer";
/// The version of the format in the repository, for the status.
pub(super) const FORMAT: &str = "1";
/// How long a Backup waits for a policy that is not there: that of a new Cluster is being made.
const PATIENCE: i64 = 60;

/// What is done, once.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Nothing but the status.
    Record,
    /// The finalizer is added.
    Hold,
    /// The Job is created.
    Begin(Box<(Frame, Save)>),
    /// The Job that deletes the data is created.
    Erase(Box<Frame>),
    /// The Deployment that keeps an archive is made, or changed.
    Keep(Box<(Frame, Keep)>),
    /// What makes the backup is deleted: the Job, or the Deployment.
    Cancel,
    /// The finalizer is removed.
    Release,
    /// The Backup has expired: it is deleted.
    Expire,
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    /// The status from now on.
    pub(super) status: BackupStatus,
    /// What is done.
    pub(super) act: Act,
    /// Seconds until it is looked at again, when no event is sure to come.
    pub(super) again: Option<i64>,
}

/// What never changes while the operator runs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Image with `etcd-backup`.
    pub(super) tool: String,
}

pub(super) fn act(status: BackupStatus, act: Act) -> Decision {
    Decision {
        status,
        act,
        again: None,
    }
}

/// It has failed. It expires too: a schedule whose backups fail would leave one object each time.
pub(super) fn fail(backup: &Backup, mut status: BackupStatus, now: &Time, why: String) -> Decision {
    status.phase = Some(BackupPhase::Failed);
    status.completion_timestamp = Some(now.clone());
    status.failure_reason = Some(why);
    status.expiration = period::end(backup.spec.retention_period.as_deref(), now);
    act(status, Act::Record)
}

/// It waits, and says for what.
pub(super) fn wait(mut status: BackupStatus, why: String, again: i64) -> Decision {
    status.phase = Some(BackupPhase::New);
    status.failure_reason = Some(why);
    Decision {
        status,
        act: Act::Record,
        again: Some(again),
    }
}

fn age(backup: &Backup, now: &Time) -> i64 {
    let made = backup.metadata.creation_timestamp.as_ref();
    made.map_or(0, |made| now.0.duration_since(made.0).as_secs())
}

/// It fails, or waits for what is in the way.
pub(super) fn hindered(
    backup: &Backup,
    status: BackupStatus,
    obstacle: Obstacle,
    now: &Time,
) -> Decision {
    match obstacle {
        Obstacle::Refused(why) => fail(backup, status, now, why),
        Obstacle::Soon(why) if age(backup, now) > PATIENCE => fail(backup, status, now, why),
        Obstacle::Soon(why) => wait(status, why, 2),
        Obstacle::Later(why) => wait(status, why, 5),
        Obstacle::Turn(why) => wait(status, why, 10),
    }
}

/// Why a backup does not begin.
pub(super) enum Obstacle {
    /// It never will.
    Refused(String),
    /// What is missing should be there by now.
    Soon(String),
    /// The members are not fit yet.
    Later(String),
    /// Another backup is first.
    Turn(String),
}

impl Obstacle {
    /// What is in the way.
    pub(super) fn text(self) -> String {
        match self {
            Obstacle::Refused(why)
            | Obstacle::Soon(why)
            | Obstacle::Later(why)
            | Obstacle::Turn(why) => why,
        }
    }
}
