//! What callers without authority can cause is logged, but not as often as they like.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One in so much time is told.
const EVERY: Duration = Duration::from_secs(1);

/// When the log was last told.
#[derive(Debug, Default)]
pub(super) struct Sparing(Mutex<Option<Instant>>);

impl Sparing {
    /// Logs what was refused. What a caller sent is no part of it but for the path.
    pub(super) fn tell(&self, what: &str, why: &dyn Display) {
        if self.is_due(Instant::now()) {
            tracing::warn!(what, %why, "refused");
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
        if due {
            *told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_second_is_told() {
        let (sparing, start) = (Sparing::default(), Instant::now());
        let due = |ms| sparing.is_due(start + Duration::from_millis(ms));
        assert!(due(0));
        assert!(!due(999));
        assert!(due(1000));
        assert!(!due(1500));
    }
}
