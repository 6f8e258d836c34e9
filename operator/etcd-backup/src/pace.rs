//! Pure: how long to wait so that a stream does not exceed its rate.

use std::time::Duration;

/// A limit in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    rate: Option<u64>,
}

impl Pace {
    /// No more than `rate` bytes a second on the whole; 0 or `None` is no limit.
    pub fn new(rate: Option<u64>) -> Self {
        Pace {
            rate: rate.filter(|rate| *rate > 0),
        }
    }

    /// How long to wait when `bytes` have passed in `elapsed`.
    pub fn wait(self, bytes: u64, elapsed: Duration) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let due = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let due = Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX));
        due.saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_waits_is_never_faster_than_its_rate(
            rate in 1_u64..1 << 40,
            pieces in prop::collection::vec(0_u64..1 << 24, 1..40),
        ) {
            let pace = Pace::new(Some(rate));
            let (mut bytes, mut now) = (0_u64, Duration::ZERO);
            for piece in pieces {
                bytes += piece;
                now += pace.wait(bytes, now);
                let allowed = (now.as_secs_f64() + 1e-6) * rate as f64;
                prop_assert!(bytes as f64 <= allowed + 1.0, "{bytes} bytes in {now:?}");
            }
        }
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        for rate in [None, Some(0)] {
            assert_eq!(
                Pace::new(rate).wait(u64::MAX, Duration::ZERO),
                Duration::ZERO
            );
        }
        assert_eq!(
            Pace::new(Some(1)).wait(u64::MAX, Duration::ZERO),
            Duration::from_nanos(u64::MAX)
        );
    }
}
