//! For how long the faults of a trial are on, and for how long one may that nothing heals. Pure.

use std::time::Duration;

use crate::scenario::{Promise, Trial};
use crate::timeouts;

/// Longest wait for the cluster to recover while the faults are on; nothing where it is not to.
pub(super) fn recovery(trial: &Trial, promise: &Promise) -> Option<Duration> {
    let limit = || timeouts::patient(promise.whole_again());
    trial.recovers_under_fault.then(limit)
}

/// How long a fault lives when nothing heals it: longer than all that is waited for while it is on. One that its timer
/// heals meanwhile gives the cluster back what it was to recover without.
pub(super) fn dead_man(trial: &Trial, promise: &Promise) -> Duration {
    let recovery = recovery(trial, promise).unwrap_or_default();
    let waits: Duration = trial.when.iter().map(|_| timeouts::EVENT).sum();
    timeouts::dead_man(waits + trial.lasts + recovery)
}
