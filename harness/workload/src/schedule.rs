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

/// Waits in a thread that runs nothing else.
pub(crate) fn block(duration: Duration) {
    std::thread::sleep(duration);
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

    /// The clock stands still but where something sleeps: the machine's own delays are not in it.
    #[tokio::test(start_paused = true)]
    async fn a_late_sender_skips_nothing_and_keeps_the_wanted_times() {
        let begun = tokio::time::Instant::now();
        let late = Duration::from_millis(200);
        let schedule = Schedule::new(begun.into_std().checked_sub(late).unwrap(), 100.0).unwrap();
        let mut sent = Vec::new();
        for n in 0..30 {
            until(schedule.at(n)).await;
            sent.push(begun.elapsed());
        }
        // Timers count whole milliseconds.
        let exact = Duration::from_millis(2);
        let (at_once, in_time) = sent.split_at(20);
        assert!(
            at_once.iter().all(|at| *at <= exact),
            "late sends leave at once: {sent:?}"
        );
        for (n, at) in (0..).zip(in_time) {
            let wanted = Duration::from_millis(10 * n);
            assert!((wanted..=wanted + exact).contains(at), "{sent:?}");
        }
    }
}
