//! What was proved to exist, by time: the newest steps only, so that memory does not grow with the history.

use std::collections::VecDeque;

use crate::check::proof;
use crate::record::{Nanos, OpId, Record};

/// Steps that are kept. What was called before the oldest of them is held against none of those that are gone.
const STEPS_MAX: usize = 4096;

/// Who proved it, for the explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Teller {
    /// The answer to this operation.
    Answer(OpId),
    /// A watcher, or a member.
    Other,
}

/// A revision, when it was proved, and who proved it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) t: Nanos,
    pub(super) revision: i64,
    pub(super) teller: Teller,
}

/// Times and revisions both grow.
#[derive(Debug, Default)]
pub(super) struct Front {
    steps: VecDeque<Step>,
    highest: i64,
}

impl Front {
    /// Takes what a record proves.
    pub(super) fn learn(&mut self, record: &Record) {
        let Some((t, revision)) = proof::told(record) else {
            return;
        };
        self.highest = self.highest.max(revision);
        let behind = self.behind(|step| step.t <= t);
        let last = behind.checked_sub(1).map(|at| self.steps[at]);
        if last.is_some_and(|step| step.revision >= revision) {
            return;
        }
        let teller = match record {
            Record::Return(end) => Teller::Answer(end.op),
            _ => Teller::Other,
        };
        let step = Step {
            t,
            revision,
            teller,
        };
        if behind == self.steps.len() {
            self.steps.push_back(step);
            if self.steps.len() > STEPS_MAX {
                self.steps.pop_front();
            }
        } else {
            // A clock went back: what is later and says less is superfluous.
            self.steps.insert(behind, step);
            while (self.steps.get(behind + 1)).is_some_and(|next| next.revision <= revision) {
                self.steps.remove(behind + 1);
            }
        }
    }

    /// The highest revision that was proved by a record before, whatever its time.
    pub(super) fn highest(&self) -> i64 {
        self.highest
    }

    /// The highest revision that was proved before this time; 0 for none.
    pub(super) fn before(&self, t: Nanos) -> i64 {
        let end = self.behind(|step| step.t < t);
        end.checked_sub(1).map_or(0, |at| self.steps[at].revision)
    }

    /// The first step, of those that are kept, that proves a revision.
    pub(super) fn first(&self, revision: i64) -> Option<Step> {
        let at = self.steps.partition_point(|step| step.revision < revision);
        self.steps.get(at).copied()
    }

    /// How many steps are so, looked for from the newest: they come in the order of their times, nearly always.
    fn behind(&self, so: impl Fn(&Step) -> bool) -> usize {
        let newer = self.steps.iter().rev().take_while(|step| !so(step)).count();
        self.steps.len() - newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, Response, Return};

    fn answer(t: Nanos, revision: i64) -> Record {
        Record::Return(Return {
            t,
            op: 1,
            outcome: Outcome::Ok {
                revision,
                term: 1,
                member: "a".to_owned(),
                response: Response::Put {},
            },
        })
    }

    #[test]
    fn what_was_proved_is_known_from_then_on_and_not_before() {
        let mut front = Front::default();
        for (t, revision) in [(10, 4), (20, 6), (30, 5), (15, 7)] {
            front.learn(&answer(t, revision));
        }
        assert_eq!(
            [10, 11, 15, 16, 99].map(|t| front.before(t)),
            [0, 4, 4, 7, 7]
        );
        assert_eq!(front.first(5).map(|step| step.t), Some(15));
        assert_eq!(front.highest(), 7);
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_accuses_no_one() {
        let mut front = Front::default();
        for t in 1..20_000 {
            front.learn(&answer(t, t));
        }
        assert_eq!(front.steps.len(), STEPS_MAX);
        assert_eq!(front.before(100), 0);
        assert_eq!(front.before(20_000), 19_999);
    }
}
