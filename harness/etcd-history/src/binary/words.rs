//! Strings that come again: keys, members, and values that watchers repeat. Both sides remember the same newest ones.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::hash::FastMap;

/// Strings that are remembered.
const WINDOW: usize = 1 << 16;
/// Longest string that is remembered.
const LONGEST: usize = 256;

/// What the writer remembers.
#[derive(Debug, Default)]
pub(super) struct Written {
    newest: VecDeque<Rc<str>>,
    places: FastMap<Rc<str>, u64>,
    count: u64,
}

impl Written {
    /// How far back a string is, from 1; nothing when it is not remembered.
    pub(super) fn back(&self, word: &str) -> Option<u64> {
        self.places.get(word).map(|place| self.count - place)
    }

    /// Remembers it, unless it is too long; true when it did.
    pub(super) fn remember(&mut self, word: &str) -> bool {
        if word.len() > LONGEST {
            return false;
        }
        if self.newest.len() == WINDOW
            && let Some(oldest) = self.newest.pop_front()
        {
            self.places.remove(&oldest);
        }
        let word: Rc<str> = Rc::from(word);
        self.newest.push_back(Rc::clone(&word));
        self.places.insert(word, self.count);
        self.count += 1;
        true
    }
}

/// What the reader remembers.
#[derive(Debug, Default)]
pub(super) struct Read {
    newest: VecDeque<String>,
}

impl Read {
    /// The string that is so far back, from 1.
    pub(super) fn at(&self, back: u64) -> Option<&str> {
        let back = usize::try_from(back).ok()?;
        let at = self.newest.len().checked_sub(back)?;
        self.newest.get(at).map(String::as_str)
    }

    /// Remembers it.
    pub(super) fn remember(&mut self, word: &str) {
        // The oldest one's memory is used again.
        let oldest = (self.newest.len() == WINDOW).then(|| self.newest.pop_front());
        let mut kept = oldest.flatten().unwrap_or_default();
        kept.clear();
        kept.push_str(word);
        self.newest.push_back(kept);
    }
}
