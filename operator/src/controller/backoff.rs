//! From failures to waiting times, for each object on its own (C3, C6): a broken one neither spins nor
//! holds up the others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::controller::Action;
use tokio::time::Instant;

/// Events of one object that follow each other within this time lead to one reconcile. A failover makes a dozen of them
/// in a second, when the role path needs the API server more than a status does.
pub(crate) const STORM: Duration = Duration::from_millis(40);
/// First wait after a failure.
const FIRST: Duration = Duration::from_millis(200);
/// Longest wait. A spec mended by the user wakes the reconciler at once, so this bounds only outside causes.
const LONGEST: Duration = Duration::from_secs(30);

/// An object that has not failed again for so long is gone: its entry would wait for a new one of its name.
const GONE: Duration = Duration::from_secs(120);

/// Counts failures in a row by object.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, (u32, Instant)>>);

impl Backoff {
    /// The object failed: when to try again.
    pub(crate) fn failed(&self, object: &str) -> Action {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, (_, last)| last.elapsed() < GONE);
        let fresh = (0, Instant::now());
        let (count, last) = failures.entry(object.to_owned()).or_insert(fresh);
        *count = count.saturating_add(1);
        *last = Instant::now();
        Action::requeue(wait_after(*count))
    }

    /// The object succeeded, or is gone.
    pub(crate) fn succeeded(&self, object: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(object);
    }
}

fn wait_after(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    FIRST.saturating_mul(doubled).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        assert_eq!(wait_after(1), FIRST);
        assert_eq!(wait_after(3), FIRST * 4);
        assert_eq!(wait_after(1000), LONGEST);
    }

    #[test]
    fn objects_fail_on_their_own() {
        let backoff = Backoff::default();
        let first = format!("{:?}", backoff.failed("a"));
        backoff.failed("a");
        assert_eq!(format!("{:?}", backoff.failed("b")), first);
        backoff.succeeded("a");
        assert_eq!(format!("{:?}", backoff.failed("a")), first);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_gone_leaves_nothing_behind() {
        let backoff = Backoff::default();
        let first = format!("{:?}", backoff.failed("a"));
        backoff.failed("a");
        tokio::time::advance(LONGEST).await;
        assert_ne!(format!("{:?}", backoff.failed("a")), first, "it fails on");
        tokio::time::advance(GONE).await;
        backoff.failed("b");
        assert_eq!(backoff.0.lock().expect("no panic").len(), 1);
        assert_eq!(format!("{:?}", backoff.failed("a")), first);
    }
}
