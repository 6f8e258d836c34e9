//! What an agent knows of its own member.

use serde::{Deserialize, Serialize};

use crate::{AccountsReport, Campaign, Id, MemberStatus, V2Store};

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
    /// The long action that the agent carries out with its member now ([`crate::action::DEFRAGMENT`]), if any.
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
