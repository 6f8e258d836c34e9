//! The length of a timeline.

use etcd_history::record::Nanos;

/// The zero of a timeline and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// First time of the history.
    pub from: Nanos,
    /// Last time of the history.
    pub to: Nanos,
}

impl Span {
    /// Microseconds from the beginning.
    pub(crate) fn micros(self, t: Nanos) -> i64 {
        (t - self.from).div_euclid(1000)
    }
}
