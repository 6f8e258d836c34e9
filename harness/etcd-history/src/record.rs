//! The file format: one JSON document a line, in the order in which the writer saw things, behind a header that names
//! the version ([`VERSION`](crate::history::VERSION)).
//!
//! Times are nanoseconds of one clock: the recording client's, wall time anchored once at its start and monotonic from
//! there, also where it is started again, and in the final phase, which is another process. What the harness adds
//! (faults, Kubernetes objects) is translated to that clock when the files are merged.
//! A call is written before the request leaves and a return when the answer is there, so that a client that dies leaves
//! open calls behind: they may have happened.

mod machine;
mod shift;
mod writer;

use std::collections::BTreeMap;

pub use machine::MachineSample;
pub use writer::Writer;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch on the recording client's clock.
pub type Nanos = i64;
/// Number of an operation, unique in a run.
pub type OpId = u64;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// A recording client came up. A second one in the same run means that it was restarted.
    Start {
        /// When.
        t: Nanos,
        /// Random number of the process.
        incarnation: u64,
        /// Its configuration, with the seed of its random choices.
        config: serde_json::Value,
    },
    /// A request is about to leave.
    Call(Call),
    /// Its answer, or the end of waiting for it.
    Return(Return),
    /// A watch stream was opened, delivered something, or ended.
    Watch(WatchRecord),
    /// The status of one member, which was asked for it directly.
    Member(MemberSample),
    /// One member's hash of its key space at a revision, taken while no client writes.
    Hash(HashSample),
    /// The key space as one member has it at the end, read serializably from that member.
    FinalState(FinalState),
    /// A fault began, took effect, was healed or was found healed.
    Fault(FaultRecord),
    /// A pod was seen by a watch of the API server.
    Pod(PodRecord),
    /// The endpoints of the leader service were seen by a watch of the API server.
    Endpoints(EndpointsRecord),
    /// The member list, read from etcd while the cluster changed.
    Membership(MembershipRecord),
    /// How busy the machine was.
    Machine(MachineSample),
    /// A phase of the scenario began.
    Phase {
        /// When.
        t: Nanos,
        /// Its name: `warm_up`, `fault`, `heal`, `settle`, `final`, ...
        name: String,
    },
}

impl Record {
    /// When the record was made.
    pub fn time(&self) -> Nanos {
        match self {
            Self::Start { t, .. } | Self::Phase { t, .. } => *t,
            Self::Call(call) => call.t,
            Self::Return(end) => end.t,
            Self::Watch(watch) => watch.t,
            Self::Member(sample) => sample.t,
            Self::Hash(sample) => sample.t,
            Self::FinalState(state) => state.t,
            Self::Fault(fault) => fault.t,
            Self::Pod(pod) => pod.t,
            Self::Endpoints(endpoints) => endpoints.t,
            Self::Membership(list) => list.t,
            Self::Machine(sample) => sample.t,
        }
    }
}

impl Record {
    /// When a call was scheduled to leave; for all other records their time.
    pub fn scheduled(&self) -> Nanos {
        match self {
            Self::Call(call) => call.scheduled,
            record => record.time(),
        }
    }
}

/// How the requests of a client reach etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Through the leader service, on a connection that is held open.
    ServiceHeld,
    /// Through the leader service, on a connection of its own for every operation.
    ServiceFresh,
    /// A client that dials all members directly and uses the first response: the reference client.
    DialAll,
    /// One named member, directly.
    Member,
}

/// A request, before it leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// When.
    pub t: Nanos,
    /// Its number.
    pub op: OpId,
    /// The client process that sends it; a client has one operation open at a time.
    pub client: u32,
    /// The route it takes; `road` in histories of earlier harnesses.
    #[serde(alias = "road")]
    pub route: Route,
    /// When the open-loop schedule wanted it to leave; equal to `t` for closed-loop clients.
    pub scheduled: Nanos,
    /// What it asks.
    pub request: Request,
}

/// The end of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Return {
    /// When.
    pub t: Nanos,
    /// Number of the operation.
    pub op: OpId,
    /// Its outcome.
    pub outcome: Outcome,
}

/// What an operation asks. Values are unique in a run (client and counter are part of them), keys are short text. A
/// field that is not here is refused when a file is read: a request that asked for more is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Writes a key.
    Put {
        /// Key.
        key: String,
        /// Unique value.
        value: String,
        /// Lease to attach; 0 for none.
        #[serde(default, skip_serializing_if = "is_zero")]
        lease: i64,
    },
    /// Reads one key or, with `range_end`, the keys in `[key, range_end)`.
    Range {
        /// First key.
        key: String,
        /// End of the range, exclusive; absent for one key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        range_end: Option<String>,
        /// Largest number of keys to return; 0 for all.
        #[serde(default, skip_serializing_if = "is_zero")]
        limit: i64,
        /// True for a serializable read, which may be stale.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        serializable: bool,
        /// Revision to read at; 0 for the newest.
        #[serde(default, skip_serializing_if = "is_zero")]
        revision: i64,
    },
    /// Deletes one key or a range.
    Delete {
        /// First key.
        key: String,
        /// End of the range, exclusive; absent for one key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        range_end: Option<String>,
    },
    /// A transaction. A delete or another write that is not unique carries a put of a unique operation key beside it,
    /// so that it can be recognised later.
    Txn {
        /// Compares, all of which must hold.
        compare: Vec<Compare>,
        /// Requests that run when they hold: puts, ranges and deletes. A file with another one in a transaction (etcd
        /// takes transactions there too) is refused when it is read.
        then: Vec<Request>,
        /// Requests that run when they do not, of the same kinds.
        #[serde(default, rename = "else")]
        otherwise: Vec<Request>,
    },
    /// Asks for a lease.
    LeaseGrant {
        /// Identifier that the client asks for.
        id: i64,
        /// Time to live, in seconds.
        ttl: i64,
    },
    /// Keeps a lease alive once.
    LeaseKeepAlive {
        /// Identifier.
        id: i64,
    },
    /// Ends a lease and deletes its keys.
    LeaseRevoke {
        /// Identifier.
        id: i64,
    },
    /// Compacts etcd's history up to a revision.
    Compact {
        /// Revision.
        revision: i64,
    },
}

/// One compare of a transaction: what it names is equal. No other relation and no range of keys is modelled; a file
/// with one is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "snake_case", deny_unknown_fields)]
pub enum Compare {
    /// The key's modification revision is this; 0 for a key that is not there.
    ModRevision {
        /// Key.
        key: String,
        /// Revision.
        revision: i64,
    },
    /// The key's value is this.
    Value {
        /// Key.
        key: String,
        /// Value.
        value: String,
    },
    /// The key's version is this; 0 for a key that is not there.
    Version {
        /// Key.
        key: String,
        /// Version.
        version: i64,
    },
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// etcd answered.
    Ok {
        /// Store revision in the response header.
        revision: i64,
        /// Raft term in the response header.
        term: u64,
        /// Member that answered, hexadecimal.
        member: String,
        /// The answer.
        response: Response,
    },
    /// The operation certainly did not take effect.
    Failed {
        /// Class of the error, e.g. `compacted`, `lease_not_found`, `connection_refused_before_send`.
        class: String,
        /// etcd's message.
        message: String,
    },
    /// The operation may have taken effect, once, at any time from its call on.
    Unknown {
        /// Class of the error, e.g. `deadline`, `unavailable`, `leader_changed`, `connection_lost`, `unclassified`.
        class: String,
        /// etcd's or the transport's message.
        message: String,
    },
}

/// An answer of etcd. A field that is not here is refused when a file is read, as with requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// To a put.
    Put {},
    /// To a range.
    Range {
        /// Keys found, in key order.
        kvs: Vec<KeyValue>,
        /// Number of keys in the range, also those that the limit left out.
        count: i64,
        /// True when the limit cut the answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    },
    /// To a delete.
    Delete {
        /// Number of keys deleted.
        deleted: i64,
    },
    /// To a transaction.
    Txn {
        /// True when the compares held.
        succeeded: bool,
        /// Answers of the branch that ran.
        responses: Vec<Response>,
    },
    /// To a lease grant.
    LeaseGrant {
        /// Identifier.
        id: i64,
        /// Time to live that was granted, in seconds.
        ttl: i64,
    },
    /// To a keep-alive; `ttl` 0 means that the lease is gone.
    LeaseKeepAlive {
        /// Time to live that is left, in seconds.
        ttl: i64,
    },
    /// To a lease revoke.
    LeaseRevoke {},
    /// To a compaction.
    Compact {},
}

/// A key as etcd stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValue {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// Revision of its creation.
    pub create_revision: i64,
    /// Revision of its last write.
    pub mod_revision: i64,
    /// Number of puts since its creation, which is the first.
    pub version: i64,
    /// Lease attached; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lease: i64,
}

/// An event of a watch stream. A watcher that reconnects opens a new stream with the next number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchRecord {
    /// When it was received.
    pub t: Nanos,
    /// Number of the watcher.
    pub watcher: u32,
    /// Number of the stream of that watcher, from 0.
    pub stream: u32,
    /// Where it is connected: a member's name, or `service`.
    pub target: String,
    /// What it said.
    pub event: WatchEvent,
}

/// An event of a watch stream. A field that is not here is refused when a file is read: a watch with filters is owed
/// less than one without.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum WatchEvent {
    /// The client asks for events of keys in `[key, range_end)` from this revision on.
    Opened {
        /// First key.
        key: String,
        /// End of the range, exclusive.
        range_end: String,
        /// First revision that is asked for; 0 for those that come after the watch was created.
        start_revision: i64,
    },
    /// A response with events.
    Events {
        /// Store revision in the header.
        revision: i64,
        /// The events, in order.
        events: Vec<KeyEvent>,
        /// True when etcd says that the response continues with the next one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fragment: bool,
    },
    /// A progress notification: no event of this revision or an earlier one follows.
    Progress {
        /// Store revision in the header.
        revision: i64,
    },
    /// etcd cancelled the watch.
    Cancelled {
        /// The compacted revision when the start revision was compacted, else 0.
        compact_revision: i64,
        /// Why.
        reason: String,
    },
    /// The stream broke.
    Broken {
        /// Why.
        message: String,
    },
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyEvent {
    /// A put.
    Put {
        /// The key after it.
        kv: KeyValue,
        /// The key before it, when asked for and not compacted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev: Option<KeyValue>,
    },
    /// A delete.
    Delete {
        /// Key.
        key: String,
        /// Revision of the delete.
        mod_revision: i64,
        /// The key before it, when asked for and not compacted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev: Option<KeyValue>,
    },
}

/// The answer of one member to a status call, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSample {
    /// When the answer was there.
    pub t: Nanos,
    /// Name of the member (its pod).
    pub pod: String,
    /// The answer; absent when there was none.
    pub status: Option<RaftStatus>,
}

/// What a member knows of raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftStatus {
    /// Identifier of the cluster, hexadecimal.
    pub cluster: String,
    /// Identifier of the member, hexadecimal.
    pub member: String,
    /// Identifier of the leader it follows; absent when it knows none.
    pub leader: Option<String>,
    /// Raft term.
    pub term: u64,
    /// Raft index that the member knows to be committed.
    pub raft_index: u64,
    /// Raft index that the member has applied.
    pub applied_index: u64,
    /// Store revision.
    pub revision: i64,
    /// True for a member without a vote.
    pub learner: bool,
}

/// The member list of a linearizable read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRecord {
    /// When the answer was there.
    pub t: Nanos,
    /// Identifier of the cluster, hexadecimal.
    pub cluster: String,
    /// The members.
    pub members: Vec<ListedMember>,
}

/// One entry of a member list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedMember {
    /// Identifier, hexadecimal.
    pub id: String,
    /// Name; empty while it has never started.
    pub name: String,
    /// True for a member without a vote.
    pub learner: bool,
}

/// One member's hash of its key space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashSample {
    /// When.
    pub t: Nanos,
    /// Name of the member.
    pub pod: String,
    /// Revision up to which keys are hashed.
    pub revision: i64,
    /// The hash, as `HashKV` of etcd's maintenance API answers it.
    pub hash: u32,
    /// Compacted revision; hashes are comparable only when it is equal.
    pub compact_revision: i64,
}

/// The key space as one member has it at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalState {
    /// When.
    pub t: Nanos,
    /// Name of the member.
    pub pod: String,
    /// Store revision.
    pub revision: i64,
    /// All keys of the run, in key order.
    pub kvs: Vec<KeyValue>,
}

/// A step of a fault, from its injection to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// When.
    pub t: Nanos,
    /// Number of the fault in the run.
    pub fault: u32,
    /// Its name, e.g. `kill_process`.
    pub name: String,
    /// What it is done to, e.g. names of pods and nodes.
    pub target: String,
    /// The step.
    pub step: FaultStep,
    /// What was measured, by name: packets dropped, state of the process and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, String>,
    /// Revisions that the fault itself made, with keys that no client of the run uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<i64>,
}

/// Steps of a fault, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStep {
    /// It is being injected.
    Injecting,
    /// Injection has returned.
    Injected,
    /// Its effect was seen.
    Effective,
    /// Its effect was looked for and not seen: the run proves nothing.
    Ineffective,
    /// It is being healed.
    Healing,
    /// It was healed, and nothing of it is left.
    Healed,
    /// It was healed, and something of it is left.
    Residue,
}

/// A pod, as the API server showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// When the watch delivered it.
    pub t: Nanos,
    /// Name.
    pub pod: String,
    /// UID.
    pub uid: String,
    /// `metadata.resourceVersion`: comparable between objects of one etcd (KEP-5504).
    pub resource_version: u64,
    /// Node; absent while the pod is not scheduled.
    pub node: Option<String>,
    /// Value of the label `kubeblocks.io/role`; absent without the label.
    pub role: Option<String>,
    /// Phase, e.g. `Running`.
    pub phase: String,
    /// True when the pod's Ready condition is true.
    pub ready: bool,
    /// True when it is being deleted.
    pub deleting: bool,
    /// True when this record tells that the pod no longer exists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// The endpoints of the leader service, as the API server showed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointsRecord {
    /// When the watch delivered it.
    pub t: Nanos,
    /// Service.
    pub service: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// Pods that are endpoints with `serving` true.
    pub serving: Vec<String>,
    /// Pods that are endpoints with `ready` true.
    pub ready: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}
