//! What proves that a revision existed by some time, and real time from it.
//!
//! Every header tells the revision of a store that had applied it: answers of every kind, also serializable ones, watch
//! responses, progress notifications, status, hashes and dumps. So a request that was called after such a proof can
//! neither have made that revision nor have seen an older one, unless it was a read that may be old.

use super::log::{self, Log};
use super::placement::{self, Part};
use super::used;
use super::words;
use crate::hash::FastMap;
use crate::index::{Index, Moment, Op};
use crate::record::{KeyValue, Nanos, OpId, Outcome, Record, Response, WatchEvent, WatchRecord};

/// The revisions that were known to exist, by time: times and revisions both grow.
#[derive(Debug, Default)]
pub(crate) struct Known {
    front: Vec<(Nanos, i64)>,
}

/// One proof.
#[derive(Clone, Copy)]
struct Proof<'a> {
    t: Nanos,
    revision: i64,
    record: &'a Record,
}

/// How the operations stand to the proofs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing is out of order.
    Kept,
    /// Something was called after a revision was proved, and belongs in front of it.
    Broken {
        /// What, in words.
        explanation: String,
        /// Operations named.
        ops: Vec<OpId>,
    },
    /// It seems so by the times, but the lines are in the other order: the writers' clocks disagree.
    Unsure {
        /// What, in words.
        reason: String,
    },
}

/// An operation whose place is known: nothing from revision `below` on may have existed when it was called.
#[derive(Clone, Copy)]
struct Claim<'a> {
    op: Op<'a>,
    below: i64,
}

impl Known {
    /// From everything that was recorded.
    pub(crate) fn new(index: &Index<'_>) -> Self {
        let mut known = Self::default();
        for record in index.records {
            if let Some(proof) = proof(record) {
                known.add(proof.t, proof.revision);
            }
        }
        known
    }

    /// From the answers that have a place in the order of revisions, and from nothing else.
    #[cfg(test)]
    pub(crate) fn of_placed(index: &Index<'_>) -> Self {
        let mut known = Self::default();
        for op in &index.ops {
            if let Some(acked) = op.acked()
                && placement::part(&op.call.request, acked.response).is_some()
            {
                known.add(op.certain_by(), acked.revision);
            }
        }
        known
    }

    pub(crate) fn add(&mut self, t: Nanos, revision: i64) {
        let behind = self.front.partition_point(|(at, _)| *at <= t);
        let last = behind.checked_sub(1).map(|at| self.front[at]);
        if last.is_some_and(|(_, known)| known >= revision) {
            return;
        }
        let from = behind - usize::from(last.is_some_and(|(at, _)| at == t));
        let weaker = self.front[behind..]
            .iter()
            .take_while(|(_, known)| *known <= revision)
            .count();
        self.front.splice(from..behind + weaker, [(t, revision)]);
    }

    /// The highest revision known before this time; 0 for none.
    pub(crate) fn before(&self, t: Nanos) -> i64 {
        let end = self.front.partition_point(|(at, _)| *at < t);
        end.checked_sub(1).map_or(0, |last| self.front[last].1)
    }

    /// True when a revision was known before this moment, by time and by line.
    pub(crate) fn proved(&self, index: &Index<'_>, revision: i64, moment: Moment) -> bool {
        let earlier = || {
            index
                .records
                .iter()
                .take(moment.at as usize)
                .filter_map(proof)
        };
        self.before(moment.t) >= revision
            && earlier().any(|proof| proof.revision >= revision && proof.t < moment.t)
    }

    /// When a revision, or a later one, was first known.
    pub(crate) fn since(&self, revision: i64) -> Nanos {
        let first = self.front.partition_point(|(_, known)| *known < revision);
        self.front.get(first).map_or(Nanos::MAX, |(t, _)| *t)
    }

    /// All steps up to a revision: times and revisions.
    pub(crate) fn steps(&self, end: i64) -> impl Iterator<Item = (Nanos, i64)> {
        let steps = self.front.iter().copied();
        steps.take_while(move |(_, revision)| *revision <= end)
    }
}

/// The revision that a record proves, and when it was there.
pub(crate) fn told(record: &Record) -> Option<(Nanos, i64)> {
    proof(record).map(|proof| (proof.t, proof.revision))
}

/// What a record proves.
fn proof(record: &Record) -> Option<Proof<'_>> {
    let revision = match record {
        Record::Return(end) => match end.outcome {
            Outcome::Ok { revision, .. } => revision,
            _ => return None,
        },
        Record::Watch(watch) => match &watch.event {
            WatchEvent::Events {
                revision, events, ..
            } => {
                let last = events.iter().map(log::revision).max();
                last.unwrap_or(0).max(*revision)
            }
            WatchEvent::Progress { revision } => *revision,
            WatchEvent::Cancelled {
                compact_revision, ..
            } => *compact_revision,
            _ => return None,
        },
        Record::Member(sample) => sample.status.as_ref()?.revision,
        Record::Hash(sample) => sample.revision,
        Record::FinalState(state) => state.revision,
        _ => return None,
    };
    let t = record.time();
    Some(Proof {
        t,
        revision,
        record,
    })
}

/// Real time over all operations with a known place; `found` are those without an acknowledgement, with the revision
/// that each of them was found to have made.
pub(crate) fn order(index: &Index<'_>, known: &Known, found: &[(u32, i64)]) -> Order {
    let placed = index.ops.iter().filter_map(|op| {
        let acked = op.acked()?;
        let below = match placement::part(&op.call.request, acked.response)? {
            Part::Changes => acked.revision,
            Part::Reads | Part::Revokes => acked.revision.saturating_add(1),
        };
        Some(Claim { op: *op, below })
    });
    let found = found.iter().map(|(op, revision)| Claim {
        op: index.ops[*op as usize],
        below: *revision,
    });
    let mut late: Vec<Claim<'_>> = placed
        .chain(found)
        .filter(|claim| known.before(claim.op.call.t) >= claim.below)
        .collect();
    if late.is_empty() {
        return Order::Kept;
    }
    late.sort_by_key(|claim| claim.op.called_at);
    match by_lines(index, &late) {
        Some((claim, at)) => broken(index, claim, &index.records[..at]),
        None => Order::Unsure {
            reason: format!(
                "the clocks of those who wrote the history disagree: {} stands in front of what its time puts it behind",
                words::op(index, &late[0].op)
            ),
        },
    }
}

/// The first claim that a proof of an earlier line contradicts as well, and its line.
fn by_lines<'a>(index: &Index<'a>, late: &[Claim<'a>]) -> Option<(Claim<'a>, usize)> {
    let mut known = Known::default();
    let mut next = late.iter().peekable();
    for (at, record) in index.records.iter().enumerate() {
        while let Some(claim) = next.next_if(|claim| claim.op.called_at as usize <= at) {
            if known.before(claim.op.call.t) >= claim.below {
                return Some((*claim, at));
            }
        }
        if let Some(proof) = proof(record) {
            known.add(proof.t, proof.revision);
        }
    }
    None
}

fn broken(index: &Index<'_>, claim: Claim<'_>, before: &[Record]) -> Order {
    let first = before
        .iter()
        .filter_map(proof)
        .filter(|proof| proof.revision >= claim.below && proof.t < claim.op.call.t)
        .min_by_key(|proof| proof.t);
    let Some(proof) = first else {
        return Order::Kept;
    };
    let mut ops = vec![claim.op.id()];
    let teller = match proof.record {
        Record::Return(end) => {
            ops.push(end.op);
            let teller = index.ops.iter().find(|op| op.id() == end.op);
            teller.map_or_else(String::new, |op| words::op(index, op))
        }
        record => told_by(record),
    };
    Order::Broken {
        explanation: format!(
            "{}: revision {} had happened by {:.6} s, before it was called, as {teller} tells, yet its place is not behind",
            words::op(index, &claim.op),
            proof.revision,
            index.seconds(proof.t),
        ),
        ops,
    }
}

/// Who said so, in words.
pub(crate) fn told_by(record: &Record) -> String {
    match record {
        Record::Watch(WatchRecord {
            watcher,
            target,
            event,
            ..
        }) => {
            let what = match event {
                WatchEvent::Progress { .. } => "a progress notification",
                WatchEvent::Cancelled { .. } => "the end of a watch",
                _ => "a watch response",
            };
            format!("{what} to watcher {watcher} on {target}")
        }
        Record::Member(sample) => format!("the status of {}", sample.pod),
        Record::Hash(sample) => format!("the hash of {}", sample.pod),
        Record::FinalState(state) => format!("the dump of {}", state.pod),
        _ => "an answer".to_owned(),
    }
}

/// The highest revision that can have been made: the highest acknowledged one or one that a fault made, and one for
/// each write of unknown outcome and for each key that a lease may have taken along. Where it is not known what was
/// there before the run, each revision of then may have left a lease. Absent when nothing was acknowledged.
pub(crate) fn ceiling(index: &Index<'_>, log: &Log<'_>) -> Option<i64> {
    let mut highest = None;
    let base = used::base(index, log);
    let before = used::unknown_base(index, log).map(|_| base.revision.saturating_sub(1));
    let before = before.and_then(|before| usize::try_from(before).ok());
    let mut unseen = base.attached().saturating_add(before.unwrap_or(0));
    for op in &index.ops {
        match op.acked() {
            Some(acked) => {
                if placement::part(&op.call.request, acked.response).is_some() {
                    highest = highest.max(Some(acked.revision));
                }
            }
            None if op.failed() => continue,
            None => unseen += 1,
        }
        unseen += placement::leases_of(&op.call.request);
    }
    let unseen = i64::try_from(unseen).unwrap_or(i64::MAX);
    let by_faults = index.fault_writes.last().copied();
    let highest = highest.map(|revision| by_faults.map_or(revision, |last| last.max(revision)));
    highest.map(|revision: i64| revision.saturating_add(unseen))
}

/// Writes without an acknowledgement that an answer or a previous key shows, by the revision that they made.
pub(crate) fn sightings<'a>(
    index: &Index<'a>,
    doubtful: &FastMap<&'a str, u32>,
) -> FastMap<i64, u32> {
    let mut sightings = FastMap::default();
    if doubtful.is_empty() {
        return sightings;
    }
    let mut see = |kv: &KeyValue| {
        if let Some(op) = doubtful.get(kv.value.as_str()) {
            sightings.entry(kv.mod_revision).or_insert(*op);
        }
    };
    for record in index.records {
        match record {
            Record::Return(end) => {
                if let Outcome::Ok { response, .. } = &end.outcome {
                    shown(response, &mut see);
                }
            }
            Record::Watch(WatchRecord {
                event: WatchEvent::Events { events, .. },
                ..
            }) => events.iter().filter_map(log::previous).for_each(&mut see),
            Record::FinalState(state) => state.kvs.iter().for_each(&mut see),
            _ => {}
        }
    }
    sightings
}

fn shown(response: &Response, see: &mut impl FnMut(&KeyValue)) {
    match response {
        Response::Range { kvs, .. } => kvs.iter().for_each(see),
        Response::Txn { responses, .. } => {
            for response in responses {
                shown(response, see);
            }
        }
        _ => {}
    }
}
