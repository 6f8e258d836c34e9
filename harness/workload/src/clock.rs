//! The clock of the recording client: wall time anchored once, monotonic from there.
//!
//! Every record of a run carries this clock's nanoseconds, so that intervals are true even where the wall clock is
//! stepped, and times of other processes on the same host can be translated by one offset.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use etcd_history::record::Nanos;

/// An anchored clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Nanos,
    anchor: Instant,
}

impl Clock {
    /// Anchors a clock now.
    pub(crate) fn anchored() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            wall: nanos(wall),
            anchor: Instant::now(),
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn now(&self) -> Nanos {
        self.at(Instant::now())
    }

    /// An instant of this process on this clock; instants before the anchor give the anchor.
    pub(crate) fn at(&self, instant: Instant) -> Nanos {
        self.wall + nanos(instant.saturating_duration_since(self.anchor))
    }
}

/// A duration in nanoseconds, saturating after three centuries.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_forward_and_keeps_intervals() {
        let clock = Clock::anchored();
        let first = Instant::now();
        let later = first + Duration::from_millis(250);
        assert_eq!(clock.at(later) - clock.at(first), 250_000_000);
        assert!(clock.now() >= clock.at(first));
    }
}
