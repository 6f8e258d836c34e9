//! An operation that has ended, and what it shows.

use crate::check::words;
use crate::index::{Index, Op};
use crate::record::{Call, Nanos, OpId, Return};

/// An operation that is on its way, or is waited for no longer. Boxed: it is moved from one list to the next.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) call: Box<Call>,
    pub(super) end: Option<Box<Return>>,
    /// The highest revision that was proved before it was called, by time.
    pub(super) floor: i64,
}

/// Why nothing more is judged.
#[derive(Debug)]
pub(super) enum Stop {
    Violation {
        explanation: String,
        ops: Vec<OpId>,
    },
    Unsure(String),
    /// A watcher saw a value that none of the operations without an acknowledgement wrote.
    Foreign {
        value: String,
        explanation: String,
    },
}

impl Done {
    pub(super) fn op(&self) -> Op<'_> {
        Op {
            call: &self.call,
            end: self.end.as_deref(),
            called_at: 0,
            ended_at: 0,
        }
    }

    /// The operation in words, and why it is wrong.
    pub(super) fn violation(&self, start: Nanos, why: &str) -> Stop {
        Stop::Violation {
            explanation: format!("{}: {why}", self.words(start)),
            ops: vec![self.call.op],
        }
    }

    pub(super) fn words(&self, start: Nanos) -> String {
        words::op(&since(start), &self.op())
    }

    /// Why it proves nothing where its value was seen.
    pub(super) fn alike(&self, start: Nanos) -> String {
        words::alike(&since(start), &self.op())
    }
}

/// What is needed to say when something was.
fn since(start: Nanos) -> Index<'static> {
    Index {
        start,
        ..Index::default()
    }
}
