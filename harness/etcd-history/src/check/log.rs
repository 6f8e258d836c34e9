//! Revision by revision what the watches saw, all watchers put together.
//!
//! Revisions are dense, so the log is an array: 24 bytes a revision and 8 an event, everything else is borrowed. Where
//! two watchers tell different things of one revision a conflict is kept for the check of watches.

use super::few::Places;
use super::keyspace::Keys;
use crate::hash::FastMap;
use crate::index::Index;
use crate::record::{KeyEvent, Nanos, WatchEvent, WatchRecord};

/// Revisions that may be unexplained by events before a revision number is called absurd.
const SPAN_SLACK: i64 = 1_000_000;

/// All that the watches saw.
#[derive(Debug, Default)]
pub(crate) struct Log<'a> {
    first: i64,
    slots: Vec<Slot>,
    arena: Vec<&'a KeyEvent>,
    /// Keys that every watcher that ever delivered was asked for; absent when they differ.
    pub(crate) scope: Option<Keys<'a>>,
    /// What watchers contradict each other in, in words.
    pub(crate) conflicts: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    start: u32,
    len: u32,
    seen: Nanos,
}

/// One revision as the watches saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'l, 'a> {
    /// When the first watcher saw it.
    pub(crate) seen: Nanos,
    /// Its events.
    pub(crate) events: &'l [&'a KeyEvent],
}

/// Events of one revision that one stream delivered.
#[derive(Debug, Default)]
pub(crate) struct Run<'a> {
    pub(crate) revision: i64,
    pub(crate) t: Nanos,
    pub(crate) events: Vec<&'a KeyEvent>,
}

impl<'a> Log<'a> {
    /// Puts all watch records together.
    pub(crate) fn assemble(index: &Index<'a>) -> Self {
        let mut log = Self::with_span(index);
        let mut runs: FastMap<(u32, u32), Run<'a>> = FastMap::default();
        let mut scopes = Vec::new();
        for record in &index.watch {
            let record: &'a WatchRecord = record;
            match &record.event {
                WatchEvent::Opened { key, range_end, .. } => {
                    scopes.push(Keys::new(key, Some(range_end)))
                }
                WatchEvent::Events {
                    events, fragment, ..
                } => {
                    let run = runs.entry((record.watcher, record.stream)).or_default();
                    collect(run, record.t, events, |run| log.merge(run));
                    if !fragment {
                        log.merge(run);
                    }
                }
                _ => {}
            }
        }
        scopes.sort_unstable();
        scopes.dedup();
        log.scope = match scopes.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        log
    }

    fn with_span(index: &Index<'_>) -> Self {
        let (mut first, mut last, mut events_seen) = (i64::MAX, i64::MIN, 0_i64);
        for event in events_of(index) {
            let revision = revision(event);
            (first, last) = (first.min(revision), last.max(revision));
            events_seen += 1;
        }
        if events_seen == 0 {
            return Self::default();
        }
        let ops = i64::try_from(index.ops.len()).unwrap_or(i64::MAX);
        let most = events_seen.saturating_add(ops).saturating_add(SPAN_SLACK);
        let span = last.saturating_sub(first).saturating_add(1);
        let mut log = Self {
            first,
            ..Self::default()
        };
        if span > most {
            log.conflicts.push(format!(
                "the watches saw revisions {first} to {last}, far more than there were operations"
            ));
        }
        let slots = usize::try_from(span.min(most)).unwrap_or(0);
        log.slots = vec![Slot::default(); slots];
        log.arena.reserve(slots);
        log
    }

    /// Adds a run to its revision and empties it.
    fn merge(&mut self, run: &mut Run<'a>) {
        let events = std::mem::take(&mut run.events);
        let (Some(position), false) = (self.position(run.revision), events.is_empty()) else {
            return;
        };
        let slot = self.slots[position];
        let arena_end = u32::try_from(self.arena.len()).unwrap_or(u32::MAX);
        if slot.len == 0 {
            self.slots[position] = Slot {
                start: arena_end,
                len: length(events.len()),
                seen: run.t,
            };
            self.arena.extend(&events);
        } else {
            self.slots[position].seen = slot.seen.min(run.t);
            let told = slot.start as usize..(slot.start + slot.len) as usize;
            let told = self.arena[told].iter().copied().map(key);
            let places = Places::of(told, events.len());
            let fresh: Vec<_> = events
                .iter()
                .copied()
                .filter(|event| !self.known((slot, &places), event, run.revision))
                .collect();
            if !fresh.is_empty() {
                // A wider watcher saw more of this revision: its events move to the end of the arena.
                let old = slot.start as usize..(slot.start + slot.len) as usize;
                self.arena.extend_from_within(old);
                self.slots[position].start = arena_end;
                self.slots[position].len = slot.len + length(fresh.len());
                self.arena.extend(fresh);
            }
        }
        run.events = events;
        run.events.clear();
    }

    /// True when the event's key is in the slot already; a different story about it is a conflict.
    fn known(
        &mut self,
        (slot, places): (Slot, &Places<'_>),
        event: &'a KeyEvent,
        revision: i64,
    ) -> bool {
        let range = slot.start as usize..(slot.start + slot.len) as usize;
        let told = &mut self.arena[range];
        let one_by_one = || told.iter().position(|known| key(known) == key(event));
        let place = places.find(key(event), one_by_one);
        let Some(known) = place.map(|place| &mut told[place]) else {
            return false;
        };
        if !same(known, event) {
            self.conflicts.push(format!(
                "watchers saw different events of key {} at revision {revision}",
                key(event)
            ));
        } else if previous(known).is_none() {
            *known = event;
        }
        true
    }

    fn position(&self, revision: i64) -> Option<usize> {
        usize::try_from(revision.checked_sub(self.first)?)
            .ok()
            .filter(|position| *position < self.slots.len())
    }

    /// What the watches saw of a revision.
    pub(crate) fn entry(&self, revision: i64) -> Option<Entry<'_, 'a>> {
        let slot = self.slots[self.position(revision)?];
        let range = slot.start as usize..(slot.start + slot.len) as usize;
        (slot.len > 0).then(|| Entry {
            seen: slot.seen,
            events: &self.arena[range],
        })
    }

    /// The first revision seen, the highest number there is when there is none.
    pub(crate) fn first(&self) -> i64 {
        if self.slots.is_empty() {
            i64::MAX
        } else {
            self.first
        }
    }

    /// The last revision seen, 0 when there is none.
    pub(crate) fn last(&self) -> i64 {
        let seen = self.slots.iter().rposition(|slot| slot.len > 0);
        seen.and_then(|position| i64::try_from(position).ok())
            .map_or(0, |position| self.first.saturating_add(position))
    }

    /// Every revision seen, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (i64, Entry<'_, 'a>)> {
        (0..self.slots.len()).filter_map(|position| {
            let revision = self.first.checked_add(i64::try_from(position).ok()?)?;
            Some((revision, self.entry(revision)?))
        })
    }
}

/// Feeds the events of one response to a run and passes on each run that is complete.
pub(crate) fn collect<'a>(
    run: &mut Run<'a>,
    t: Nanos,
    events: &'a [KeyEvent],
    mut whole: impl FnMut(&mut Run<'a>),
) {
    for event in events {
        let revision = revision(event);
        if revision != run.revision {
            whole(run);
            run.events.clear();
            run.revision = revision;
            run.t = t;
        } else if run.events.is_empty() {
            run.t = t;
        }
        run.events.push(event);
    }
}

fn events_of<'a>(index: &Index<'a>) -> impl Iterator<Item = &'a KeyEvent> {
    index.watch.iter().flat_map(|record| match &record.event {
        WatchEvent::Events { events, .. } => events.as_slice(),
        _ => &[],
    })
}

/// Revision of an event.
pub(crate) fn revision(event: &KeyEvent) -> i64 {
    match event {
        KeyEvent::Put { kv, .. } => kv.mod_revision,
        KeyEvent::Delete { mod_revision, .. } => *mod_revision,
    }
}

/// Key of an event.
pub(crate) fn key(event: &KeyEvent) -> &str {
    match event {
        KeyEvent::Put { kv, .. } => &kv.key,
        KeyEvent::Delete { key, .. } => key,
    }
}

/// The key before the event, when etcd told it.
pub(crate) fn previous(event: &KeyEvent) -> Option<&crate::record::KeyValue> {
    match event {
        KeyEvent::Put { prev, .. } | KeyEvent::Delete { prev, .. } => prev.as_ref(),
    }
}

/// The same key with the same left behind.
pub(crate) fn same_after(a: &KeyEvent, b: &KeyEvent) -> bool {
    match (a, b) {
        (KeyEvent::Put { kv: a, .. }, KeyEvent::Put { kv: b, .. }) => a == b,
        (KeyEvent::Delete { key: a, .. }, KeyEvent::Delete { key: b, .. }) => a == b,
        _ => false,
    }
}

/// The same event but for a previous key that one of the two was not told.
fn same(a: &KeyEvent, b: &KeyEvent) -> bool {
    same_after(a, b) && previous(a).zip(previous(b)).is_none_or(|(a, b)| a == b)
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
