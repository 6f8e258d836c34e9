//! What the newest revisions changed, for watchers that come after them.

use std::collections::VecDeque;

use crate::check::agree::agree;
use crate::check::brief::Brief;
use crate::check::store::Changed;
use crate::record::KeyEvent;

/// Revisions that are kept.
const PAST_MAX: usize = 4096;

type Changes = Vec<Changed<Brief>>;

/// The changes of one revision.
#[derive(Debug, Default)]
struct Past {
    changes: Changes,
    /// False when what made it was concluded from deletes alone.
    sure: bool,
}

/// The newest revisions, the last one at the end.
#[derive(Debug, Default)]
pub(super) struct Pasts {
    all: VecDeque<Past>,
}

/// How events stand to what their revision changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Late {
    Agrees,
    /// Otherwise than what was acknowledged, and how.
    Differs(String),
    /// Otherwise than what was concluded, and how.
    Doubtful(String),
    /// The revision is not kept.
    Forgotten,
}

impl Pasts {
    /// Keeps the changes of the next revision; what is left in `changes` is empty.
    pub(super) fn keep(&mut self, changes: &mut Changes, sure: bool) {
        let oldest = (self.all.len() == PAST_MAX).then(|| self.all.pop_front());
        let mut used = oldest.flatten().unwrap_or_default();
        used.changes.clear();
        let changes = std::mem::replace(changes, used.changes);
        self.all.push_back(Past { changes, sure });
    }

    /// Compares events of a revision that is so far in front of the last one.
    pub(super) fn compare(&self, events: &[KeyEvent], revision: i64, before: i64) -> Late {
        let back = usize::try_from(before).ok();
        let at = back.and_then(|back| self.all.len().checked_sub(back.checked_add(1)?));
        let Some(past) = at.and_then(|at| self.all.get(at)) else {
            return Late::Forgotten;
        };
        match agree(&past.changes, events, revision, None) {
            Ok(()) => Late::Agrees,
            Err(why) if past.sure => Late::Differs(why),
            Err(why) => Late::Doubtful(why),
        }
    }
}
