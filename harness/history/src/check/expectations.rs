//! What a scenario promises and allows: the only thing besides the history that a check may look at.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::record::{Request, Road};

/// What a scenario promises and allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expectations {
    /// Members of the cluster at the end; the fewest of the run where it is scaled.
    pub members: u32,
    /// Fewest faults that must have taken effect.
    pub faults: u32,
    /// Fewest operations around every fault.
    pub traffic: Traffic,
    /// Kinds of operation that must have succeeded at least once.
    pub operations: BTreeSet<OperationKind>,
    /// Budgets for gaps; a gap without a budget is only reported.
    pub gaps: Vec<GapBudget>,
    /// Most terms that may begin in a round: none where the leader stays, one where it moves; absent: no limit.
    pub terms_per_round: Option<u64>,
    /// True when every fault is a planned move: no write through the service may fail, and the hand-over is short.
    pub planned: bool,
    /// Phases that must come in time.
    pub in_time: Vec<InTime>,
    /// How long after its heal a fault still excuses what happens, in milliseconds.
    pub settle_ms: u64,
    /// Pods that faults deleted, by name or by UID: their going is not the operator's doing.
    pub deleted_by_faults: BTreeSet<String>,
    /// Pods that the operator takes away for good, because the cluster is made smaller, by name.
    pub leaving: BTreeSet<String>,
    /// Pods whose member may come back with another identity (its disk was taken).
    pub replaced_members: BTreeSet<String>,
    /// Fewest member lists that must have been read, where the run changes the membership.
    pub member_lists: u32,
    /// How long the leader label may differ from raft's truth, in milliseconds; absent: only reported.
    pub label_lag_ms: Option<u64>,
    /// True when the run ends with every member in place and the labels settled.
    pub ends_healthy: bool,
    /// False for a run without Kubernetes: no pods, no labels, no endpoints.
    pub kubernetes: bool,
    /// Election timeout of etcd, in milliseconds.
    pub election_ms: u64,
    /// What a lease may take longer than its TTL and an election, in milliseconds.
    pub lease_slack_ms: u64,
}

/// Fewest operations around every fault, so that a quiet run is never green.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Successes between the start (or the fault before) and the fault.
    pub before: u32,
    /// Calls while the fault is on; attempts, because a fault may well stop every success.
    pub during: u32,
    /// Successes between the heal and the end (or the next fault).
    pub after: u32,
}

/// A budget for the longest time without a successful write, over the rounds of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapBudget {
    /// The road it is for.
    pub road: Road,
    /// Most milliseconds for the median of the rounds, where there are three or more; absent: no limit.
    #[serde(default)]
    pub median_ms: Option<f64>,
    /// Most milliseconds in each round.
    pub limit_ms: f64,
    /// True when both limits are for what the gap has over the gap of [`Road::DialAll`] in the same round.
    #[serde(default)]
    pub over_dial_all: bool,
}

/// A phase that must come in time after another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InTime {
    /// The phase from which time is counted.
    pub from: String,
    /// The phase that must come.
    pub to: String,
    /// Most milliseconds.
    pub limit_ms: u64,
}

impl Expectations {
    /// True when they claim something about time.
    pub fn claims_time(&self) -> bool {
        self.planned || !self.gaps.is_empty() || !self.in_time.is_empty()
    }
}

/// Kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// A put.
    Put,
    /// A linearizable range.
    Range,
    /// A serializable range.
    SerializableRange,
    /// A delete.
    Delete,
    /// A transaction.
    Txn,
    /// A lease grant.
    LeaseGrant,
    /// A keep-alive.
    LeaseKeepAlive,
    /// A lease revoke.
    LeaseRevoke,
    /// A compaction.
    Compact,
    /// A watch that delivered events.
    Watch,
    /// A lease that ended and was not revoked.
    LeaseEnd,
}

impl OperationKind {
    /// The kind of a request.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Put { .. } => Self::Put,
            Request::Range {
                serializable: false,
                ..
            } => Self::Range,
            Request::Range { .. } => Self::SerializableRange,
            Request::Delete { .. } => Self::Delete,
            Request::Txn { .. } => Self::Txn,
            Request::LeaseGrant { .. } => Self::LeaseGrant,
            Request::LeaseKeepAlive { .. } => Self::LeaseKeepAlive,
            Request::LeaseRevoke { .. } => Self::LeaseRevoke,
            Request::Compact { .. } => Self::Compact,
        }
    }
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            members: 3,
            faults: 0,
            traffic: Traffic::default(),
            operations: BTreeSet::from([OperationKind::Put, OperationKind::Range]),
            gaps: Vec::new(),
            terms_per_round: None,
            planned: false,
            in_time: Vec::new(),
            settle_ms: 3_000,
            deleted_by_faults: BTreeSet::new(),
            leaving: BTreeSet::new(),
            replaced_members: BTreeSet::new(),
            member_lists: 0,
            label_lag_ms: None,
            ends_healthy: true,
            kubernetes: true,
            election_ms: 1_000,
            lease_slack_ms: 2_000,
        }
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            before: 10,
            during: 10,
            after: 10,
        }
    }
}
