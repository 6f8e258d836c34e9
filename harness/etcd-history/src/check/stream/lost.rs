//! Operations without an acknowledgement: they may have happened, or may not have and did.

use super::done::Done;
use crate::check::placement;
use crate::check::used;
use crate::hash::{FastMap, FastSet};
use crate::record::{Request, Response};

/// One of them.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) done: Done,
    /// The revision that it was found to have made.
    pub(super) made: Option<i64>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Losses {
    all: Vec<Lost>,
    by_value: FastMap<Box<str>, usize>,
    /// Those of unknown outcome that would leave the value of another one behind.
    alike: FastSet<usize>,
    /// Deletes of unknown outcome without a mark, in the order in which they were given up.
    loose: Vec<usize>,
    /// Transactions of unknown outcome that may delete and put.
    deleters: Vec<usize>,
    /// Those that may delete and put nothing.
    unmarked: Vec<usize>,
}

impl Losses {
    pub(super) fn add(&mut self, done: Done) {
        let at = self.all.len();
        let unknown = done.op().unknown();
        for value in placement::values_of(&done.call.request) {
            let other = self
                .by_value
                .get(value)
                .copied()
                .filter(|other| *other != at);
            let other = other.filter(|other| self.all[*other].done.op().unknown());
            // What failed wrote nothing.
            if unknown || other.is_none() {
                self.by_value.insert(Box::from(value), at);
            }
            if let Some(other) = other.filter(|_| unknown) {
                self.alike.extend([other, at]);
            }
        }
        if unknown {
            match &done.call.request {
                Request::Delete { .. } => self.loose.push(at),
                Request::Txn {
                    then, otherwise, ..
                } if then.iter().chain(otherwise).any(deletes) => {
                    let marked = [then, otherwise]
                        .map(|branch| !branch.iter().any(deletes) || branch.iter().any(puts));
                    if marked == [true; 2] {
                        self.deleters.push(at);
                    } else {
                        self.unmarked.push(at);
                    }
                }
                _ => {}
            }
        }
        self.all.push(Lost { done, made: None });
    }

    pub(super) fn extend(&mut self, done: impl IntoIterator<Item = Done>) {
        done.into_iter().for_each(|done| self.add(done));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Revisions that they may have made.
    pub(super) fn unseen(&self) -> usize {
        let unknown = self.all.iter().filter(|lost| lost.done.op().unknown());
        let each = unknown.map(|lost| used::unseen(&lost.done.call.request));
        each.sum()
    }

    /// The one that would have written this value.
    pub(super) fn of_value(&self, value: &str) -> Option<usize> {
        self.by_value.get(value).copied()
    }

    /// The one that an answer shows to have made this revision.
    pub(super) fn shown(&self, response: &Response, revision: i64) -> Option<usize> {
        match response {
            Response::Range { kvs, .. } => {
                let mut made = kvs.iter().filter(|kv| kv.mod_revision == revision);
                made.find_map(|kv| self.of_value(&kv.value))
            }
            Response::Txn { responses, .. } => {
                let mut responses = responses.iter();
                responses.find_map(|response| self.shown(response, revision))
            }
            _ => None,
        }
    }

    /// True where its value does not tell that it was it.
    pub(super) fn is_alike(&self, at: usize) -> bool {
        self.alike.contains(&at)
    }

    pub(super) fn get(&self, at: usize) -> &Lost {
        &self.all[at]
    }

    /// It made this revision.
    pub(super) fn found(&mut self, at: usize, revision: i64) {
        self.all[at].made = Some(revision);
        self.loose.retain(|loose| *loose != at);
        self.deleters.retain(|deleter| *deleter != at);
        self.unmarked.retain(|deleter| *deleter != at);
    }

    /// Lone deletes that may have made a revision, the earliest called first.
    pub(super) fn loose(&self) -> Vec<usize> {
        let mut loose = self.loose.clone();
        loose.sort_by_key(|at| self.all[*at].done.call.t);
        loose
    }

    /// Transactions that may delete and put.
    pub(super) fn deleters(&self) -> &[usize] {
        &self.deleters
    }

    /// True when a transaction of unknown outcome may have made a revision of which only deletes were seen; `narrow`
    /// when not every watcher watches the same keys.
    pub(super) fn may_delete(&self, narrow: bool) -> bool {
        !self.unmarked.is_empty() || narrow && !self.deleters.is_empty()
    }
}

fn deletes(request: &Request) -> bool {
    matches!(request, Request::Delete { .. })
}

fn puts(request: &Request) -> bool {
    matches!(request, Request::Put { .. })
}
