//! This host's clock, as the recording client's. Both are wall time anchored once and monotonic from there, so that a
//! step of the wall clock moves neither: times of one are those of the other by one offset.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use etcd_history::record::Nanos;

/// Clocks that are further apart at the end of a run than at its beginning, beyond what is not known of either: times
/// of the two cannot be compared any more.
const TOLERANCE: Nanos = 50_000_000;

static ANCHOR: LazyLock<(Nanos, Instant)> = LazyLock::new(|| {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    (nanos(wall.unwrap_or_default()), Instant::now())
});

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// Nanoseconds since the Unix epoch on the recording client's clock.
pub(crate) fn now(offset: Nanos) -> Nanos {
    let (wall, anchor) = *ANCHOR;
    wall + nanos(anchor.elapsed()) + offset
}

/// The recording client's clock, as it was at some time between two of this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    earliest: Nanos,
    clock: Nanos,
    latest: Nanos,
}

impl Reading {
    /// Of what the client's program has printed between these two times: the clock, and for how long since its start it
    /// surely had not been read yet.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn of(before: Nanos, printed: &str, after: Nanos) -> Result<Self, String> {
        let figures: Option<Vec<Nanos>> = printed
            .split_whitespace()
            .map(|figure| figure.parse().ok().filter(|figure| *figure >= 0))
            .collect();
        match figures.as_deref() {
            Some([clock, waited]) => Ok(Self {
                earliest: before.saturating_add(*waited).min(after),
                clock: *clock,
                latest: after,
            }),
            _ => Err(format!(
                "it has printed {:?} instead of its clock and a wait, both in nanoseconds",
                printed.trim()
            )),
        }
    }

    /// What must be added to this host's clock to get the client's.
    pub(crate) fn offset(&self) -> Nanos {
        // Nodes that are containers have this host's clock: then the reading lies between and there is nothing to add.
        if (self.earliest..=self.latest).contains(&self.clock) {
            0
        } else {
            self.clock
                .saturating_sub(self.earliest.midpoint(self.latest))
        }
    }

    /// The least and the most that the offset can be.
    fn bounds(&self) -> (Nanos, Nanos) {
        let from = |time: Nanos| self.clock.saturating_sub(time);
        (from(self.latest), from(self.earliest))
    }
}

/// Whether two readings can be of clocks that did not move against each other.
///
/// # Errors
/// By how much they did at least.
pub(crate) fn offsets_agree(first: &Reading, last: &Reading) -> Result<(), Nanos> {
    let (first, last) = (first.bounds(), last.bounds());
    let forward = last.0.saturating_sub(first.1);
    let back = first.0.saturating_sub(last.1);
    let apart = forward.max(back);
    if apart > TOLERANCE {
        Err(apart)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn read(before: Nanos, clock: Nanos, after: Nanos) -> Reading {
        Reading::of(before * MS, &format!("{} 0\n", clock * MS), after * MS).expect("a reading")
    }

    #[test]
    fn what_is_no_clock_is_no_offset_of_zero() {
        for other in [
            "",
            "17",
            "17 x",
            "17 -1",
            "17 1 1",
            "workload: no such command",
        ] {
            let error = Reading::of(0, other, 100).expect_err(other);
            assert!(error.contains("clock"), "{error}");
        }
        assert_eq!(read(100, 150, 200).offset(), 0);
        assert_eq!(read(100, 1150, 200).offset(), 1000 * MS);
        assert_eq!(read(100, 50, 200).offset(), -100 * MS);
        let waited = Reading::of(100 * MS, &format!("{} {}", 150 * MS, 80 * MS), 200 * MS);
        let offset = waited.expect("a reading").offset();
        assert_eq!(offset, -40 * MS, "it was read in the last 20 ms");
    }

    #[test]
    fn clocks_agree_unless_they_moved_by_more_than_is_not_known_of_them() {
        let first = read(0, 50, 100);
        for last in [(1000, 1050, 1100), (1000, 1200, 1100), (1000, 900, 1100)] {
            let last = read(last.0, last.1, last.2);
            assert_eq!(offsets_agree(&first, &last), Ok(()), "{last:?}");
        }
        assert_eq!(offsets_agree(&first, &read(1000, 1201, 1100)), Err(51 * MS));
        assert_eq!(offsets_agree(&first, &read(1000, 899, 1100)), Err(51 * MS));
        // A wall clock that was set forward by an hour between the two anchors is an offset, and the same one twice.
        let hour = 3_600_000;
        let (first, last) = (read(0, hour, 100), read(900, hour + 900, 1000));
        assert_eq!(offsets_agree(&first, &last), Ok(()));
    }

    #[test]
    fn time_goes_on_and_an_offset_is_added_to_it() {
        let first = now(0);
        assert!(now(0) >= first);
        assert!(now(1_000_000 * MS) - first >= 1_000_000 * MS);
    }
}
