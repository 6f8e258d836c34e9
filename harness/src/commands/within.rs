//! The time that all runs of a command have together (`--within`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::scenario::Interrupt;
use crate::wait::pause;

/// What a command says whose time is over, before what was not run to its end.
pub(super) const SAID: &str =
    "inconclusive: the time for all runs (--within) is over; not run to the end:";

/// Whether the time for all runs is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Over(Arc<AtomicBool>);

impl Over {
    /// It is after so many seconds, and the run that is under way is ended then.
    pub(super) fn after(seconds: Option<u64>, interrupt: &Interrupt) -> Self {
        let over = Self::default();
        if let Some(seconds) = seconds {
            let (over, interrupt) = (over.clone(), interrupt.clone());
            tokio::spawn(async move {
                pause(Duration::from_secs(seconds)).await;
                // Who was asked before has its reason.
                if !interrupt.is_asked() {
                    over.0.store(true, Ordering::SeqCst);
                    interrupt.ask();
                }
            });
        }
        over
    }

    /// True from then on.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    pub(super) fn passed() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_run_that_is_under_way_ends_when_the_time_is_over() {
        let interrupt = Interrupt::never();
        let over = Over::after(Some(5), &interrupt);
        assert!(!over.is_over());
        let work = interrupt.or(pause(Duration::from_secs(600))).await;
        assert!(work.is_err() && over.is_over());
        // Without a limit there is none, and a signal that came before is what ended it.
        let asked = Interrupt::never();
        asked.ask();
        for over in [Over::after(None, &interrupt), Over::after(Some(1), &asked)] {
            pause(Duration::from_secs(2)).await;
            assert!(!over.is_over());
        }
    }
}
