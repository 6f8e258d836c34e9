//! What is known of the revisions that are not replayed yet, one slot each.

use std::collections::VecDeque;

use super::done::Done;
use crate::check::log;
use crate::record::KeyEvent;

/// Revisions that may wait to be explained: what bounds memory.
pub(super) const WAITING_MAX: i64 = 1 << 18;

/// What is known of one revision.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Who was told that it made it.
    pub(super) maker: Option<Done>,
    /// Who saw it, and revokes, which may have made it.
    pub(super) readers: Vec<Done>,
    /// What watchers saw of it.
    pub(super) events: Vec<KeyEvent>,
}

/// The slots behind the revision that the replay has reached.
#[derive(Debug, Default)]
pub(super) struct Ring {
    slots: VecDeque<Slot>,
}

impl Ring {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Slot> {
        self.slots.pop_front()
    }

    /// Takes back the first slot.
    pub(super) fn put_back(&mut self, slot: Slot) {
        self.slots.push_front(slot);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// The slot of a revision that is so far behind the one reached; absent for one that is not, or too far.
    pub(super) fn slot(&mut self, behind: i64) -> Option<&mut Slot> {
        if !(1..=WAITING_MAX).contains(&behind) {
            return None;
        }
        let at = usize::try_from(behind - 1).ok()?;
        while self.slots.len() <= at {
            self.slots.push_back(Slot::default());
        }
        self.slots.get_mut(at)
    }
}

impl Slot {
    /// Adds what a watcher saw, unless another one saw the same.
    pub(super) fn see(&mut self, event: KeyEvent) {
        if !self
            .events
            .iter()
            .any(|known| log::same_after(known, &event))
        {
            // Most revisions have one.
            if self.events.is_empty() {
                self.events.reserve_exact(1);
            }
            self.events.push(event);
        }
    }
}
