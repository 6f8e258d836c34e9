//! The store, revision by revision, as far as nothing open can change it.

use std::collections::BTreeSet;

use super::ahead::Ahead;
use super::done::{Done, Stop};
use super::lost::Losses;
use super::past::{Late, Pasts};
use super::ring::{Ring, Slot, WAITING_MAX};

use crate::check::agree::agree;
use crate::check::brief::Brief;
use crate::check::items::Hashed;
use crate::check::keyspace::Keys;
use crate::check::log;
use crate::check::placement::{self, Part};
use crate::check::rival::{Deletes, Fit, Rival, fit, rival};
use crate::check::store::{Changed, Mismatch, Model, Value};
use crate::check::used;
use crate::check::verdict::Findings;
use crate::check::words;
use crate::record::{KeyEvent, Nanos, Outcome, Request, Response};

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
            self.stalled = shown(response, next, &self.losses).is_none();
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

    /// The store at the beginning, where a read of a range before the first write tells it.
    fn beginning(&self, done: &Done, revision: i64) -> Option<Store> {
        let whole = matches!(
            done.call.request,
            Request::Range {
                range_end: Some(_),
                limit: 0,
                revision: 0,
                serializable: false,
                ..
            }
        );
        match done.op().acked()?.response {
            Response::Range { kvs, .. } if whole && self.writers == 0 => {
                Some(Store::at(revision, kvs))
            }
            _ => None,
        }
    }

    fn begin(&mut self, store: Store) -> Result<(), Stop> {
        self.store = store;
        self.begun = true;
        let early = self.early.take().unwrap_or_default();
        for (done, part, revision) in early.placed {
            self.tally.placed -= 1;
            self.place(done, part, revision)?;
        }
        self.see_all(early.seen)
    }

    /// Without such a read: a new etcd, unless its first revisions are more than unseen writes can have made.
    fn begin_without(&mut self, settled: i64) -> Result<(), Stop> {
        let Some(early) = &self.early else {
            return Ok(());
        };
        let before = |part: Part| i64::from(part == Part::Changes);
        let placed = early.placed.iter();
        let placed = placed.map(|(_, part, revision)| revision.saturating_sub(before(*part)));
        let seen = early.seen.iter();
        let seen = seen.map(|event| log::revision(event).saturating_sub(1));
        let Some(lowest) = placed.chain(seen).min().filter(|lowest| *lowest < settled) else {
            return Ok(());
        };
        let made = self.fault_writes.range(..=lowest).count();
        match used::unread(lowest, self.losses.unseen() + made) {
            Some(reason) => Err(Stop::Unsure(reason)),
            None => self.begin(Store::at(1, &[])),
        }
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

    /// A revision that no acknowledgement claims; false when nothing tells yet what it was.
    fn unclaimed(&mut self, revision: i64, slot: &Slot) -> Result<bool, Stop> {
        let put = slot.events.iter().find_map(|event| match event {
            KeyEvent::Put { kv, .. } => Some(kv),
            KeyEvent::Delete { .. } => None,
        });
        if let Some(kv) = put {
            return match self.losses.of_value(&kv.value) {
                Some(owner) => self.found(owner, revision, &slot.events),
                None => Err(Stop::Foreign {
                    explanation: format!(
                        "{} = {} is of revision {revision}, a watcher saw it, and no operation can have written it \
                         there",
                        kv.key,
                        words::shown(&kv.value)
                    ),
                    value: kv.value.clone(),
                }),
            };
        }
        if let Some(owner) = self.sighted(revision, slot) {
            return self.found(owner, revision, &slot.events);
        }
        if !slot.events.is_empty() {
            return self.only_deletes(revision, &slot.events);
        }
        if self.fault_writes.contains(&revision) {
            self.store.skip(&mut self.changes);
            return Ok(true);
        }
        Ok(false)
    }

    /// The write without an acknowledgement that an answer or a previous key shows to have made a revision.
    fn sighted(&self, revision: i64, slot: &Slot) -> Option<usize> {
        if self.losses.is_empty() {
            return None;
        }
        let mut slots = std::iter::once(slot).chain(self.ring.iter());
        slots.find_map(|slot| {
            let answers = slot.readers.iter().chain(&slot.maker);
            let mut answers = answers.filter_map(|done| done.op().acked());
            let read = answers.find_map(|acked| shown(acked.response, revision, &self.losses));
            let previous = slot.events.iter().filter_map(log::previous);
            let mut previous = previous.filter(|kv| kv.mod_revision == revision);
            read.or_else(|| previous.find_map(|kv| self.losses.of_value(&kv.value)))
        })
    }

    fn found(&mut self, at: usize, revision: i64, events: &[KeyEvent]) -> Result<bool, Stop> {
        let lost = self.losses.get(at);
        let start = self.start();
        if self.losses.is_alike(at) {
            return Err(Stop::Unsure(lost.done.alike(start)));
        }
        if lost.done.op().failed() {
            let why = format!("it failed for certain, yet it made revision {revision}");
            return Err(lost.done.violation(start, &why));
        }
        if let Some(earlier) = lost.made {
            let why = format!("it happened twice, at revisions {earlier} and {revision}");
            return Err(lost.done.violation(start, &why));
        }
        // A lone delete has no mark: that it was this one is a guess, which is held against none.
        let marked = !matches!(lost.done.call.request, Request::Delete { .. });
        if marked && lost.done.floor >= revision {
            let why =
                format!("revision {revision} had happened before it was called, yet it made it");
            return Err(lost.done.violation(start, &why));
        }
        let (request, store) = (&lost.done.call.request, &mut self.store);
        let stepped = store.execute(request, None, &mut self.changes);
        let wrong = match stepped {
            Err(Mismatch(why)) => Some(why),
            Ok(()) if store.revision != revision => Some(format!(
                "it changes nothing at revision {revision}, yet it made it"
            )),
            Ok(()) => agree(&self.changes, events, revision, None)
                .err()
                .map(|why| format!("the watches disagree: {why}")),
        };
        if let Some(why) = wrong {
            return Err(lost.done.violation(start, &why));
        }
        self.losses.found(at, revision);
        self.tally.found += 1;
        Ok(true)
    }

    /// The keys of a lease went together, or a delete of unknown outcome that cannot be recognised.
    fn only_deletes(&mut self, revision: i64, events: &[KeyEvent]) -> Result<bool, Stop> {
        // Of a transaction that deletes and puts, a watcher of few keys may have seen the delete alone.
        if self.losses.may_delete(self.scopes.len() > 1) {
            return Ok(false);
        }
        let held = events
            .first()
            .and_then(|event| self.store.get(log::key(event)));
        let lease = held.map_or(0, |item| item.lease);
        let seen = seen(&self.scopes, events, lease);
        let (store, losses) = (&mut self.store, &self.losses);
        if worst(store, losses, losses.deleters(), (revision, &seen)) != Rival::No {
            return Ok(false);
        }
        self.changes.clear();
        self.changes.extend(store.leased(lease));
        if lease == 0 || agree(&self.changes, events, revision, None).is_err() {
            return self.loose_delete(revision, events);
        }
        if worst(store, losses, &losses.loose(), (revision, &seen)) == Rival::Other {
            return Err(Stop::Unsure(format!(
                "the end of a lease or a delete of unknown outcome may have made revision {revision}"
            )));
        }
        self.store.drop_lease(lease, &mut self.changes);
        self.tally.ended += 1;
        Ok(true)
    }

    /// A delete of unknown outcome that stands alone leaves no mark.
    fn loose_delete(&mut self, revision: i64, events: &[KeyEvent]) -> Result<bool, Stop> {
        let seen = seen(&self.scopes, events, 0);
        let mut fitting = Vec::new();
        for at in self.losses.loose() {
            let done = &self.losses.get(at).done;
            if done.floor >= revision {
                continue;
            }
            match fit(&mut self.store, &done.call.request, &seen) {
                Fit::No => {}
                Fit::Exactly => fitting.push(at),
                Fit::More => {
                    return Err(Stop::Unsure(format!(
                        "what made revision {revision} may have deleted keys that no one watches"
                    )));
                }
            }
        }
        match fitting.as_slice() {
            [] => Ok(false),
            [owner] => self.found(*owner, revision, events),
            [..] => Err(Stop::Unsure(format!(
                "several deletes of unknown outcome may have made revision {revision}"
            ))),
        }
    }
}

/// What was seen of a revision of which only deletes were seen.
fn seen<'e>(
    scopes: &'e BTreeSet<(String, String)>,
    events: &'e [KeyEvent],
    lease: i64,
) -> Deletes<'e> {
    let one = scopes.first().filter(|_| scopes.len() == 1);
    Deletes {
        gone: events.iter().map(log::key).collect(),
        watched: one.map(|(key, end)| Keys::new(key, Some(end))),
        lease,
    }
}

/// How some lost requests stand to a revision of which only deletes were seen: the worst of them.
fn worst(
    store: &mut Store,
    losses: &Losses,
    of: &[usize],
    (revision, seen): (i64, &Deletes<'_>),
) -> Rival {
    let done = of.iter().map(|at| &losses.get(*at).done);
    let done = done.filter(|done| done.floor < revision);
    let each = done.map(|done| rival(store, &done.call.request, seen));
    each.max().unwrap_or(Rival::No)
}

/// The lost write that an answer shows to have made this revision.
fn shown(response: &Response, revision: i64, losses: &Losses) -> Option<usize> {
    match response {
        Response::Range { kvs, .. } => {
            let mut made = kvs.iter().filter(|kv| kv.mod_revision == revision);
            made.find_map(|kv| losses.of_value(&kv.value))
        }
        Response::Txn { responses, .. } => {
            let mut responses = responses.iter();
            responses.find_map(|response| shown(response, revision, losses))
        }
        _ => None,
    }
}
