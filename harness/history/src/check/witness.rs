//! Linearizability without a search: etcd's header revision is the witness.
//!
//! Acknowledged operations are put in the order of their revisions (the write first, then what read it, by call), the
//! store is replayed along that order with the log of the watches beside it, and one sweep looks for an operation that
//! had ended before something in front of it began. Sound and complete for operations with a known revision; writes of
//! unknown outcome are found in the log by their unique values. A revision that neither an answer nor a watch explains
//! is a hole: then the bounded search takes over.

use super::keyspace::Keys;
use super::log::{self, Entry, Log};
use super::placement::{self, Part, Past, Placed};
use super::store::{Change, Item, Mismatch, Store};
use super::words;
use crate::hash::FastMap;
use crate::index::{Index, Op};
use crate::record::{KeyEvent, Nanos, OpId, Request};

/// What the replay found, as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// What it counted.
    pub(crate) tally: Tally,
    /// Why it ended early, if it did.
    pub(crate) stop: Option<Stop>,
}

/// A lease whose keys went without a client's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The lease.
    pub(crate) lease: i64,
    /// When a watcher saw its keys go.
    pub(crate) seen: Nanos,
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
    /// Nothing tells what made this revision.
    Hole {
        /// The revision.
        revision: i64,
    },
}

/// Replays a case.
pub(crate) fn replay(index: &Index<'_>, log: &Log<'_>) -> Replayed {
    let (mut placed, past) = placement::place(index);
    let mut replay = Replay {
        index,
        log,
        store: placement::base(index, log),
        changes: Vec::new(),
        doubtful: placement::doubtful(index),
        loose: placement::loose(index),
        used: FastMap::default(),
        latest: (Nanos::MIN, None),
        tally: Tally {
            placed: placed.len(),
            ..Tally::default()
        },
        past,
        past_next: 0,
    };
    let stop = replay.run(&mut placed).err();
    replay.tally.last = replay.store.revision;
    Replayed {
        tally: replay.tally,
        stop,
    }
}

struct Replay<'c, 'a> {
    index: &'c Index<'a>,
    log: &'c Log<'a>,
    store: Store<'a>,
    changes: Vec<Change<'a>>,
    doubtful: FastMap<&'a str, u32>,
    /// Deletes of unknown outcome without a mark, in the order of their calls.
    loose: Vec<u32>,
    /// Revision at which a write without an acknowledgement was found.
    used: FastMap<u32, i64>,
    /// The latest call so far in witness order, and whose it is.
    latest: (Nanos, Option<u32>),
    tally: Tally,
    past: Vec<Past<'a>>,
    past_next: usize,
}

impl<'a> Replay<'_, 'a> {
    fn run(&mut self, placed: &mut [Placed]) -> Result<(), Stop> {
        if let Some(early) = placed.first().filter(|p| p.revision < self.store.revision) {
            return Err(self.violation(
                early.op,
                &format!(
                    "its revision is below {}, where the run began",
                    self.store.revision
                ),
            ));
        }
        let base = self.store.revision;
        // Reads of what was before the run cannot be compared.
        self.past_next = self.past.partition_point(|p| p.revision < base);
        let end = placed.last().map_or(0, |p| p.revision).max(self.log.last());
        let mut next = 0;
        self.observe(placed, &mut next)?;
        for revision in base + 1..=end {
            self.change(revision, placed, &mut next)?;
            self.observe(placed, &mut next)?;
        }
        if let Some(future) = self.past.get(self.past_next).copied() {
            return Err(self.violation(
                future.op,
                &format!("it read revision {}, which never was", future.revision),
            ));
        }
        Ok(())
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
        let op = self.op(owner.op);
        self.execute(owner.op)?;
        if self.store.revision != owner.revision {
            return Err(self.violation(
                owner.op,
                "it changed nothing there, yet its revision is a new one",
            ));
        }
        let mut certain = op.certain_by();
        if let Some(entry) = self.log.entry(owner.revision) {
            self.compare_log(owner.op, entry)?;
            certain = certain.min(entry.seen);
        }
        self.sweep(owner.op, certain)
    }

    /// A revision that no acknowledgement claims: a write of unknown outcome, a lease that ended, or a hole.
    fn unclaimed(&mut self, revision: i64) -> Result<(), Stop> {
        let Some(entry) = self.log.entry(revision) else {
            return Err(Stop::Hole { revision });
        };
        let Some((key, value)) = entry.events.iter().find_map(|event| match event {
            KeyEvent::Put { kv, .. } => Some((kv.key.as_str(), kv.value.as_str())),
            KeyEvent::Delete { .. } => None,
        }) else {
            return self.ended_lease(revision, entry);
        };
        let seconds = self.index.seconds(entry.seen);
        let Some(owner) = self.doubtful.get(value).copied() else {
            let (told, ops) = self.writer(value);
            return Err(Stop::Violation {
                explanation: format!(
                    "a watcher saw {key} = {} at revision {revision} at {seconds:.6} s, which {told}",
                    words::shown(value)
                ),
                ops,
            });
        };
        if self.op(owner).failed() {
            return Err(self.violation(owner, &format!("it failed for certain, yet a watcher saw it at revision {revision} at {seconds:.6} s")));
        }
        if let Some(earlier) = self.used.insert(owner, revision) {
            return Err(self.violation(
                owner,
                &format!("it happened twice, at revisions {earlier} and {revision}"),
            ));
        }
        self.execute(owner)?;
        self.compare_log(owner, entry)?;
        self.tally.found += 1;
        self.sweep(owner, entry.seen)
    }

    /// Only deletes: the keys of a lease went together, or a delete of unknown outcome that cannot be recognised.
    fn ended_lease(&mut self, revision: i64, entry: Entry<'_, 'a>) -> Result<(), Stop> {
        let lease = self
            .store
            .get(log::key(entry.events[0]))
            .map_or(0, |item| item.lease);
        if lease == 0 {
            return self.loose_delete(revision, entry);
        }
        self.store.drop_lease(lease, &mut self.changes);
        let explained = agree(&self.changes, entry, revision, self.log.scope.is_some());
        if explained.is_err() {
            return Err(Stop::Hole { revision });
        }
        self.tally.ended.push(Ended {
            lease,
            seen: entry.seen,
        });
        Ok(())
    }

    /// A delete of unknown outcome that stands alone leaves no mark: the earliest called that deletes just this is taken,
    /// since it leaves most to the others.
    fn loose_delete(&mut self, revision: i64, entry: Entry<'_, 'a>) -> Result<(), Stop> {
        let fits = |op: &u32| match &self.op(*op).call.request {
            Request::Delete { key, range_end } if !self.used.contains_key(op) => {
                let keys = Keys::new(key, range_end.as_deref());
                self.store.holds_exactly(
                    keys,
                    entry.events.iter().map(|event| log::key(event)),
                    entry.events.len(),
                )
            }
            _ => false,
        };
        let Some(owner) = self.loose.iter().copied().find(fits) else {
            return Err(Stop::Hole { revision });
        };
        self.used.insert(owner, revision);
        self.execute(owner)?;
        self.tally.found += 1;
        self.sweep(owner, entry.seen)
            .map_err(|_| Stop::Hole { revision })
    }

    /// Places what saw the store as it is now.
    fn observe(&mut self, placed: &[Placed], next: &mut usize) -> Result<(), Stop> {
        let revision = self.store.revision;
        while let Some(reader) = placed.get(*next).filter(|p| p.revision == revision) {
            *next += 1;
            if reader.part == Part::Changes {
                return Err(self.violation(
                    reader.op,
                    &format!("its revision {revision} was made before it"),
                ));
            }
            self.execute(reader.op)?;
            if self.store.revision != revision {
                return Err(self.violation(
                    reader.op,
                    "it should have changed something there, yet its revision is not a new one",
                ));
            }
            self.sweep(reader.op, self.op(reader.op).certain_by())?;
        }
        while let Some(past) = self
            .past
            .get(self.past_next)
            .copied()
            .filter(|p| p.revision == revision)
        {
            self.past_next += 1;
            self.look_back(past)?;
        }
        Ok(())
    }

    fn look_back(&mut self, past: Past<'a>) -> Result<(), Stop> {
        let compared = match past.request {
            Request::Range { .. } => self.store.compare_range(past.request, past.response),
            request => self
                .store
                .execute(request, Some(past.response), &mut self.changes),
        };
        self.tally.serializable += usize::from(past.serializable);
        match compared {
            Err(Mismatch(why)) if past.serializable => {
                let op = self.op(past.op);
                let explanation = format!(
                    "{}: at revision {}: {why}",
                    words::op(self.index, &op),
                    past.revision
                );
                self.tally.untrue.push((explanation, op.id()));
                Ok(())
            }
            compared => compared.map_err(|m| self.mismatch(past.op, &m)),
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
        agree(
            &self.changes,
            entry,
            self.store.revision,
            self.log.scope.is_some(),
        )
        .map_err(|why| self.violation(op, &format!("the watches disagree: {why}")))
    }

    /// Nothing may have ended before something that stands in front of it had begun.
    fn sweep(&mut self, op: u32, certain: Nanos) -> Result<(), Stop> {
        let call = self.op(op).call.t;
        if call >= self.latest.0 {
            self.latest = (call, Some(op));
        }
        match self.latest {
            (begun, Some(front)) if certain < begun => {
                let why = format!(
                    "the second had happened by {:.6} s, before the first was called, yet its place is behind",
                    self.index.seconds(certain)
                );
                Err(self.pair(front, op, &why))
            }
            _ => Ok(()),
        }
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
            None => ("nobody wrote".to_owned(), Vec::new()),
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

/// Compares what the model changed with what the watches saw. `whole`: every watcher was asked for the same keys, so
/// that nothing of a revision may be missing.
pub(crate) fn agree(
    changes: &[Change<'_>],
    entry: Entry<'_, '_>,
    revision: i64,
    whole: bool,
) -> Result<(), String> {
    for event in entry.events {
        let key = log::key(event);
        let Some(change) = changes.iter().find(|change| change.key == key) else {
            return Err(format!("revision {revision} changed {key} as well"));
        };
        let same = match (event, change.after) {
            (KeyEvent::Put { kv, .. }, Some(item)) => Item::of(kv) == item,
            (KeyEvent::Delete { .. }, None) => true,
            _ => false,
        };
        if !same {
            return Err(format!("revision {revision} left {key} otherwise"));
        }
    }
    if whole && entry.events.len() != changes.len() {
        return Err(format!(
            "revision {revision} changed {} keys, they saw {}",
            changes.len(),
            entry.events.len()
        ));
    }
    Ok(())
}
