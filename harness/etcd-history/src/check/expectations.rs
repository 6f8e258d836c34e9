//! What a scenario promises and allows: the only thing besides the history that a check may look at.
//!
//! People write it, so what is misspelt or absurd is refused with its name: a budget that is not read is no budget.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::auto_compaction::AutoCompaction;
use crate::record::{Request, Route};

/// Longest time that a plan may name: a run lasts minutes.
const DAY_MS: u64 = 86_400_000;
const DAY_MS_F: f64 = 86_400_000.0;
/// Most members that a plan may name: a raft group of more is not run in practice.
const MEMBERS_MAX: u32 = 100;

/// What a run is judged by: what must be so, and what faults excuse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expectations {
    /// Members of the cluster at the end; the fewest of the run where it is scaled.
    #[serde(deserialize_with = "members")]
    pub members: u32,
    /// Fewest faults that must have taken effect.
    pub faults: u32,
    /// Fewest operations around every fault.
    pub traffic: Traffic,
    /// Kinds of operation that must have succeeded at least once.
    pub operations: BTreeSet<OperationKind>,
    /// Fewest keys that are guarded by a lock and were written by at least two clients each.
    pub contested_locks: u32,
    /// Budgets for gaps; a gap without a budget is only reported.
    pub gaps: Vec<GapBudget>,
    /// Most terms that may begin in a round: none where the leader stays, one where it moves; absent: no limit.
    pub terms_per_round: Option<u64>,
    /// Most terms that may begin in a round in which a leader must be elected. Timers elect, so this is a claim about
    /// time; absent: no limit.
    pub terms_per_election: Option<u64>,
    /// True when every fault is a planned move: no write through the service may fail, and the hand-over is short.
    pub planned: bool,
    /// Phases that must begin in time.
    pub in_time: Vec<InTime>,
    /// How long after its heal a fault still excuses what happens, in milliseconds.
    #[serde(deserialize_with = "milliseconds")]
    pub settle_ms: u64,
    /// Pods that faults deleted, by name or by UID: their deletion is not attributed to the operator.
    pub deleted_by_faults: BTreeSet<String>,
    /// Pods that the operator removes permanently, because the cluster is scaled in, by name.
    pub leaving: BTreeSet<String>,
    /// Pods whose member may come back with another identity (its disk was taken).
    pub replaced_members: BTreeSet<String>,
    /// True when the agent of a pod whose etcd is dead passes connections on to another member (`relayClients`). A
    /// status is then only that of a pod when its member has the pod's name in member lists or, where none names it,
    /// was seen in no other pod more often, so that two pods that run one member are not noticed.
    pub members_relay: bool,
    /// Fewest member lists that must have been read, where the run changes the membership.
    pub member_lists: u32,
    /// Longest time for which the leader label may differ from the raft leader, in milliseconds; absent: the time is
    /// reported and not judged.
    #[serde(deserialize_with = "some_milliseconds")]
    pub label_lag_ms: Option<u64>,
    /// True when the run ends with every member in place and the labels settled.
    pub ends_healthy: bool,
    /// False for a run without Kubernetes: no pods, no labels, no endpoints.
    pub kubernetes: bool,
    /// The nodes that run the control plane: while one of them serves, writes are seen. Empty in plans from before they
    /// were on record.
    pub control_planes: BTreeSet<String>,
    /// Election timeout of etcd, in milliseconds.
    #[serde(deserialize_with = "milliseconds")]
    pub election_ms: u64,
    /// What etcd compacts by itself; absent: nothing, so that only clients can have compacted.
    pub auto_compaction: Option<AutoCompaction>,
    /// Longest time that a lease may outlive its TTL and an election timeout, in milliseconds.
    #[serde(deserialize_with = "milliseconds")]
    pub lease_slack_ms: u64,
}

/// Fewest operations around every fault: with fewer a run proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
#[serde(try_from = "SavedBudget")]
pub struct GapBudget {
    /// The route it is for.
    pub route: Route,
    /// Longest median gap of the rounds, in milliseconds, where there are three or more; absent: no limit.
    pub median_ms: Option<f64>,
    /// Longest gap in any round, in milliseconds.
    pub limit_ms: f64,
    /// True when both limits are for the difference to the gap of [`Route::DialAll`] in the same round.
    pub over_dial_all: bool,
}

/// A budget as plans have it or had it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedBudget {
    #[serde(alias = "road")]
    route: Route,
    #[serde(default)]
    median_ms: Option<f64>,
    limit_ms: f64,
    #[serde(default)]
    over_dial_all: bool,
    /// Where the budget holds, in plans from before the rounds.
    #[serde(default)]
    window: Option<serde_json::Value>,
}

impl TryFrom<SavedBudget> for GapBudget {
    type Error = String;

    fn try_from(saved: SavedBudget) -> Result<Self, String> {
        if let Some(window) = saved.window.filter(|window| window != "every_fault") {
            return Err(format!(
                "a gap with the window {window} is not judged any more, budgets are for every round: write `every_fault` \
                 or leave the window out"
            ));
        }
        for (name, limit) in [
            ("median_ms", saved.median_ms),
            ("limit_ms", Some(saved.limit_ms)),
        ] {
            if let Some(limit) = limit.filter(|limit| !(0.0..=DAY_MS_F).contains(limit)) {
                return Err(format!(
                    "{name} is {limit}, it must be from 0 to {DAY_MS} (a day)"
                ));
            }
        }
        Ok(Self {
            route: saved.route,
            median_ms: saved.median_ms,
            limit_ms: saved.limit_ms,
            over_dial_all: saved.over_dial_all,
        })
    }
}

fn members<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let members = u32::deserialize(from)?;
    if (1..=MEMBERS_MAX).contains(&members) {
        return Ok(members);
    }
    let wrong = format!("members is {members}, it must be from 1 to {MEMBERS_MAX}");
    Err(de::Error::custom(wrong))
}

fn milliseconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within_a_day(u64::deserialize(from)?)
}

fn some_milliseconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = Option::<u64>::deserialize(from)?;
    value.map(within_a_day).transpose()
}

fn within_a_day<E: de::Error>(value: u64) -> Result<u64, E> {
    if value <= DAY_MS {
        return Ok(value);
    }
    let wrong = format!("{value} ms is longer than any run, it must be from 0 to {DAY_MS} (a day)");
    Err(E::custom(wrong))
}

/// A limit for the time from the begin of one phase to that of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InTime {
    /// The phase from which time is counted.
    pub from: String,
    /// The phase that must begin in time.
    pub to: String,
    /// Longest time between them, in milliseconds.
    #[serde(deserialize_with = "milliseconds")]
    pub limit_ms: u64,
}

impl Expectations {
    /// True when some of them limit a time.
    pub fn claims_time(&self) -> bool {
        self.planned
            || !self.gaps.is_empty()
            || !self.in_time.is_empty()
            || self.terms_per_election.is_some()
            || self.label_lag_ms.is_some()
    }
}

/// Kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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
    /// A write that the holder of a lock made, guarded by the revision of the lock.
    GuardedWrite,
    /// A write that was guarded so and refused, because the lock was gone.
    RefusedHolder,
    /// A page behind the first of a list, at the list's revision.
    FurtherPage,
    /// A write of an object by a client that lists in pages, refused because the object was not as that client had seen
    /// it last.
    OutdatedWrite,
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
            contested_locks: 0,
            gaps: Vec::new(),
            terms_per_round: None,
            terms_per_election: None,
            planned: false,
            in_time: Vec::new(),
            settle_ms: 3_000,
            deleted_by_faults: BTreeSet::new(),
            leaving: BTreeSet::new(),
            replaced_members: BTreeSet::new(),
            members_relay: false,
            member_lists: 0,
            label_lag_ms: None,
            ends_healthy: true,
            kubernetes: true,
            control_planes: BTreeSet::new(),
            election_ms: 1_000,
            auto_compaction: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, words: &[&str]) {
        let error = serde_json::from_str::<Expectations>(text).expect_err("it must be refused");
        let error = error.to_string();
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    }

    #[test]
    fn what_is_misspelt_is_refused_with_its_name_and_line() {
        refused("{\n\"gap\": []}", &["unknown field `gap`", "line 2"]);
        refused(r#"{"traffic": {"befor": 3}}"#, &["`befor`"]);
        let gap = r#"{"gaps": [{"route": "service_held", "limit_ms": 5, "over_dialall": true}]}"#;
        refused(gap, &["`over_dialall`"]);
        let late = r#"{"in_time": [{"from": "a", "to": "b", "limit_ms": 5, "by": "c"}]}"#;
        refused(late, &["`by`"]);
        refused(r#"{"operations": ["putt"]}"#, &["`putt`"]);
        let compaction = r#"{"auto_compaction": {"periodic": {"retention": 5}}}"#;
        refused(compaction, &["`retention`", "`retention_ms`"]);
    }

    #[test]
    fn absurd_numbers_are_refused_with_their_line() {
        refused("{\n\"members\": 0}", &["members is 0", "line 2"]);
        refused(r#"{"members": 4000000000}"#, &["from 1 to 100"]);
        for field in ["settle_ms", "election_ms", "lease_slack_ms", "label_lag_ms"] {
            refused(
                &format!("{{\n\n\"{field}\": 90000000}}"),
                &["90000000 ms", "line 3"],
            );
            refused(&format!("{{\"{field}\": -1}}"), &["invalid value"]);
        }
        let gap = |limits: &str| format!(r#"{{"gaps": [{{"route": "service_held", {limits}}}]}}"#);
        refused(&gap(r#""limit_ms": -1"#), &["limit_ms is -1"]);
        refused(&gap(r#""limit_ms": 1e300"#), &["a day"]);
        refused(
            &gap(r#""limit_ms": 1, "median_ms": 1e9"#),
            &["median_ms is 1000000000"],
        );
        let late = r#"{"in_time": [{"from": "a", "to": "b", "limit_ms": 90000000}]}"#;
        refused(late, &["90000000 ms"]);
    }

    #[test]
    fn a_plan_from_before_the_rounds_is_read_where_it_means_the_same() {
        let of = |window: &str| {
            format!(
                r#"{{"gaps": [{{"route": "service_held", "window": {window}, "limit_ms": 350}}]}}"#
            )
        };
        let read: Expectations = serde_json::from_str(&of("\"every_fault\"")).expect("it is read");
        assert_eq!(read.gaps.len(), 1);
        for window in ["\"outside\"", "{\"fault\": 1}"] {
            refused(
                &of(window),
                &["not judged any more", "leave the window out"],
            );
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let written = crate::check::mutate::expectations(5);
        let text = serde_json::to_string(&written).expect("it is JSON");
        let read: Expectations = serde_json::from_str(&text).expect("it is read");
        assert_eq!(read, written);
    }
}
