//! The bounded search, for histories in which a revision is explained by no answer and no watch.
//!
//! Just-in-time linearization: calls and returns in the order of time, a set of configurations (store, and which open
//! operations have already happened in it); at a return every configuration is driven until the operation has
//! happened, and where a revision was proved until it is there. It begins where the witness ended. Header revisions
//! leave one way wherever they are known, so that it branches at holes only; a hole is filled by a write of unknown
//! outcome that no client saw elsewhere (of several that write one value it tries each), or by the end of a lease whose
//! time may have been over. There is no clock here: the deadline is a budget of steps, and a budget that is used up is
//! inconclusive, never a pass.

use std::collections::BTreeSet;

use super::Case;
use super::agree::agree;
use super::keyspace::Keys;
use super::leases::EARLY_SLACK_NS;
use super::lives;
use super::log;
use super::placement::{self, Part};
use super::proof;
use super::store::{Change, Store};
use super::used;
use super::witness::Reached;
use super::words;
use crate::hash::{FastMap, FastSet};
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

/// What happens next in time.
#[derive(Clone, Copy, Debug)]
struct Moment {
    t: Nanos,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Call(u32),
    /// Returns come after calls of the same time: they overlap.
    Return(u32),
    /// This revision was there.
    Proved(i64),
}

/// Searches for an order of all operations, from the beginning.
pub(crate) fn search(case: &Case<'_>, steps_max: u64) -> Found {
    let store = used::base(case.index, case.log);
    let reached = &case.replayed.reached;
    let begin = Reached {
        store,
        end: reached.end,
        ..Reached::default()
    };
    from(case, &begin, steps_max)
}

/// Searches on from where the witness ended.
pub(crate) fn search_on(case: &Case<'_>, steps_max: u64) -> Found {
    let reached = &case.replayed.reached;
    match from(case, reached, steps_max) {
        // The witness took one delete of several that it may have been.
        Found::None { .. } if reached.guessed => search(case, steps_max),
        found => found,
    }
}

fn from<'a>(case: &Case<'a>, begin: &Reached<'a>, steps_max: u64) -> Found {
    let mut search = Search::new(case, begin, steps_max);
    let mut configurations = BTreeSet::from([Configuration {
        store: begin.store.clone(),
        happened: BTreeSet::new(),
    }]);
    for moment in moments(case, begin) {
        if let What::Call(op) = moment.what {
            search.call(op);
            continue;
        }
        let mut after = BTreeSet::new();
        for configuration in configurations {
            search.drive(configuration, moment.what, &mut after);
            let keys: u64 = after
                .first()
                .map_or(0, Configuration::weight)
                .saturating_mul(after.len() as u64);
            if search.steps > steps_max
                || after.len() > CONFIGURATIONS_MAX
                || (after.len() > 1 && keys > CONFIGURATION_KEYS_MAX)
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
        if let What::Return(op) = moment.what {
            search.open.retain(|open| *open != op);
        }
        if after.is_empty() {
            return search.none(moment);
        }
        configurations = after;
    }
    Found::Order
}

fn moments(case: &Case<'_>, begin: &Reached<'_>) -> Vec<Moment> {
    let proved = case.known.steps(begin.end).map(|(t, revision)| Moment {
        t,
        what: What::Proved(revision),
    });
    let mut moments: Vec<Moment> = proved.collect();
    for (position, op) in case.index.ops.iter().enumerate() {
        let number = u32::try_from(position).unwrap_or(u32::MAX);
        if begin.happened.contains(&number) {
            continue;
        }
        let call = Moment {
            t: op.call.t,
            what: What::Call(number),
        };
        match op.acked() {
            Some(acked) if placement::part(&op.call.request, acked.response).is_some() => {
                moments.push(call);
                moments.push(Moment {
                    t: op.certain_by(),
                    what: What::Return(number),
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
    moments.sort_by_key(|m| (m.t, !matches!(m.what, What::Call(_))));
    moments
}

/// What may have made a revision.
#[derive(Clone, Copy, Debug)]
enum Maker {
    Op(u32),
    /// The end of this lease.
    Lease(i64),
    /// A fault, with keys that no client uses.
    Fault,
}

/// True for a request of which one branch, at least, deletes and puts nothing, or puts something that was not watched:
/// that no put of it was seen with a revision does not say that it made another one.
fn may_be_unseen(request: &Request, watched: Option<Keys<'_>>) -> bool {
    let told = |key: &str| watched.is_some_and(|watched| watched.hold(key));
    let unseen = |branch: &[Request]| {
        let mut puts = branch.iter().flat_map(placement::puts_of).peekable();
        match puts.peek() {
            Some(_) => puts.any(|(key, _)| !told(key)),
            None => !branch
                .iter()
                .all(|part| matches!(part, Request::Range { .. })),
        }
    };
    match request {
        Request::Txn {
            then, otherwise, ..
        } => unseen(then) || unseen(otherwise),
        request => unseen(std::slice::from_ref(request)),
    }
}

/// True when a put of a value that the request writes was seen.
fn shows(events: &[&KeyEvent], request: &Request) -> bool {
    let mut values = events.iter().filter_map(|event| match event {
        KeyEvent::Put { kv, .. } => Some(kv.value.as_str()),
        KeyEvent::Delete { .. } => None,
    });
    values.any(|value| placement::values_of(request).any(|own| own == value))
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
    /// Revision at which a watcher or an answer saw a write of unknown outcome, where no other one writes its value.
    sighted: FastMap<u32, i64>,
    /// Revisions that an answer or a watch explains, in order.
    explained: Vec<i64>,
    /// Most revisions that may have been made unseen.
    unseen_max: i64,
    /// Until when leases cannot have ended by themselves.
    lives_until: FastMap<i64, Nanos>,
}

impl<'c, 'a> Search<'c, 'a> {
    fn new(case: &'c Case<'a>, begin: &Reached<'a>, steps_max: u64) -> Self {
        let mut sighted: FastMap<u32, i64> = FastMap::default();
        let mut explained: Vec<i64> = Vec::new();
        // What was acknowledged there shows no other write, also where a client has tried again with the same value.
        let mut claimed: FastSet<i64> = FastSet::default();
        for op in &case.index.ops {
            let Some(acked) = op.acked() else { continue };
            match placement::part(&op.call.request, acked.response) {
                Some(Part::Changes) => _ = claimed.insert(acked.revision),
                Some(Part::Revokes) => explained.push(acked.revision),
                _ => {}
            }
        }
        explained.extend(&claimed);
        let values = placement::doubtful(case.index);
        // A value that two may have written shows neither of them.
        let alike = placement::alike(case.index);
        for (revision, op) in proof::sightings(case.index, &values) {
            explained.push(revision);
            if !claimed.contains(&revision) && !alike.contains(&op) {
                sighted.insert(op, revision);
            }
        }
        for (revision, entry) in case.log.entries() {
            explained.push(revision);
            let events = entry.events.iter().filter(|_| !claimed.contains(&revision));
            for event in events {
                if let KeyEvent::Put { kv, .. } = event
                    && let Some(op) = values.get(kv.value.as_str())
                    && !alike.contains(op)
                {
                    sighted.insert(*op, revision);
                }
            }
        }
        let mut unseen = begin.store.attached();
        for op in &case.index.ops {
            unseen += usize::from(op.unknown()) + placement::leases_of(&op.call.request);
        }
        let unseen_max = i64::try_from(unseen).unwrap_or(i64::MAX);
        explained.extend(&case.index.fault_writes);
        explained.sort_unstable();
        explained.dedup();
        let leases = lives::collect(case).into_iter();
        let lives_until = leases.filter_map(|(id, lease)| Some((id, lease.lives_until()?)));
        let lives_until = lives_until.collect();
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
            lives_until,
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

    fn none(&self, moment: Moment) -> Found {
        let (told, ops) = match moment.what {
            What::Call(op) | What::Return(op) => {
                let op = self.op(op);
                (words::op(self.case.index, &op), vec![op.id()])
            }
            What::Proved(revision) => {
                let seconds = self.case.index.seconds(moment.t);
                let told = format!("revision {revision}, which was there by {seconds:.6} s");
                (told, Vec::new())
            }
        };
        let explanation = format!("no order of the operations explains {told}");
        Found::None { explanation, ops }
    }

    /// Drives a configuration in every possible way until the operation has happened, or the revision is there.
    fn drive(
        &mut self,
        from: Configuration<'a>,
        goal: What,
        after: &mut BTreeSet<Configuration<'a>>,
    ) {
        let target = match goal {
            What::Call(op) | What::Return(op) => {
                self.op(op).acked().map_or(0, |acked| acked.revision)
            }
            What::Proved(revision) => revision,
        };
        if self.hopeless(&from, target) {
            return;
        }
        let reached = |way: &mut Configuration<'a>| match goal {
            What::Call(op) | What::Return(op) => way.happened.remove(&op),
            What::Proved(revision) => way.store.revision >= revision,
        };
        let mut ways = vec![from];
        while let Some(mut way) = ways.pop() {
            if self.steps > self.steps_max || ways.len() > CONFIGURATIONS_MAX {
                self.steps = self.steps_max + 1;
                return;
            }
            if reached(&mut way) {
                self.arrive(way, after);
                continue;
            }
            if way.store.revision > target {
                continue;
            }
            // A read changes nothing: it happens as soon as the store is at its revision.
            if !self.read_all(&mut way) {
                continue;
            }
            if reached(&mut way) {
                self.arrive(way, after);
                continue;
            }
            self.advance(way, &mut ways);
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
    fn advance(&mut self, way: Configuration<'a>, ways: &mut Vec<Configuration<'a>>) {
        let revision = way.store.revision.saturating_add(1);
        let mut makers: Vec<Maker> = self
            .open
            .iter()
            .filter(|op| self.claims(**op, revision, &way))
            .map(|op| Maker::Op(*op))
            .collect();
        // A revoke that saw the revision may also have found nothing to delete.
        let sure = |maker: &Maker| match maker {
            Maker::Op(op) => !matches!(self.op(*op).call.request, Request::LeaseRevoke { .. }),
            Maker::Lease(_) | Maker::Fault => false,
        };
        if !makers.iter().any(sure) {
            self.unseen(&way, revision, &mut makers);
        }
        // The last one takes the configuration itself: where there is one way only, nothing is copied.
        let last = makers.pop();
        for maker in makers {
            self.steps += way.weight();
            self.make(way.clone(), maker, ways);
        }
        if let Some(maker) = last {
            self.steps += 1;
            self.make(way, maker, ways);
        }
    }

    /// What may have made a revision that no acknowledgement claims.
    fn unseen(&self, way: &Configuration<'a>, revision: i64, makers: &mut Vec<Maker>) {
        let entry = self.case.log.entry(revision);
        if entry.is_none() && self.case.index.fault_writes.contains(&revision) {
            makers.push(Maker::Fault);
            return;
        }
        let watched = self.case.log.scope;
        for op in &self.doubtful {
            // What was seen happened there and nowhere else; a value that was watched would have been seen with it.
            let here = match self.sighted.get(op) {
                Some(seen) => *seen == revision,
                None => {
                    let request = &self.op(*op).call.request;
                    entry.is_none_or(|entry| shows(entry.events, request))
                        || may_be_unseen(request, watched)
                }
            };
            if here && !way.happened.contains(op) {
                makers.push(Maker::Op(*op));
            }
        }
        let key = entry.map(|entry| log::key(entry.events[0]));
        let may_end = |lease: &i64| match key {
            Some(key) => way.store.get(key).is_some_and(|item| item.lease == *lease),
            None => true,
        };
        let leases = way.store.leases().filter(may_end);
        let leases = leases.filter(|lease| self.may_be_over(*lease, revision));
        makers.extend(leases.map(Maker::Lease));
    }

    /// True for a lease that may have ended by itself by the time at which a revision was there.
    fn may_be_over(&self, lease: i64, revision: i64) -> bool {
        let due = self.lives_until.get(&lease);
        due.is_none_or(|due| due.saturating_sub(EARLY_SLACK_NS) <= self.case.known.since(revision))
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

    fn make(
        &mut self,
        mut next: Configuration<'a>,
        maker: Maker,
        ways: &mut Vec<Configuration<'a>>,
    ) {
        let revision = next.store.revision.saturating_add(1);
        match maker {
            Maker::Lease(lease) => next.store.drop_lease(lease, &mut self.scratch),
            Maker::Fault => next.store.skip(&mut self.scratch),
            Maker::Op(number) => {
                let op = self.op(number);
                let answer = op.acked().map(|acked| acked.response);
                let store = &mut next.store;
                let request = &op.call.request;
                if store.execute(request, answer, &mut self.scratch).is_err() {
                    return;
                }
                next.happened.insert(number);
            }
        }
        self.keep(next, revision, ways);
    }

    /// Keeps a configuration that made the revision as the watches saw it, where they did.
    fn keep(&self, next: Configuration<'a>, revision: i64, ways: &mut Vec<Configuration<'a>>) {
        let seen = self.case.log.entry(revision);
        let agrees = seen.is_none_or(|entry| {
            let scope = self.case.log.scope;
            agree(&self.scratch, entry.events, revision, scope).is_ok()
        });
        if next.store.revision == revision && agrees {
            ways.push(next);
        }
    }

    fn op(&self, op: u32) -> Op<'a> {
        self.case.index.ops[op as usize]
    }
}
