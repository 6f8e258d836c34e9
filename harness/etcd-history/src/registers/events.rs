//! What is asked of registers, and what is answered.

use crate::record::OpId;

/// What a client asks of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// To read its value.
    Read,
    /// To set it to this value.
    Write(i64),
    /// To set it to the second value if it has the first.
    CompareAndSet(i64, i64),
}

/// What a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The value that was read; `None` while nothing was written.
    Value(Option<i64>),
    /// The value was set.
    Written,
    /// Of a compare-and-set: true when the value was set, false when the register had another one.
    Set(bool),
}

/// An event of the history: a call, or the end of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request is sent.
    Call {
        /// Number of the operation, unique in the history.
        op: OpId,
        /// Name of the register; may be empty where there is only one.
        key: String,
        /// What it asks.
        action: Action,
    },
    /// The answer is received. An operation without one may have taken effect at any time from its call on.
    Return {
        /// Number of the operation.
        op: OpId,
        /// The answer.
        answer: Answer,
    },
    /// The operation certainly did not take effect.
    Fail {
        /// Number of the operation.
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
