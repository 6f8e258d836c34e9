//! The store, revision by revision, as far as nothing open can change it.
//!
//! Modules: `begin` (where it begins), `unclaimed` (revisions that no acknowledgement claims), `deletes` (those of
//! which only deletes were seen).

mod begin;
mod deletes;
mod unclaimed;

use std::collections::BTreeSet;

use super::ahead::Ahead;
use super::done::{Done, Stop};
use super::lost::Losses;
use super::past::{Late, Pasts};
use super::ring::{Ring, WAITING_MAX};

use crate::check::agree::agree;
use crate::check::brief::Brief;
use crate::check::items::Hashed;
use crate::check::keyspace::Keys;
use crate::check::log;
use crate::check::placement::{self, Part};
use crate::check::store::{Changed, Mismatch, Model, Value};
use crate::check::verdict::Findings;
use crate::record::{KeyEvent, Nanos, Outcome, Request};

type Store = Model<Brief, Hashed<Value<Brief>>>;

/// Operations that may wait for the revision at which the run began.
const EARLY_MAX: usize = 1 << 18;

/// The store and what is not in it yet.
#[derive(Debug, Default)]
pub(super) struct Replay {
    store: Store,
    changes: Vec<Changed<Brief>>,
    past: Pasts,
    ring: Ring,
    ahead: Ahead,
    pub(super) losses: Losses,
    /// What came before the revision was known at which the run began.
    early: Option<Early>,
    begun: bool,
    /// The range that was read in front of an etcd that was used before: nothing is known of other keys.
    read: Option<(String, Option<String>)>,
    start: Option<Nanos>,
    newest: Nanos,
    /// Calls that may write.
    pub(super) writers: i64,
    /// What watchers asked for.
    scopes: BTreeSet<(String, String)>,
    fault_writes: BTreeSet<i64>,
    /// Nothing tells yet what made the next revision.
    stalled: bool,
    pub(super) tally: Tally,
}

#[derive(Debug, Default)]
struct Early {
    placed: Vec<(Done, Part, i64)>,
    seen: Vec<KeyEvent>,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) placed: usize,
    found: usize,
    ended: usize,
    late_events: usize,
}

impl Replay {
    /// A record of this time came.
    pub(super) fn begin_at(&mut self, t: Nanos) {
        self.start.get_or_insert(t);
        self.newest = self.newest.max(t);
    }

    pub(super) fn start(&self) -> Nanos {
        self.start.unwrap_or(0)
    }

    pub(super) fn newest(&self) -> Nanos {
        self.newest
    }

    pub(super) fn figures(&self, findings: &mut Findings) {
        let Tally {
            placed,
            found,
            ended,
            late_events,
        } = self.tally;
        findings.count("operations_placed", placed);
        findings.count("unknown_writes_found", found);
        findings.count("leases_ended", ended);
        findings.count("events_too_late_to_compare", late_events);
        findings.count("keys", self.store.len());
        let revision = usize::try_from(self.store.revision).unwrap_or(0);
        findings.count("revisions", revision);
    }

    /// Revisions that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.ring.iter().count()
    }

    /// A watcher asks for these keys.
    pub(super) fn watched(&mut self, key: String, range_end: String) {
        // Two are enough to know that they differ.
        if self.scopes.len() < 2 {
            self.scopes.insert((key, range_end));
        }
    }

    /// A fault made these revisions, with keys that no client uses.
    pub(super) fn skip(&mut self, revisions: &[i64]) {
        self.fault_writes.extend(revisions);
        self.stalled = false;
    }

    /// An acknowledged operation, at its place.
    pub(super) fn place(&mut self, done: Done, part: Part, revision: i64) -> Result<(), Stop> {
        self.tally.placed += 1;
        if !self.begun {
            if let Some(store) = self.beginning(&done, revision) {
                if let Request::Range { key, range_end, .. } = &done.call.request {
                    let used = revision > 1;
                    self.read = used.then(|| (key.clone(), range_end.clone()));
                }
                self.begin(store)?;
            } else {
                let early = self.early.get_or_insert_default();
                if early.placed.len() > EARLY_MAX {
                    return Err(Stop::Unsure(
                        "an operation was open all the time, and nothing tells where the run began"
                            .to_owned(),
                    ));
                }
                early.placed.push((done, part, revision));
                return Ok(());
            }
        }
        self.within(&done.call.request)?;
        let behind = revision.saturating_sub(self.store.revision);
        if behind == 0 && part != Part::Changes {
            return self.observe(&done);
        }
        if behind <= 0 {
            return Err(Stop::Unsure(format!(
                "the clocks of those who wrote the history disagree: {} comes when revision {} is over",
                done.words(self.start()),
                self.store.revision
            )));
        }
        if self.stalled
            && let Some(Outcome::Ok { response, .. }) = done.end.as_ref().map(|end| &end.outcome)
        {
            let next = self.store.revision.saturating_add(1);
            self.stalled = self.losses.shown(response, next).is_none();
        }
        let start = self.start();
        let Some(slot) = self.ring.slot(behind) else {
            return Err(self.too_far(revision));
        };
        if part != Part::Changes {
            slot.readers.push(done);
        } else if let Some(rival) = slot.maker.replace(done)
            && let Some(done) = &slot.maker
        {
            return Err(Stop::Violation {
                explanation: format!(
                    "{} and {}: both made the same revision",
                    rival.words(start),
                    done.words(start)
                ),
                ops: vec![rival.call.op, done.call.op],
            });
        } else if behind == 1 {
            self.stalled = false;
        }
        Ok(())
    }

    /// What a watcher was sent at one time.
    pub(super) fn see_all(&mut self, events: Vec<KeyEvent>) -> Result<(), Stop> {
        let mut run: Vec<KeyEvent> = Vec::new();
        for event in events {
            let other = |last: &KeyEvent| log::revision(last) != log::revision(&event);
            if run.last().is_some_and(other) {
                self.see(std::mem::take(&mut run))?;
            }
            run.push(event);
        }
        self.see(run)
    }

    /// Events of one revision.
    fn see(&mut self, run: Vec<KeyEvent>) -> Result<(), Stop> {
        let Some(revision) = run.first().map(log::revision) else {
            return Ok(());
        };
        if !self.begun {
            self.early.get_or_insert_default().seen.extend(run);
            return Ok(());
        }
        let behind = revision.saturating_sub(self.store.revision);
        if behind <= 0 {
            return self.see_late(&run, revision, behind.saturating_neg());
        }
        // The key before it may show a write that nothing else shows.
        let mut previous = run.iter().filter_map(log::previous);
        let shows = previous.any(|kv| kv.mod_revision < revision);
        self.stalled &= behind != 1 && !shows;
        match self.ring.slot(behind) {
            Some(slot) => {
                slot.see(run);
                Ok(())
            }
            None => Err(self.too_far(revision)),
        }
    }

    /// What a watcher was sent of a revision that is replayed.
    fn see_late(&mut self, run: &[KeyEvent], revision: i64, before: i64) -> Result<(), Stop> {
        match self.past.compare(run, revision, before) {
            Late::Agrees => Ok(()),
            Late::Forgotten => {
                self.tally.late_events += run.len();
                Ok(())
            }
            Late::Doubtful(why) => Err(Stop::Unsure(format!(
                "a watcher saw otherwise what was taken for the end of a lease or a delete: {why}"
            ))),
            Late::Differs(why) => Err(Stop::Violation {
                explanation: format!("a watcher saw otherwise what was acknowledged: {why}"),
                ops: Vec::new(),
            }),
        }
    }

    /// A request for keys of which it is not known what was there before the run proves nothing.
    pub(super) fn within(&self, request: &Request) -> Result<(), Stop> {
        let Some((key, range_end)) = &self.read else {
            return Ok(());
        };
        let read = Keys::new(key, range_end.as_deref());
        match placement::keys_of(request).find(|keys| !read.cover(*keys)) {
            None => Ok(()),
            Some(unread) => Err(Stop::Unsure(format!(
                "not all of {} was read before the first write, and the store was not new then",
                unread.key
            ))),
        }
    }

    fn too_far(&self, revision: i64) -> Stop {
        Stop::Unsure(format!(
            "nothing tells what made revision {}, and more than {WAITING_MAX} others wait behind it, up to {revision}",
            self.store.revision.saturating_add(1)
        ))
    }

    /// Replays up to this revision.
    pub(super) fn advance(&mut self, settled: i64) -> Result<(), Stop> {
        if !self.begun {
            self.begin_without(settled)?;
        }
        while self.begun && !self.stalled && self.store.revision < settled {
            if self.ring.is_empty() {
                break;
            }
            self.ahead.look(&self.store, &self.ring, settled);
            self.stalled = !self.step()?;
        }
        Ok(())
    }

    /// Replays all that is left.
    pub(super) fn finish(&mut self) -> Result<(), Stop> {
        self.stalled = false;
        self.advance(i64::MAX)?;
        if self.ring.is_empty() {
            return Ok(());
        }
        Err(Stop::Unsure(format!(
            "nothing tells what made revision {}",
            self.store.revision.saturating_add(1)
        )))
    }

    /// Makes the next revision; false when nothing tells yet what made it.
    fn step(&mut self) -> Result<bool, Stop> {
        let Some(mut slot) = self.ring.pop() else {
            return Ok(false);
        };
        let revision = self.store.revision.saturating_add(1);
        let revoke = |done: &Done| self.revoked(done, &slot.events);
        let mut sure = true;
        if let Some(maker) = slot.maker.take() {
            self.made(&maker, revision, &slot.events)?;
        } else if let Some(at) = slot.readers.iter().position(revoke) {
            let maker = slot.readers.remove(at);
            self.made(&maker, revision, &slot.events)?;
        } else {
            sure = false;
            if !self.unclaimed(revision, &slot)? {
                self.ring.put_back(slot);
                return Ok(false);
            }
        }
        self.past.keep(&mut self.changes, sure);
        for reader in &slot.readers {
            self.observe(reader)?;
        }
        Ok(true)
    }

    /// True when this revoke is what made its revision: the lease has keys, and the watches saw nothing else go.
    fn revoked(&self, done: &Done, events: &[KeyEvent]) -> bool {
        let Request::LeaseRevoke { id } = done.call.request else {
            return false;
        };
        let of_lease = |event: &KeyEvent| {
            let held = self.store.get(log::key(event));
            matches!(event, KeyEvent::Delete { .. }) && held.is_some_and(|item| item.lease == id)
        };
        self.store.has_leased(id) && events.iter().all(of_lease)
    }

    fn made(&mut self, done: &Done, revision: i64, events: &[KeyEvent]) -> Result<(), Stop> {
        self.execute(done)?;
        if self.store.revision != revision {
            let why = "it changed nothing there, yet its revision is a new one";
            return Err(done.violation(self.start(), why));
        }
        agree(&self.changes, events, revision, None)
            .map_err(|why| done.violation(self.start(), &format!("the watches disagree: {why}")))
    }

    fn observe(&mut self, done: &Done) -> Result<(), Stop> {
        let revision = self.store.revision;
        self.execute(done)?;
        if self.store.revision != revision {
            let why = "it should have changed something there, yet its revision is not a new one";
            return Err(done.violation(self.start(), why));
        }
        Ok(())
    }

    fn execute(&mut self, done: &Done) -> Result<(), Stop> {
        let answer = done.op().acked().map(|acked| acked.response);
        let stepped = self
            .store
            .execute(&done.call.request, answer, &mut self.changes);
        stepped.map_err(|Mismatch(why)| {
            let why = format!("at revision {}: {why}", self.store.revision);
            done.violation(self.start(), &why)
        })
    }
}
