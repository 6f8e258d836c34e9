//! Revisions that no acknowledgement claims: a write without one made them, or nothing tells yet.

use super::Replay;
use crate::check::agree::agree;
use crate::check::log;
use crate::check::store::Mismatch;
use crate::check::stream::done::Stop;
use crate::check::stream::ring::Slot;
use crate::check::words;
use crate::record::{KeyEvent, Request};

impl Replay {
    /// A revision that no acknowledgement claims; false when nothing tells yet what it was.
    pub(super) fn unclaimed(&mut self, revision: i64, slot: &Slot) -> Result<bool, Stop> {
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
            let read = answers.find_map(|acked| self.losses.shown(acked.response, revision));
            let previous = slot.events.iter().filter_map(log::previous);
            let mut previous = previous.filter(|kv| kv.mod_revision == revision);
            read.or_else(|| previous.find_map(|kv| self.losses.of_value(&kv.value)))
        })
    }

    pub(super) fn found(
        &mut self,
        at: usize,
        revision: i64,
        events: &[KeyEvent],
    ) -> Result<bool, Stop> {
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
}
