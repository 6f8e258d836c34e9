//! Strings that come again: keys, members, and values that watchers repeat. Both sides remember the same newest ones.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::hash::FastMap;

/// Strings that are remembered.
const WINDOW: usize = 1 << 16;
/// Longest string that is remembered.
const LONGEST: usize = 256;
/// Bytes of forgotten strings that are no waste yet.
const SPARE: usize = 1 << 16;

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

/// What the reader remembers: one text, so that to remember is to write behind what was written last.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The newest strings, behind some that are forgotten.
    text: String,
    /// Where each of the newest ends in it.
    ends: VecDeque<usize>,
    /// Where the oldest one begins.
    from: usize,
}

impl Read {
    /// The string that is so far back, from 1.
    pub(super) fn at(&self, back: u64) -> Option<&str> {
        let back = usize::try_from(back).ok()?;
        let at = self.ends.len().checked_sub(back)?;
        let end = *self.ends.get(at)?;
        let before = at.checked_sub(1).and_then(|at| self.ends.get(at));
        self.text.get(before.copied().unwrap_or(self.from)..end)
    }

    /// Remembers it.
    pub(super) fn remember(&mut self, word: &str) {
        if self.ends.len() == WINDOW {
            self.from = self.ends.pop_front().unwrap_or_default();
            self.tidy();
        }
        self.text.push_str(word);
        self.ends.push_back(self.text.len());
    }

    /// Drops what is forgotten once it is the larger half.
    fn tidy(&mut self) {
        if self.from <= SPARE.max(self.text.len() / 2) {
            return;
        }
        self.text.drain(..self.from);
        for end in &mut self.ends {
            *end -= self.from;
        }
        self.from = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_finds_what_the_writer_remembers_and_forgets_what_it_forgot() {
        let (mut written, mut read) = (Written::default(), Read::default());
        let word = |number: usize| format!("{}{number}", "ä".repeat(number % 7));
        let all = 3 * WINDOW;
        for number in 0..all {
            assert!(written.remember(&word(number)));
            read.remember(&word(number));
            assert_eq!(read.at(1), Some(word(number).as_str()));
            for other in [0, number / 2, number.saturating_sub(WINDOW - 1)] {
                let back = written.back(&word(other));
                let kept = number - other < WINDOW;
                assert_eq!(back.is_some(), kept, "{other} of {number}");
                let found = back.and_then(|back| read.at(back));
                assert_eq!(found, kept.then(|| word(other)).as_deref());
            }
        }
        let back = |back: usize| read.at(back as u64);
        assert_eq!(back(WINDOW), Some(word(all - WINDOW).as_str()));
        assert_eq!([0, WINDOW + 1].map(back), [None; 2]);
        let live: usize = read.text.len() - read.from;
        assert!(read.text.len() <= 2 * live + SPARE + LONGEST);
    }

    #[test]
    fn strings_of_no_length_are_strings_too() {
        let mut read = Read::default();
        for _ in 0..2 * WINDOW {
            read.remember("");
        }
        read.remember("a");
        read.remember("");
        assert_eq!([1, 2, 3].map(|back| read.at(back)), ["", "a", ""].map(Some));
    }
}
