//! What the newest revisions changed, for watchers that come after them.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::check::agree::agree;
use crate::check::brief::Brief;
use crate::check::store::Changed;
use crate::record::KeyEvent;

/// Revisions that are kept.
const PAST_MAX: usize = 4096;

type Changes = Vec<Changed<Brief>>;

/// One revision.
#[derive(Debug)]
struct Past {
    /// The number of its first change, of all that there ever were.
    first: usize,
    /// False when what made it was concluded from deletes alone.
    sure: bool,
}

/// The newest revisions, the last one at the end.
#[derive(Debug, Default)]
pub(super) struct Pasts {
    all: VecDeque<Past>,
    /// Their changes, one behind the other.
    changes: VecDeque<Changed<Brief>>,
    /// Changes that are kept no longer.
    gone: usize,
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
        if self.all.len() == PAST_MAX {
            self.all.pop_front();
            let over = self.first_of(0) - self.gone;
            self.changes.drain(..over);
            self.gone += over;
        }
        let first = self.gone + self.changes.len();
        self.all.push_back(Past { first, sure });
        self.changes.extend(changes.drain(..));
    }

    /// The number of the first change from the revision at this position on, or of the one that comes next.
    fn first_of(&self, at: usize) -> usize {
        let past = self.all.get(at);
        past.map_or(self.gone + self.changes.len(), |past| past.first)
    }

    /// What the revision at this position changed.
    fn changes_of(&self, at: usize) -> Cow<'_, [Changed<Brief>]> {
        let [from, to] = [at, at + 1].map(|at| self.first_of(at) - self.gone);
        let (front, back) = self.changes.as_slices();
        match (front.get(from..to), from.checked_sub(front.len())) {
            (Some(changes), _) => Cow::Borrowed(changes),
            (None, Some(from)) => Cow::Borrowed(&back[from..to - front.len()]),
            (None, None) => self.changes.range(from..to).cloned().collect(),
        }
    }

    /// Compares events of a revision that is so far in front of the last one.
    pub(super) fn compare(&self, events: &[KeyEvent], revision: i64, before: i64) -> Late {
        let back = usize::try_from(before).ok();
        let at = back.and_then(|back| self.all.len().checked_sub(back.checked_add(1)?));
        let Some((at, past)) = at.and_then(|at| Some((at, self.all.get(at)?))) else {
            return Late::Forgotten;
        };
        match agree(&self.changes_of(at), events, revision, None) {
            Ok(()) => Late::Agrees,
            Err(why) if past.sure => Late::Differs(why),
            Err(why) => Late::Doubtful(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::test_support::gone;

    #[test]
    fn the_newest_revisions_are_known_whatever_they_changed_and_no_others() {
        let mut pasts = Pasts::default();
        let key = |number: i64, of: i64| format!("k{number}/{of}");
        let newest = 3 * PAST_MAX as i64;
        let mut changes = Vec::new();
        for revision in 1..=newest {
            changes.extend((0..revision % 4).map(|of| Changed {
                key: Brief::from(&key(revision, of)),
                after: None,
            }));
            pasts.keep(&mut changes, revision % 3 > 0);
            assert!(changes.is_empty());
        }
        for revision in 1..=newest {
            let told = |of| {
                let event = gone(&key(revision, of), revision);
                pasts.compare(&[event], revision, newest - revision)
            };
            if newest - revision >= PAST_MAX as i64 {
                assert_eq!(told(0), Late::Forgotten);
                continue;
            }
            let changed = revision % 4;
            assert!((0..changed).all(|of| told(of) == Late::Agrees));
            match told(changed) {
                Late::Differs(_) => assert!(revision % 3 > 0),
                other => assert!(matches!(other, Late::Doubtful(_)) && revision % 3 == 0),
            }
        }
        let kept = (newest - PAST_MAX as i64 + 1..=newest).map(|revision| revision % 4);
        assert_eq!(pasts.changes.len() as i64, kept.sum::<i64>());
    }
}
