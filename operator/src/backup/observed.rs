//! What a decision about a Backup depends on, as plain data.

use std::sync::Arc;

use etcd_operator_api::{Backup, BackupPolicy, BackupRepo};
use k8s_openapi::api::core::v1::PodSpec;
use kbagent_protocol::{ArchiveReport, BackupProgress, BackupReport, MemberStatus};

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The policy that the Backup names.
    pub(super) policy: Option<BackupPolicy>,
    /// The repository that the policy names, or the default one; why there is none.
    pub(super) repo: Option<Result<BackupRepo, String>>,
    /// The members' pods.
    pub(super) members: Vec<MemberSeen>,
    /// UID of the Cluster, what its pods are made of, and their headless domain.
    pub(super) cluster: Option<ClusterSeen>,
    /// The Backups in the namespace, this one among them, where what is decided depends on them.
    pub(super) others: Arc<Vec<Backup>>,
    /// The Job that makes the backup.
    pub(super) job: Option<JobSeen>,
    /// How far that is, when its pod tells.
    pub(super) progress: Option<BackupProgress>,
    /// The Job that deletes it.
    pub(super) eraser: Option<JobSeen>,
    /// What keeps an archive.
    pub(super) keeper: Option<KeeperSeen>,
    /// Why what has its name cannot: it is another's.
    pub(super) foreign: Option<String>,
    /// The pass phrase that it is to be encrypted with: why it cannot be had.
    pub(super) pass_phrase: Option<Result<(), String>>,
    /// Of an archive that has begun: UID of the Cluster that has its Cluster's name now; `Some(None)` when none has.
    pub(super) owner: Option<Option<String>>,
}

impl Seen {
    /// The claim beside whose pods one of the Backup's waits to be placed.
    pub(super) fn waits(&self) -> Option<&String> {
        let mut jobs = [&self.job, &self.eraser].into_iter().flatten();
        let waits = jobs.find_map(|job| job.waits.as_ref());
        waits.or_else(|| self.keeper.as_ref()?.waits.as_ref())
    }
}

/// The Deployment that keeps an archive.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeeperSeen {
    /// Of what it was made.
    pub(super) made_of: String,
    /// Revision that the archive begins after.
    pub(super) after: Option<i64>,
    /// The client URLs that it was given.
    pub(super) members: Vec<String>,
    /// Why its pod does not run, if it does not.
    pub(super) stuck: Option<String>,
    /// The claim beside whose pods its own waits to be placed.
    pub(super) waits: Option<String>,
    /// What its pod says.
    pub(super) report: Option<ArchiveReport>,
}

/// The cluster that is backed up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClusterSeen {
    /// UID of the Cluster.
    pub(super) uid: String,
    /// Pod spec of the members.
    pub(super) pod: PodSpec,
    /// Secret with a certificate for clients, when they serve by TLS only.
    pub(super) tls: Option<String>,
    /// True when a user's CA signs their certificates.
    pub(super) own_ca: bool,
    /// Domain of their host names.
    pub(super) domain: String,
    /// Their names, as they are wanted.
    pub(super) pods: Vec<String>,
}

/// A member's pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MemberSeen {
    /// Its name.
    pub(super) pod: String,
    /// True when it is ready and stays.
    pub(super) ready: bool,
    /// What its etcd says now, when its agent reports; `None` also while it is defragmented.
    pub(super) status: Option<MemberStatus>,
}

/// A Job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JobSeen {
    /// Where it stands.
    pub(super) state: JobState,
    /// What its newest pod that ended has said.
    pub(super) report: Option<BackupReport>,
    /// Why its pod does not run, if it does not.
    pub(super) stuck: Option<String>,
    /// The claim beside whose pods its own waits to be placed.
    pub(super) waits: Option<String>,
}

/// Where a Job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    /// It runs, or will.
    Running,
    /// It has succeeded.
    Succeeded,
    /// It was given up, and what Kubernetes says of it.
    Failed(String),
}
