//! Linearizability without a search: etcd's header revision is the witness.
//!
//! Acknowledged operations are put in the order of their revisions (the write first, then what read it, by call), the
//! store is replayed along that order with the log of the watches beside it, and [`proof`] looks for an operation that
//! was called after something behind it was there. Sound and complete for operations with a known revision; writes of
//! unknown outcome are found by their unique values in the log and in answers. A revision that none of these explains,
//! or of a value that two of them write, is a hole: then the bounded search takes over, from the store as it was there.
//!
//! Modules: `reads` (who saw a revision), `deletes` (revisions of which only deletes were seen), `loose` (deletes of
//! unknown outcome, by their keys), `made` (what each revision changed).

mod deletes;
mod loose;
mod made;
mod reads;

use self::loose::{Loose, deleters};
pub(crate) use self::made::Made;
use super::agree::agree;
use super::log::{self, Entry, Log};
use super::placement::{self, Part, Past, Placed};
use super::proof::{self, Known, Order};
use super::store::{Change, Mismatch, Store};
use super::used;
use super::words;
use crate::hash::{FastMap, FastSet};
use crate::index::{Index, Op};
use crate::record::{KeyEvent, Nanos, OpId, Request};

/// What the replay found, as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replayed<'a> {
    /// What it counted.
    pub(crate) tally: Tally,
    /// Why it ended early, if it did.
    pub(crate) stop: Option<Stop>,
    /// Why real time could not be judged, if it could not.
    pub(crate) unsure: Option<String>,
    /// What each revision changed.
    pub(crate) made: Made<'a>,
    /// Where it ended.
    pub(crate) reached: Reached<'a>,
}

/// Where a replay ended: from there the search continues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached<'a> {
    /// The store there.
    pub(crate) store: Store<'a>,
    /// Operations that have happened.
    pub(crate) happened: FastSet<u32>,
    /// Last revision that anything shows.
    pub(crate) end: i64,
    /// True when one of several deletes of unknown outcome was taken.
    pub(crate) guessed: bool,
}

/// A lease whose keys went without a client's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The lease.
    pub(crate) lease: i64,
    /// When a watcher saw its keys go.
    pub(crate) seen: Nanos,
    /// The revision that it made.
    pub(crate) revision: i64,
    /// True where a delete of unknown outcome may have taken the keys instead: then nothing is known of the lease.
    pub(crate) doubtful: bool,
}

/// What the replay counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Acknowledged operations placed.
    pub(crate) placed: usize,
    /// Writes of unknown outcome that the log shows to have happened.
    pub(crate) found: usize,
    /// Revisions that no client made: leases that ended.
    pub(crate) ended: Vec<Ended>,
    /// Serializable reads compared.
    pub(crate) serializable: usize,
    /// Serializable reads that saw what never was at their revision, in words.
    pub(crate) untrue: Vec<(String, OpId)>,
    /// Last revision replayed.
    pub(crate) last: i64,
}

/// Why the replay ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The history is not linearizable.
    Violation {
        /// Why, in words.
        explanation: String,
        /// Operations named.
        ops: Vec<OpId>,
    },
    /// Nothing tells what made this revision, or which of several writes of one value.
    Hole {
        /// The revision.
        revision: i64,
    },
    /// Nothing tells what was there before.
    Unknown {
        /// Why, in words.
        reason: String,
    },
}

/// Replays a case.
pub(crate) fn replay<'a>(index: &Index<'a>, log: &Log<'a>, known: &Known) -> Replayed<'a> {
    let (mut placed, past) = placement::place(index);
    let doubtful = placement::doubtful(index);
    let sighted = proof::sightings(index, &doubtful);
    let alike = placement::alike(index);
    let store = used::base(index, log);
    let mut replay = Replay {
        index,
        log,
        known,
        made: Made::from(store.revision),
        store,
        changes: Vec::new(),
        deleters: deleters(index, log, (&doubtful, &sighted, &alike)),
        sighted,
        doubtful,
        alike,
        loose: Loose::of(index),
        guessed: false,
        guesses: FastSet::default(),
        used: FastMap::default(),
        tally: Tally {
            placed: placed.len(),
            ..Tally::default()
        },
        past,
        past_next: 0,
    };
    let end = replay.end(&placed);
    let mut next = 0;
    let unmodelled = index.unmodelled.as_ref();
    let unmodelled = unmodelled.map(|found| format!("{found}, which no check models"));
    let stop = match unmodelled.or_else(|| used::unknown_base(index, log)) {
        Some(reason) => Some(Stop::Unknown { reason }),
        None => replay.run(&mut placed, &mut next, end).err(),
    };
    replay.tally.last = replay.store.revision;
    let (stop, unsure) = replay.in_order(stop);
    let done = placed[..next].iter().map(|placed| placed.op);
    Replayed {
        tally: replay.tally,
        stop,
        unsure,
        made: replay.made,
        reached: Reached {
            store: replay.store,
            happened: done.chain(replay.used.keys().copied()).collect(),
            end,
            guessed: replay.guessed,
        },
    }
}

struct Replay<'c, 'a> {
    index: &'c Index<'a>,
    log: &'c Log<'a>,
    known: &'c Known,
    made: Made<'a>,
    store: Store<'a>,
    changes: Vec<Change<'a>>,
    doubtful: FastMap<&'a str, u32>,
    alike: FastSet<u32>,
    /// Writes without an acknowledgement that answers show, by revision.
    sighted: FastMap<i64, u32>,
    /// Deletes of unknown outcome without a mark.
    loose: Loose<'a>,
    /// Transactions of unknown outcome that may delete and that no one saw.
    deleters: Vec<u32>,
    guessed: bool,
    /// Deletes that were taken for a revision where another one may have made it: they may still have happened later.
    guesses: FastSet<u32>,
    /// Revision at which a write without an acknowledgement was found.
    used: FastMap<u32, i64>,
    tally: Tally,
    past: Vec<Past<'a>>,
    past_next: usize,
}

impl<'a> Replay<'_, 'a> {
    /// The last revision that an operation, a watch or a read shows.
    fn end(&self, placed: &[Placed]) -> i64 {
        let placed = placed.last().map_or(0, |p| p.revision);
        let past = self.past.last().map_or(0, |p| p.revision);
        let sighted = self.sighted.keys().copied().max().unwrap_or(0);
        placed.max(past).max(sighted).max(self.log.last())
    }

    fn run(&mut self, placed: &mut [Placed], next: &mut usize, end: i64) -> Result<(), Stop> {
        let base = self.store.revision;
        *next = placed.partition_point(|p| p.revision < base);
        let mut early = placed[..*next].iter();
        if let Some(early) = early.find(|p| p.part == Part::Changes) {
            return Err(self.violation(
                early.op,
                &format!("its revision is below {base}, where the run began"),
            ));
        }
        // Reads of what was before the run cannot be compared.
        self.past_next = self.past.partition_point(|p| p.revision < base);
        self.observe(placed, next)?;
        while self.store.revision < end {
            let revision = self.store.revision.saturating_add(1);
            self.change(revision, placed, next)?;
            self.made.push(&self.changes);
            self.observe(placed, next)?;
        }
        Ok(())
    }

    /// Real time, wherever the replay ended: a hole does not keep a client from reading a clock.
    fn in_order(&self, stop: Option<Stop>) -> (Option<Stop>, Option<String>) {
        if let Some(Stop::Violation { .. }) = stop {
            return (stop, None);
        }
        let lone = |op: &u32| matches!(self.op(*op).call.request, Request::Delete { .. });
        let used = self.used.iter().filter(|(op, _)| !lone(op));
        let found: Vec<_> = used.map(|(op, revision)| (*op, *revision)).collect();
        match proof::order(self.index, self.known, &found) {
            Order::Kept => (stop, None),
            Order::Broken { explanation, ops } => {
                (Some(Stop::Violation { explanation, ops }), None)
            }
            Order::Unsure { reason } => (stop, Some(reason)),
        }
    }

    /// Makes the next revision from whatever is known to have made it.
    fn change(
        &mut self,
        revision: i64,
        placed: &mut [Placed],
        next: &mut usize,
    ) -> Result<(), Stop> {
        match placed
            .get(*next)
            .copied()
            .filter(|p| p.revision == revision)
        {
            Some(owner) if owner.part == Part::Changes => {
                *next += 1;
                if let Some(rival) = placed
                    .get(*next)
                    .filter(|p| p.revision == revision && p.part == Part::Changes)
                {
                    return Err(self.pair(rival.op, owner.op, "both made the same revision"));
                }
                self.acknowledged(owner)
            }
            Some(_) => {
                // Of the revokes that saw this revision one may have made it: it comes in front of all that saw it.
                let here = placed[*next..]
                    .iter()
                    .take_while(|p| p.revision == revision);
                let Some(offset) = here.copied().position(|p| self.revoked(p)) else {
                    return self.unclaimed(revision);
                };
                placed[*next..=*next + offset].rotate_right(1);
                *next += 1;
                self.acknowledged(placed[*next - 1])
            }
            None => self.unclaimed(revision),
        }
    }

    /// True when this revoke is what made its revision: the lease has keys, and the watches saw nothing else go.
    fn revoked(&self, revoke: Placed) -> bool {
        let Request::LeaseRevoke { id } = self.op(revoke.op).call.request else {
            return false;
        };
        let of_lease = |event: &&KeyEvent| {
            matches!(event, KeyEvent::Delete { .. })
                && self
                    .store
                    .get(log::key(event))
                    .is_some_and(|item| item.lease == id)
        };
        self.store.has_leased(id)
            && self
                .log
                .entry(revoke.revision)
                .is_none_or(|entry| entry.events.iter().all(of_lease))
    }

    fn acknowledged(&mut self, owner: Placed) -> Result<(), Stop> {
        self.execute(owner.op)?;
        if self.store.revision != owner.revision {
            return Err(self.violation(
                owner.op,
                "it changed nothing there, yet its revision is a new one",
            ));
        }
        match self.log.entry(owner.revision) {
            Some(entry) => self.compare_log(owner.op, entry),
            None => Ok(()),
        }
    }

    /// A revision that no acknowledgement claims: a write of unknown outcome, a lease that ended, or a hole.
    fn unclaimed(&mut self, revision: i64) -> Result<(), Stop> {
        let entry = self.log.entry(revision);
        let put = entry.and_then(|entry| {
            let put = entry.events.iter().find_map(|event| match event {
                KeyEvent::Put { kv, .. } => Some((kv.key.as_str(), kv.value.as_str())),
                KeyEvent::Delete { .. } => None,
            });
            Some((put?, entry.seen))
        });
        if let Some(((key, value), seen)) = put {
            let at = format!("a watcher saw it at {:.6} s", self.index.seconds(seen));
            let Some(owner) = self.doubtful.get(value).copied() else {
                let (told, ops) = self.writer(value);
                return Err(Stop::Violation {
                    explanation: format!(
                        "{key} = {} is of revision {revision}, {at}, which {told}",
                        words::shown(value)
                    ),
                    ops,
                });
            };
            return self.found(owner, (revision, entry), &at);
        }
        if let Some(owner) = self.sighted.get(&revision).copied() {
            return self.found(owner, (revision, entry), "it was read");
        }
        match entry {
            Some(entry) => self.ended_lease(revision, entry),
            None if self.index.fault_writes.contains(&revision) => {
                self.store.skip(&mut self.changes);
                Ok(())
            }
            None => Err(Stop::Hole { revision }),
        }
    }

    /// A write without an acknowledgement, at the revision that its value tells.
    fn found(
        &mut self,
        owner: u32,
        (revision, entry): (i64, Option<Entry<'_, 'a>>),
        told: &str,
    ) -> Result<(), Stop> {
        if self.alike.contains(&owner) {
            return Err(Stop::Hole { revision });
        }
        if self.op(owner).failed() {
            let why = format!("it failed for certain, yet at revision {revision} {told}");
            return Err(self.violation(owner, &why));
        }
        if let Some(earlier) = self.used.insert(owner, revision) {
            let why = format!("it happened twice, at revisions {earlier} and {revision}");
            return Err(self.violation(owner, &why));
        }
        self.execute(owner)?;
        if self.store.revision != revision {
            let why = format!("it changes nothing at revision {revision}, yet {told}");
            return Err(self.violation(owner, &why));
        }
        self.tally.found += 1;
        match entry {
            Some(entry) => self.compare_log(owner, entry),
            None => Ok(()),
        }
    }

    fn execute(&mut self, op: u32) -> Result<(), Stop> {
        let joined = self.op(op);
        let answer = joined.acked().map(|acked| acked.response);
        let request = &joined.call.request;
        self.store
            .execute(request, answer, &mut self.changes)
            .map_err(|m| self.mismatch(op, &m))
    }

    fn compare_log(&self, op: u32, entry: Entry<'_, 'a>) -> Result<(), Stop> {
        let (events, scope) = (entry.events, self.log.scope);
        agree(&self.changes, events, self.store.revision, scope)
            .map_err(|why| self.violation(op, &format!("the watches disagree: {why}")))
    }

    fn op(&self, op: u32) -> Op<'a> {
        self.index.ops[op as usize]
    }

    fn writer(&self, value: &str) -> (String, Vec<OpId>) {
        let writer = self
            .index
            .ops
            .iter()
            .find(|op| placement::values_of(&op.call.request).any(|v| v == value));
        match writer {
            Some(op) => (
                format!("does not belong there: {}", words::op(self.index, op)),
                vec![op.id()],
            ),
            None => ("no client wrote".to_owned(), Vec::new()),
        }
    }

    fn mismatch(&self, op: u32, mismatch: &Mismatch) -> Stop {
        self.violation(
            op,
            &format!("at revision {}: {}", self.store.revision, mismatch.0),
        )
    }

    fn violation(&self, op: u32, why: &str) -> Stop {
        let op = self.op(op);
        Stop::Violation {
            explanation: format!("{}: {why}", words::op(self.index, &op)),
            ops: vec![op.id()],
        }
    }

    fn pair(&self, front: u32, back: u32, why: &str) -> Stop {
        let (front, back) = (self.op(front), self.op(back));
        let index = self.index;
        Stop::Violation {
            explanation: format!(
                "{} and {}: {why}",
                words::op(index, &front),
                words::op(index, &back)
            ),
            ops: vec![front.id(), back.id()],
        }
    }
}
