//! Pure: from the records of a log, in their order, to what a start replays.

use std::collections::VecDeque;

use super::wire::{Fields, Value};

/// Bytes of a record that are looked at: the fields that count are among the first, data may be much longer.
pub(super) const LOOKED_AT: usize = 512;
/// Most old requests and snapshots that are told apart.
const KEPT: usize = 256;

/// Types of records.
pub(super) const ENTRY: u64 = 2;
pub(super) const STATE: u64 = 3;
pub(super) const SNAPSHOT: u64 = 5;
/// The methods that etcd wrote to its log; others were answered without it.
const METHODS: [&[u8]; 5] = [b"PUT", b"POST", b"DELETE", b"QGET", b"SYNC"];

/// A record is none that etcd writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no record of etcd's log")]
pub struct Unreadable;

/// What a start replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Index of the snapshot that it begins with; 0 is the very beginning.
    pub snapshot: u64,
    /// Index of the last entry.
    pub last: u64,
    /// Index of the last request of the API v2 behind the snapshot.
    pub old_request: Option<u64>,
}

/// What was read so far.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Indexes of old requests, ascending.
    old: VecDeque<u64>,
    /// The last one that was forgotten for want of space, or where it was written over.
    forgotten: Option<u64>,
    /// Index and term, in their order.
    snapshots: VecDeque<(u64, u64)>,
    committed: u64,
    last: u64,
}

impl Scan {
    /// Takes in the next record, or the beginning of it.
    ///
    /// # Errors
    /// When these bytes are none.
    pub fn record(&mut self, record: &[u8]) -> Result<(), Unreadable> {
        let mut kind = None;
        for (field, value) in Fields::of(record) {
            match (field, value) {
                (1, Value::Number(number)) => kind = Some(number),
                (3, Value::Bytes(data)) => return self.data(kind.ok_or(Unreadable)?, data),
                _ => {}
            }
        }
        // Without data: a checksum, or the state of a log in which nothing is committed.
        kind.map(drop).ok_or(Unreadable)
    }

    fn data(&mut self, kind: u64, data: &[u8]) -> Result<(), Unreadable> {
        let number = |wanted| {
            Fields::of(data).find_map(|(field, value)| match value {
                Value::Number(number) if field == wanted => Some(number),
                _ => None,
            })
        };
        match kind {
            ENTRY => {
                let index = number(3).ok_or(Unreadable)?;
                let mut fields = Fields::of(data);
                let request = fields.find_map(|(field, value)| match value {
                    Value::Bytes(request) if field == 4 => Some(request),
                    _ => None,
                });
                let is_normal = number(1).unwrap_or(0) == 0;
                self.entry(index, is_normal && request.is_some_and(is_old));
            }
            STATE => self.committed = number(3).unwrap_or(0),
            SNAPSHOT => {
                let mark = (number(1).unwrap_or(0), number(2).unwrap_or(0));
                push(&mut self.snapshots, mark);
                // A follower that was sent a snapshot has no entries before it.
                self.last = self.last.max(mark.0);
            }
            _ => {}
        }
        Ok(())
    }

    /// An entry takes the place of the one of its index, and of all behind.
    fn entry(&mut self, index: u64, old: bool) {
        while self.old.pop_back_if(|last| *last >= index).is_some() {}
        if self.forgotten.is_some_and(|last| last >= index) {
            self.forgotten = index.checked_sub(1);
        }
        if old {
            self.forgotten = push(&mut self.old, index).or(self.forgotten);
        }
        self.last = index;
    }

    /// What a start replays that begins with the newest snapshot for which there `is` a file, by index and term.
    pub fn content(&self, is: impl Fn(u64, u64) -> bool) -> Content {
        let mut marks = self.snapshots.iter().rev();
        // etcd takes no snapshot for valid that is beyond what the log knows to be committed.
        let valid = marks.find(|(index, term)| *index <= self.committed && is(*index, *term));
        let snapshot = valid.map_or(0, |(index, _)| *index);
        let old = self.old.back().copied().or(self.forgotten);
        Content {
            snapshot,
            last: self.last,
            old_request: old.filter(|index| *index > snapshot),
        }
    }
}

/// What gave way to it.
fn push<T>(all: &mut VecDeque<T>, one: T) -> Option<T> {
    all.push_back(one);
    if all.len() > KEPT {
        all.pop_front()
    } else {
        None
    }
}

/// True for a request of the API v2: field 2 is its method. In the requests of API v3 field 2 is, up to 3.6, such a
/// request as a message, which begins with the key of its identifier and so with no letter; from 3.7 on it is reserved.
fn is_old(request: &[u8]) -> bool {
    let second = Fields::of(request).find(|(field, _)| *field == 2);
    matches!(second, Some((_, Value::Bytes(method))) if METHODS.contains(&method))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
