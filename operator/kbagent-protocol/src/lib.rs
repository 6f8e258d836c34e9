//! What kbagent says over HTTP: paths, types and ports. Data only: no transport, no clock, no Kubernetes.
//!
//! Identifiers of etcd (member, cluster) are `u64` in etcd and lower-case hexadecimal text here, as etcd logs them,
//! because JSON readers lose bits of large integers.
//!
//! Paths "with authority" want an `Authorization` header: see [`Authorization`]. [`flags`] is how operator and launcher
//! read etcd's arguments.

mod accounts;
pub mod action;
mod archive;
mod backup;
mod election;
pub mod flags;
mod format;
mod id;
mod members;
pub mod parameter;
mod report;
mod request;
mod role;
mod seen;
mod signed;
mod status;
mod v2store;
mod view;

pub use accounts::{
    ACCOUNTS_FILE, Access, Account, Accounts, AccountsReport, LARGEST_ACCOUNTS, Password,
    Permission, ROLE_PREFIX, ROOT,
};
pub use archive::{ARCHIVE_PORT, ArchiveBase, ArchiveReport, PATH_ARCHIVE};
pub use backup::{
    BackupProgress, BackupReport, BackupStage, BackupSummary, LARGEST_REPORT, PATH_PROGRESS,
};
pub use election::{
    Beat, Campaign, ElectionAnswer, ElectionReport, ElectionRequest, ElectionStanding, Outcome,
};
pub use format::{Format, LogSeen};
pub use id::Id;
pub use members::{Member, MemberList};
pub use report::{AgentReport, CertificateReport, FencingReport, RelayReport};
pub use request::{
    ActionAnswer, ActionRequest, ErrorAnswer, HandoffAnswer, HandoffRequest, SwitchoverOutput,
};
pub use role::{Role, RoleAnswer};
pub use seen::{SEEN, Seen, Unseen, WINDOW_MS};
pub use signed::{
    Asked, Authorization, Clock, ClockError, Identity, LONGEST_CLOCK, Nonce, PATH_CLOCK, SCHEME,
    Signed,
};
pub use status::{Alarm, AlarmKind, MemberStatus};
pub use v2store::V2Store;
pub use view::{Care, Defragmented, EtcdState, MemberStanding, MemberView};

/// Port kbagent listens on in every pod.
pub const PORT: u16 = 5001;
/// Beside etcd's data directory: whose data it is, as JSON (`clusterUid`, `podName`).
pub const IDENTITY_FILE: &str = "kbagent-identity.json";
/// Code of a refusal: the member's log holds what its etcd does not read. Its data is whole.
pub const OLD_LOG: &str = "OldLog";
/// A name in the operator's own certificate, and in no other: no object of Kubernetes can be called so.
pub const OPERATOR_NAME: &str = "_operator.kbagent";
/// Variable of the agent's container: [`OPERATOR_NAME`] where the operator's certificate holds it.
pub const OPERATOR_NAME_VARIABLE: &str = "KB_TLS_OPERATOR_NAME";
/// Variable of the agent's container: the directory with the files for TLS.
pub const TLS_DIRECTORY_VARIABLE: &str = "KB_TLS_DIR";
/// Name of the agent's container in every pod.
pub const CONTAINER: &str = "kbagent";
/// Port the metrics exporter listens on in every pod.
pub const EXPORTER_PORT: u16 = 9187;

/// `GET`: the role of this pod's member as a [`RoleAnswer`]; 503 with an [`ErrorAnswer`] when etcd does not answer.
pub const PATH_GETROLE: &str = "/v1.0/getrole";
/// `GET`: the newest [`MemberView`]; always 200 while the agent lives, whatever etcd does.
pub const PATH_MEMBER: &str = "/v1.0/member";
/// `GET`: a stream of [`MemberView`], one JSON document a line: the newest at once, then every change, and the newest
/// again every second as a sign of life.
pub const PATH_WATCH: &str = "/v1.0/watch";
/// `GET`: the member list as a [`MemberList`], read through the leader (linearizable); 503 with an [`ErrorAnswer`]
/// when no quorum answers in time. An error is never an empty list (M5).
pub const PATH_MEMBERS: &str = "/v1.0/members";
/// `POST`, with authority: runs an [`ActionRequest`], answers 200 with an [`ActionAnswer`] as KubeBlocks does.
pub const PATH_ACTION: &str = "/v1.0/action";
/// `GET`: answers when a hand-over of leadership that the pod's termination asked for has ended, or when none is due.
pub const PATH_DRAINED: &str = "/v1.0/drained";
/// `GET`: answers 200 as soon as the member runs and knows a leader, or after a while if it runs without; 503 when it
/// does not run. For the kubelet's startup probe.
pub const PATH_STARTED: &str = "/v1.0/started";
/// `POST`, with authority, a [`HandoffRequest`] or nothing: moves leadership away because the pod is about to stop, and
/// answers a [`HandoffAnswer`] when the leader service points to the new leader; with a named voter, when that leads.
/// Repeatable: a call while one is under way joins it.
pub const PATH_HANDOFF: &str = "/v1.0/handoff";
/// `POST`, with authority: an [`ElectionRequest`] of another agent whose leader has died, or whose member leads instead
/// of this one; answers an [`ElectionAnswer`].
pub const PATH_ELECTION: &str = "/v1.0/election";
/// `GET`, with authority: a stream of [`Beat`], one JSON document a line, some thirty a second: the agent's own life
/// and its etcd's. Read by the agents of the other members while this one's leads.
pub const PATH_BEATS: &str = "/v1.0/beats";
/// `GET`: what the agent says of itself, as an [`AgentReport`].
pub const PATH_AGENT: &str = "/v1.0/agent";
/// `GET`: 200 while the agent's own loop is alive (liveness probe of the agent).
pub const PATH_HEALTHZ: &str = "/healthz";
