//! When an open-loop client sends: fixed times from a fixed start, never skipped, never shifted.
//!
//! A client that is late sends at once and keeps the time that was wanted, so that a stall of the client itself or of
//! what it waits for shows as a gap and not as fewer requests (coordinated omission). The sleeps of the process are
//! here.

use std::time::{Duration, Instant};

/// Evenly spaced times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    rate: f64,
}

impl Schedule {
    /// `rate` times a second from `start` on; `None` for a rate of 0.
    pub(crate) fn new(start: Instant, rate: f64) -> Option<Self> {
        (rate > 0.0).then_some(Self { start, rate })
    }

    /// The n-th time, from 0. Computed from the start, so that errors do not add up.
    #[expect(clippy::cast_precision_loss, reason = "2^52 sends are never reached")]
    pub(crate) fn at(&self, n: u64) -> Instant {
        self.start + Duration::from_secs_f64(n as f64 / self.rate)
    }
}

/// Waits until an instant; returns at once when it is past.
pub(crate) async fn until(instant: Instant) {
    tokio::time::sleep_until(instant.into()).await;
}

/// Waits.
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_even_and_do_not_drift() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 30.0).unwrap();
        assert_eq!(schedule.at(0), start);
        assert_eq!(schedule.at(30) - start, Duration::from_secs(1));
        assert_eq!(schedule.at(30 * 3600) - start, Duration::from_secs(3600));
    }

    #[test]
    fn no_rate_is_no_schedule() {
        assert!(Schedule::new(Instant::now(), 0.0).is_none());
    }

    #[tokio::test]
    async fn a_late_sender_skips_nothing_and_keeps_the_wanted_times() {
        let start = Instant::now()
            .checked_sub(Duration::from_millis(200))
            .unwrap();
        let schedule = Schedule::new(start, 100.0).unwrap();
        let mut wanted = Vec::new();
        for n in 0..20 {
            until(schedule.at(n)).await;
            wanted.push(schedule.at(n));
        }
        assert_eq!(wanted.len(), 20);
        assert!(
            start.elapsed() < Duration::from_millis(300),
            "late sends leave at once"
        );
        assert!(
            wanted
                .windows(2)
                .all(|pair| pair[1] - pair[0] <= Duration::from_micros(10_001))
        );
    }
}
