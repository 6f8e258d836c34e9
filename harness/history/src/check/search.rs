//! The bounded search, for histories in which a revision is explained by no answer and no watch.
//!
//! Just-in-time linearization: calls and returns in the order of time, a set of configurations (store, and which open
//! operations have already happened in it); at a return every configuration is driven until the operation has happened.
//! Header revisions leave one way wherever they are known, so that it branches at holes only; a hole is filled by a
//! write of unknown outcome that no watcher saw elsewhere, or by the end of a lease. There is no clock here: the
//! deadline is a budget of steps, and a budget that is used up is inconclusive, never a pass.

use std::collections::BTreeSet;

use super::Case;
use super::placement::{self, Part};
use super::store::{Change, Store};
use super::witness;
use super::words;
use crate::hash::FastMap;
use crate::index::Op;
use crate::record::{KeyEvent, Nanos, OpId, Request};

/// Most steps before the search gives up; one is a key copied into a new configuration, some ten nanoseconds.
pub(crate) const STEPS_MAX: u64 = 10_000_000;
/// Most configurations at one time, and most keys in all of them: some hundred bytes each.
const CONFIGURATIONS_MAX: usize = 4_096;
const CONFIGURATION_KEYS_MAX: u64 = 1_000_000;

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is an order.
    Order,
    /// There is none; this operation cannot be placed.
    None {
        /// Why, in words.
        explanation: String,
        /// The operation.
        ops: Vec<OpId>,
    },
    /// The budget is used up.
    Exhausted {
        /// Which.
        reason: String,
    },
}

/// One way in which it may have gone so far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<'a> {
    store: Store<'a>,
    /// Open operations that have happened: acknowledged ones until they return, others for ever.
    happened: BTreeSet<u32>,
}

impl Configuration<'_> {
    /// What a copy of it costs.
    fn weight(&self) -> u64 {
        1 + self.store.len() as u64 + self.happened.len() as u64
    }
}

/// One call or return.
#[derive(Clone, Copy, Debug)]
struct Moment {
    t: Nanos,
    /// Returns come after calls of the same time: they overlap.
    returns: bool,
    op: u32,
}

/// Searches for an order.
pub(crate) fn search(case: &Case<'_>, steps_max: u64) -> Found {
    let mut search = Search::new(case, steps_max);
    let mut configurations = BTreeSet::from([Configuration {
        store: placement::base(case.index, case.log),
        happened: BTreeSet::new(),
    }]);
    for moment in moments(case) {
        if !moment.returns {
            search.call(moment.op);
            continue;
        }
        let mut after = BTreeSet::new();
        for configuration in configurations {
            search.drive(configuration, moment.op, &mut after);
            let keys: u64 = after
                .first()
                .map_or(0, Configuration::weight)
                .saturating_mul(after.len() as u64);
            if search.steps > steps_max
                || after.len() > CONFIGURATIONS_MAX
                || keys > CONFIGURATION_KEYS_MAX
            {
                return Found::Exhausted {
                    reason: format!(
                        "the search gave up after {} steps with {} configurations",
                        search.steps,
                        after.len()
                    ),
                };
            }
        }
        search.open.retain(|open| *open != moment.op);
        if after.is_empty() {
            let op = search.op(moment.op);
            return Found::None {
                explanation: format!(
                    "no order of the operations explains {}",
                    words::op(case.index, &op)
                ),
                ops: vec![op.id()],
            };
        }
        configurations = after;
    }
    Found::Order
}

fn moments(case: &Case<'_>) -> Vec<Moment> {
    let mut moments = Vec::new();
    for (position, op) in case.index.ops.iter().enumerate() {
        let number = u32::try_from(position).unwrap_or(u32::MAX);
        let call = Moment {
            t: op.call.t,
            returns: false,
            op: number,
        };
        match op.acked() {
            Some(acked) if placement::part(&op.call.request, acked.response).is_some() => {
                moments.push(call);
                moments.push(Moment {
                    t: op.certain_by(),
                    returns: true,
                    op: number,
                });
            }
            Some(_) => {}
            None if op.unknown()
                && (op.writes() || matches!(op.call.request, Request::LeaseRevoke { .. })) =>
            {
                moments.push(call)
            }
            None => {}
        }
    }
    moments.sort_by_key(|m| (m.t, m.returns));
    moments
}

struct Search<'c, 'a> {
    case: &'c Case<'a>,
    /// Acknowledged operations that have not returned.
    open: Vec<u32>,
    /// Writes of unknown outcome called so far.
    doubtful: Vec<u32>,
    steps: u64,
    steps_max: u64,
    scratch: Vec<Change<'a>>,
    /// Revision at which a watcher saw a write of unknown outcome.
    sighted: FastMap<u32, i64>,
    /// Revisions that an answer or a watch explains, in order.
    explained: Vec<i64>,
    /// Most revisions that may have been made unseen.
    unseen_max: i64,
}

impl<'c, 'a> Search<'c, 'a> {
    fn new(case: &'c Case<'a>, steps_max: u64) -> Self {
        let mut sighted = FastMap::default();
        let mut explained: Vec<i64> = Vec::new();
        let values = placement::doubtful(case.index);
        for (revision, entry) in case.log.entries() {
            explained.push(revision);
            for event in entry.events {
                if let KeyEvent::Put { kv, .. } = event
                    && let Some(op) = values.get(kv.value.as_str())
                {
                    sighted.insert(*op, revision);
                }
            }
        }
        let mut unseen_max = 0;
        for op in &case.index.ops {
            if let Some(acked) = op.acked()
                && placement::part(&op.call.request, acked.response)
                    .is_some_and(|part| part != Part::Reads)
            {
                explained.push(acked.revision);
            }
            let leased = matches!(op.call.request, Request::Put { lease, .. } if lease != 0);
            unseen_max += i64::from(op.unknown()) + i64::from(leased);
        }
        explained.sort_unstable();
        explained.dedup();
        let (open, doubtful, scratch) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            case,
            open,
            doubtful,
            steps: 0,
            steps_max,
            scratch,
            sighted,
            explained,
            unseen_max,
        }
    }

    /// True when more revisions up to this one are unexplained than anything unseen can have made.
    fn hopeless(&self, way: &Configuration<'a>, target: i64) -> bool {
        let from = self
            .explained
            .partition_point(|revision| *revision <= way.store.revision);
        let to = self
            .explained
            .partition_point(|revision| *revision <= target);
        let explained = i64::try_from(to.saturating_sub(from)).unwrap_or(i64::MAX);
        target
            .saturating_sub(way.store.revision)
            .saturating_sub(explained)
            > self.unseen_max
    }

    fn call(&mut self, op: u32) {
        if self.op(op).unknown() {
            self.doubtful.push(op);
        } else {
            self.open.push(op);
        }
    }

    /// Drives a configuration in every possible way until the operation has happened.
    fn drive(&mut self, from: Configuration<'a>, op: u32, after: &mut BTreeSet<Configuration<'a>>) {
        let target = self.op(op).acked().map_or(0, |acked| acked.revision);
        if self.hopeless(&from, target) {
            return;
        }
        let mut ways = vec![from];
        while let Some(mut way) = ways.pop() {
            if self.steps > self.steps_max || ways.len() > CONFIGURATIONS_MAX {
                self.steps = self.steps_max + 1;
                return;
            }
            if way.happened.remove(&op) {
                self.arrive(way, after);
                continue;
            }
            if way.store.revision > target {
                continue;
            }
            // A read harms nobody: it happens as soon as the store is at its revision.
            if !self.read_all(&mut way) {
                continue;
            }
            if way.happened.remove(&op) {
                self.arrive(way, after);
                continue;
            }
            self.advance(&way, &mut ways);
        }
    }

    fn arrive(&mut self, way: Configuration<'a>, after: &mut BTreeSet<Configuration<'a>>) {
        // One way alone is not compared with any other.
        self.steps += if after.is_empty() { 1 } else { way.weight() };
        after.insert(way);
    }

    /// Lets every open reader of this revision happen; false when one of them contradicts the store.
    fn read_all(&mut self, way: &mut Configuration<'a>) -> bool {
        for position in 0..self.open.len() {
            let number = self.open[position];
            let op = self.op(number);
            let Some(acked) = op.acked() else { continue };
            let request = &op.call.request;
            let reads = match placement::part(request, acked.response) {
                Some(Part::Reads) => true,
                Some(Part::Revokes) => {
                    !matches!(request, Request::LeaseRevoke { id } if way.store.has_leased(*id))
                }
                _ => false,
            };
            if !reads || acked.revision != way.store.revision || way.happened.contains(&number) {
                continue;
            }
            self.steps += 1;
            let before = way.store.revision;
            let compared = way
                .store
                .execute(request, Some(acked.response), &mut self.scratch);
            if compared.is_err() || way.store.revision != before {
                return false;
            }
            way.happened.insert(number);
        }
        true
    }

    /// Makes the next revision: the one acknowledged write that claims it, else whatever may have made it unseen.
    fn advance(&mut self, way: &Configuration<'a>, ways: &mut Vec<Configuration<'a>>) {
        let revision = way.store.revision + 1;
        let claims: Vec<u32> = self
            .open
            .iter()
            .copied()
            .filter(|op| self.claims(*op, revision, way))
            .collect();
        for op in &claims {
            self.try_op(way, *op, ways);
        }
        // A revoke that saw the revision may also have found nothing to delete.
        let sure = |op: &u32| !matches!(self.op(*op).call.request, Request::LeaseRevoke { .. });
        if claims.iter().any(sure) {
            return;
        }
        let logged = self.case.log.entry(revision).is_some();
        for position in 0..self.doubtful.len() {
            let op = self.doubtful[position];
            // What a watcher saw happened there and nowhere else; what has a value would have been seen with it.
            let here = match self.sighted.get(&op) {
                Some(seen) => *seen == revision,
                None => {
                    !logged
                        || placement::values_of(&self.op(op).call.request)
                            .next()
                            .is_none()
                }
            };
            if here && !way.happened.contains(&op) {
                self.try_op(way, op, ways);
            }
        }
        for lease in way.store.leases().collect::<Vec<_>>() {
            self.steps += way.weight();
            let mut next = way.clone();
            next.store.drop_lease(lease, &mut self.scratch);
            self.keep(next, revision, ways);
        }
    }

    fn claims(&self, number: u32, revision: i64, way: &Configuration<'a>) -> bool {
        let op = self.op(number);
        let Some(acked) = op.acked().filter(|acked| acked.revision == revision) else {
            return false;
        };
        match placement::part(&op.call.request, acked.response) {
            Some(Part::Changes) => !way.happened.contains(&number),
            Some(Part::Revokes) => {
                matches!(op.call.request, Request::LeaseRevoke { id } if way.store.has_leased(id))
            }
            _ => false,
        }
    }

    fn try_op(&mut self, way: &Configuration<'a>, number: u32, ways: &mut Vec<Configuration<'a>>) {
        self.steps += way.weight();
        let op = self.op(number);
        let mut next = way.clone();
        let answer = op.acked().map(|acked| acked.response);
        let revision = way.store.revision + 1;
        if next
            .store
            .execute(&op.call.request, answer, &mut self.scratch)
            .is_ok()
        {
            next.happened.insert(number);
            self.keep(next, revision, ways);
        }
    }

    /// Keeps a configuration that made the revision as the watches saw it, where they did.
    fn keep(&self, next: Configuration<'a>, revision: i64, ways: &mut Vec<Configuration<'a>>) {
        let seen = self.case.log.entry(revision);
        let agrees = seen.is_none_or(|entry| {
            witness::agree(
                &self.scratch,
                entry,
                revision,
                self.case.log.scope.is_some(),
            )
            .is_ok()
        });
        if next.store.revision == revision && agrees {
            ways.push(next);
        }
    }

    fn op(&self, op: u32) -> Op<'a> {
        self.case.index.ops[op as usize]
    }
}
