//! Pure: what a member was asked, and which of it its report answers. A member whose disk hangs continues to say
//! that it has delivered all, of a store that stands still. Its report counts for what the majority knew when it
//! was asked.

use std::collections::VecDeque;

use tokio::time::Instant;

/// So many questions wait for an answer at most: a member that catches up answers none.
const OPEN: usize = 64;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the cluster had, by a read that its majority has agreed to.
    pub revision: i64,
    /// When that was asked: as the archive counts time, in milliseconds since 1970.
    pub at: i64,
    /// The same by a clock that is never set.
    pub when: Instant,
}

/// Questions without an answer, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Asks {
    open: VecDeque<Asked>,
}

impl Asks {
    /// A question was asked.
    pub fn push(&mut self, asked: Asked) {
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back(asked);
    }

    /// The last question that is answered by the delivery of all up to a revision; older ones are, too.
    pub fn answered(&mut self, revision: i64) -> Option<Asked> {
        let count = self
            .open
            .partition_point(|asked| asked.revision <= revision);
        self.open.drain(..count).next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_answers_what_was_asked_of_no_later_revision() {
        let mut asks = Asks::default();
        let asked = |revision: i64| Asked {
            revision,
            at: 100 * revision,
            when: Instant::now(),
        };
        assert_eq!(asks.answered(5), None, "nothing was asked");
        for revision in [7, 7, 9] {
            asks.push(asked(revision));
        }
        assert_eq!(asks.answered(6), None, "it stands still");
        let answered = asks.answered(8).map(|asked| asked.revision);
        assert_eq!(answered, Some(7));
        assert_eq!(asks.answered(8), None, "once");
        let answered = asks.answered(9).map(|asked| asked.at);
        assert_eq!(answered, Some(900));
        for revision in 0..2 * OPEN as i64 {
            asks.push(asked(revision));
        }
        assert_eq!(asks.open.len(), OPEN);
        assert!(asks.answered(OPEN as i64 - 1).is_none(), "the oldest go");
    }
}
