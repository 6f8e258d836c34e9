//! How far etcd that compacts by itself may have compacted by some time.
//!
//! By time it compacts to a revision that was its newest one so long ago, by revisions to one that is so far behind its
//! newest one. What the newest one was at most is told by the calls: a change that was called later has a revision of
//! its own behind it.

use super::Case;
use super::auto_compaction::AutoCompaction;
use super::placement::{self, Part};
use crate::record::Nanos;

const MILLISECOND_NS: u64 = 1_000_000;
/// The clock of a member may be faster than that of the recording client by one part of so many.
const CLOCKS: Nanos = 1_000;

/// How far etcd may have compacted by itself.
pub(super) struct Passed {
    keeps: AutoCompaction,
    /// Calls of acknowledged changes in order, each with the lowest revision that one of then or later made.
    later: Vec<(Nanos, i64)>,
    /// The highest revision that there can be.
    ceiling: i64,
}

impl Passed {
    /// Absent where nothing says that it compacts.
    pub(super) fn of(case: &Case<'_>) -> Option<Self> {
        let keeps = case.expectations.auto_compaction?;
        let changes = case.index.ops.iter().filter_map(|op| {
            let acked = op.acked()?;
            let part = placement::part(&op.call.request, acked.response);
            (part == Some(Part::Changes)).then_some((op.call.t, acked.revision))
        });
        let mut later: Vec<(Nanos, i64)> = changes.collect();
        let mut lowest = i64::MAX;
        for (_, revision) in later.iter_mut().rev() {
            lowest = lowest.min(*revision);
            *revision = lowest;
        }
        let ceiling = case.ceiling.unwrap_or(i64::MAX);
        Some(Self {
            keeps,
            later,
            ceiling,
        })
    }

    /// The highest revision that it may have compacted to by a time.
    pub(super) fn upto(&self, t: Nanos) -> i64 {
        match self.keeps {
            AutoCompaction::Periodic { retention_ms } => {
                let retention = retention_ms.saturating_mul(MILLISECOND_NS);
                let retention = Nanos::try_from(retention).unwrap_or(Nanos::MAX);
                self.newest(t.saturating_sub(retention - retention / CLOCKS))
            }
            AutoCompaction::Revision { retention } => {
                let retention = i64::try_from(retention).unwrap_or(i64::MAX);
                self.newest(t).saturating_sub(retention)
            }
        }
    }

    /// The highest revision that can have been there at a time.
    fn newest(&self, t: Nanos) -> i64 {
        let called = self.later.partition_point(|(call, _)| *call <= t);
        let next = self.later.get(called);
        next.map_or(self.ceiling, |(_, revision)| revision.saturating_sub(1))
    }
}
