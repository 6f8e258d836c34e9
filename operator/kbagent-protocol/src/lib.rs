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
pub mod parameter;
mod seen;
mod signed;
mod v2store;

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
pub use seen::{SEEN, Seen, Unseen, WINDOW_MS};
pub use signed::{
    Asked, Authorization, Clock, ClockError, Identity, LONGEST_CLOCK, Nonce, PATH_CLOCK, SCHEME,
    Signed,
};
pub use v2store::V2Store;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

/// An identifier that etcd gives to a member or to a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Id)
    }
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The role of a member, as the label `kubeblocks.io/role` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The member that the highest known term elected.
    Leader,
    /// A voter that is not the leader.
    Follower,
    /// A member without a vote.
    Learner,
}

impl Role {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Learner => "learner",
        }
    }
}

/// Answer of [`PATH_GETROLE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAnswer {
    /// Always `getRole`.
    pub operation: String,
    /// The role.
    pub role: Role,
    /// The raft term in which the member holds it.
    pub term: u64,
}

/// Answer of any path that failed (status 4xx or 5xx).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorAnswer {
    /// A fixed word, e.g. `ERR_OPERATION_FAILED`.
    pub error_code: String,
    /// What happened and what to do next.
    pub message: String,
}

/// What state the etcd process of this pod is in, as far as the agent can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum EtcdState {
    /// etcd answered the last status call.
    Running,
    /// etcd has not answered yet since the agent came up (booting, waiting for peers, catching up).
    Starting {
        /// The last error.
        reason: String,
    },
    /// etcd answered before and does not now.
    Unreachable {
        /// `refused` (no process listens) or `timeout` (it hangs), then the error.
        reason: String,
        /// True when the connection was refused: no etcd process listens on the client port.
        refused: bool,
    },
    /// The launcher refuses to start etcd: the data directory is gone or foreign, and the member must be replaced
    /// by rule (M10, M11, B2, B4).
    Refused {
        /// A fixed word: `DataLost`, `ForeignData`, `RemovedMember`, `NotAMember`.
        code: String,
        /// What was found.
        message: String,
    },
}

/// One agent's newest knowledge of its own member and of the cluster through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Name of the pod, which is the member's name.
    pub instance: String,
    /// Kubernetes' UID of the pod that the agent runs in.
    pub pod_uid: String,
    /// Random number of this agent process: a new one means that the agent was restarted.
    pub agent_incarnation: u64,
    /// Grows with every change of the view within one incarnation.
    pub sequence: u64,
    /// The state of the etcd process.
    pub etcd: EtcdState,
    /// What the last successful status call said. `None` until there was one. Stale when `etcd` is not `Running`.
    pub status: Option<MemberStatus>,
    /// Milliseconds since that call, at the moment of sending.
    pub status_age_ms: Option<u64>,
    /// The long action that the agent carries out with its member now ([`action::DEFRAGMENT`]), if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<String>,
    /// What the agent has done to free space, until it is restarted.
    #[serde(default)]
    pub care: Care,
    /// The newest election that the agent began and saw the end of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Campaign>,
    /// Where the member stands while it serves no client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<MemberStanding>,
    /// Bytes of the file system that holds etcd's data, as the pod sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system_bytes: Option<u64>,
    /// Users of etcd, while the agent's member leads and has been given some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<AccountsReport>,
    /// What etcd's store of its API v2 holds, where etcd has a check of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2_store: Option<V2Store>,
}

/// What etcd's metrics say of a member that answers no status: one that was restarted without a quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStanding {
    /// Identifier of the member.
    pub member_id: Id,
    /// True when it follows, or is, a leader.
    pub has_leader: bool,
    /// Raft index that it has applied: all that it knows to be committed.
    pub index: u64,
    /// Revision of its key space.
    pub revision: i64,
    /// Seconds for which it has had no leader, as far as the agent has looked.
    pub leaderless_seconds: u64,
}

/// What was done to free space, each by etcd's revision just before it; 0 for never. Sizes do not show it: etcd counts
/// pages as free a commit late, and a member that is out of space commits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Care {
    /// The revision that the key space was compacted to through this agent.
    pub compacted: i64,
    /// The revision at which the member was defragmented.
    pub defragmented: i64,
    /// The last defragmentation; `None` from agents of releases that do not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Defragmented>,
}

/// A defragmentation that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Defragmented {
    /// The last request that it answers; empty when there was none.
    pub request: String,
    /// Bytes of the database before; 0 while there was none.
    pub bytes_before: u64,
    /// Bytes of it afterwards; 0 when etcd has not said.
    pub bytes_after: u64,
}

/// What etcd's `Maintenance.Status` said of its own member, with names for its identifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Identifier of the member.
    pub member_id: Id,
    /// Identifier of the cluster.
    pub cluster_id: Id,
    /// Identifier of the leader this member follows; `None` when it knows none.
    pub leader_id: Option<Id>,
    /// Name of that leader (its pod), when the member list tells it.
    pub leader: Option<String>,
    /// Revision of the key space that the member has applied.
    #[serde(default)]
    pub revision: i64,
    /// Raft term.
    pub term: u64,
    /// Raft index committed, as etcd reports it.
    pub raft_index: u64,
    /// Raft index applied.
    pub applied_index: u64,
    /// True for a member without a vote.
    pub is_learner: bool,
    /// Version of the running server, e.g. `3.6.5`.
    pub version: String,
    /// Bytes of the backend file.
    pub db_size_bytes: u64,
    /// Bytes of it in use.
    pub db_size_in_use_bytes: u64,
    /// Quota of the backend in bytes; `None` where the version does not report it (before 3.6).
    pub db_quota_bytes: Option<u64>,
    /// The format of its data, and a downgrade of it.
    #[serde(default)]
    pub format: Format,
    /// Alarms and errors this member reports, e.g. `NOSPACE`, `CORRUPT`, `etcdserver: no leader`.
    pub alarms: Vec<String>,
}

/// An alarm of etcd. Alarms are replicated: every member reports those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// The member it is about; 0 when etcd cannot tell which one is wrong.
    pub member: Id,
    /// What is wrong.
    pub kind: AlarmKind,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The member's database has reached its quota: the cluster accepts no writes that need space.
    NoSpace,
    /// The member's data differs from that of others: the cluster serves neither reads nor writes.
    Corrupt,
}

impl AlarmKind {
    /// etcd's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        }
    }
}

impl FromStr for AlarmKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [AlarmKind::NoSpace, AlarmKind::Corrupt];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl MemberStatus {
    /// The alarms among what etcd lists as errors, each as the text of its message: `memberID:123 alarm:NOSPACE`,
    /// without the fields that are zero.
    pub fn raised(&self) -> impl Iterator<Item = Alarm> {
        self.alarms.iter().filter_map(|text| {
            let field = |name: &str| {
                let mut words = text.split_whitespace();
                words.find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))
            };
            let kind = field("alarm")?.parse().ok()?;
            let member = field("memberID").map_or(Ok(0), str::parse).ok()?;
            Some(Alarm {
                member: Id(member),
                kind,
            })
        })
    }

    /// The role this status gives its member: a leader only when the member reports itself as leader.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.is_learner {
            Role::Learner
        } else if self.leader_id == Some(self.member_id) {
            Role::Leader
        } else {
            Role::Follower
        }
    }
}

/// The members of the cluster, read linearizably. Answer of [`PATH_MEMBERS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberList {
    /// Identifier of the cluster.
    pub cluster_id: Id,
    /// Raft term of the answer.
    pub term: u64,
    /// The members, in order of their identifiers.
    pub members: Vec<Member>,
}

/// One entry of the member list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Identifier.
    pub id: Id,
    /// Name; empty while the member has never started.
    pub name: String,
    /// Peer URLs.
    pub peer_urls: Vec<String>,
    /// Client URLs; empty while the member has never started.
    pub client_urls: Vec<String>,
    /// True for a member without a vote.
    pub is_learner: bool,
}

/// Body of [`PATH_ACTION`], in KubeBlocks' shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionRequest {
    /// One of [`action`].
    pub action: String,
    /// Parameters, keyed by one of [`parameter`].
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Seconds after which the action is given up; 0 or absent means the agent's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// Answer of [`PATH_ACTION`], in KubeBlocks' shape: always status 200 for a known caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionAnswer {
    /// One of KubeBlocks' words: `notDefined`, `notImplemented`, `preconditionFailed`, `badRequest`, `inProgress`,
    /// `busy`, `timedOut`, `failed`, `internalError`, `unknown`. Absent on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Output in base64: plain text for `roleProbe`, a JSON document for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Output of [`action::SWITCHOVER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchoverOutput {
    /// Name of the member that leads now.
    pub leader: String,
    /// Its identifier.
    pub leader_id: Id,
    /// The raft term it leads in.
    pub term: u64,
    /// False when leadership already was where it should be and nothing was done.
    pub moved: bool,
}

/// What a hand-over is asked with; an empty body is one without a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandoffRequest {
    /// The voter that is to lead. The caller has its status: to the pod that is asked the others may be out of reach.
    /// Without one the agent asks them all and chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Id>,
}

/// Answer of [`PATH_HANDOFF`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandoffAnswer {
    /// True when leadership was moved.
    pub moved: bool,
    /// Name of the new leader when it was.
    pub leader: Option<String>,
    /// True when the leader service was seen to answer as the new leader.
    pub service_follows: bool,
    /// What happened, or why nothing was done.
    pub message: String,
}

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReport {
    /// Version of the agent.
    pub version: String,
    /// Random number of this agent process.
    pub agent_incarnation: u64,
    /// Whether the agent can cut clients of a deposed leader, and what it did.
    pub fencing: FencingReport,
    /// What it did when leaders died.
    #[serde(default)]
    pub elections: ElectionReport,
    /// What it did for clients of its dead etcd.
    #[serde(default)]
    pub relay: RelayReport,
    /// Until when its certificates are valid; with TLS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificateReport>,
}

/// Clients that the agent accepts in front of its etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayReport {
    /// False when the setting `relayClients` is `false`.
    pub enabled: bool,
    /// True when the agent accepts clients at the pod's address.
    pub listens: bool,
    /// Why not, when it is enabled and does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Connections that were held until a member could answer, and then passed on to it.
    pub passed: u64,
    /// Connections that were closed because there was no leader.
    pub given_up: u64,
}

/// Ends of the certificates that etcd and the agent use, and when their renewal is due, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReport {
    /// Of the member's certificate.
    pub certificate_ends: i64,
    /// Of the CA that it believes.
    pub ca_ends: i64,
    /// When the renewal of the member's certificate is due; agents of earlier releases do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_due: Option<i64>,
    /// When that of the CA is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_due: Option<i64>,
}

/// Fencing of the own member (design: a deposed leader is fenced).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FencingReport {
    /// True when the launcher takes demands.
    pub supported: bool,
    /// Why not, when it does not.
    pub unsupported_reason: Option<String>,
    /// True when the agent has the addresses of all other voters, which it asks whether the majority is elsewhere.
    #[serde(default)]
    pub voters_known: bool,
    /// True while a restart of etcd is wanted.
    pub active: bool,
    /// Restarts of etcd since the agent came up.
    #[serde(default)]
    pub restarts: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_keep_all_bits_through_json() {
        let id = Id(0xffff_ffff_ffff_fffe);
        let text = serde_json::to_string(&id).expect("serialize");
        assert_eq!(text, "\"fffffffffffffffe\"");
        assert_eq!(serde_json::from_str::<Id>(&text).expect("parse"), id);
    }

    #[test]
    fn alarms_are_told_from_other_errors_and_name_their_member() {
        let text = r#"{"memberId":"1","clusterId":"2","leaderId":null,"leader":null,"term":3,"raftIndex":4,"appliedIndex":4,
            "isLearner":false,"version":"3.6.16","dbSizeBytes":0,"dbSizeInUseBytes":0,"dbQuotaBytes":null,
            "alarms":["etcdserver: no leader","memberID:255 alarm:NOSPACE ","alarm:CORRUPT ","memberID:x alarm:NOSPACE",
            "memberID:1  alarm:OTHER"]}"#;
        let status: MemberStatus = serde_json::from_str(text).expect("a status");
        let raised: Vec<_> = status.raised().collect();
        let alarm = |member, kind| Alarm {
            member: Id(member),
            kind,
        };
        let known = [alarm(255, AlarmKind::NoSpace), alarm(0, AlarmKind::Corrupt)];
        assert_eq!(raised, known);
    }

    #[test]
    fn role_answer_has_the_documented_shape() {
        let answer = RoleAnswer {
            operation: "getRole".into(),
            role: Role::Leader,
            term: 7,
        };
        let text = serde_json::to_string(&answer).expect("serialize");
        assert_eq!(text, r#"{"operation":"getRole","role":"leader","term":7}"#);
    }
}
