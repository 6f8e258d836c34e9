//! What is asked of registers, and what is answered.

use crate::record::OpId;

/// What a client asks of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Its value.
    Read,
    /// To be this.
    Write(i64),
    /// To be the second, if it is the first.
    CompareAndSet(i64, i64),
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The value; nothing where it was never written.
    Value(Option<i64>),
    /// It is written.
    Written,
    /// Whether it was the first, and is the second now.
    Set(bool),
}

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request leaves.
    Call {
        /// Its number.
        op: OpId,
        /// The register.
        key: String,
        /// What it asks.
        action: Action,
    },
    /// Its answer is there. An operation without one may have happened at any time from its call on.
    Return {
        /// Its number.
        op: OpId,
        /// The answer.
        answer: Answer,
    },
    /// It certainly did not happen.
    Fail {
        /// Its number.
        op: OpId,
    },
}

/// An operation on one register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) id: OpId,
    pub(super) action: Action,
    pub(super) answer: Option<Answer>,
}

/// A line of one register: an operation, by its position, and whether it is its return.
pub(super) type Line = (usize, bool);

/// The history of one register.
#[derive(Debug, Default)]
pub(super) struct Register {
    pub(super) ops: Vec<Op>,
    pub(super) lines: Vec<Line>,
}
