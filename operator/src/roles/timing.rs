//! The role path's times, with their reasons. Constants only.

use std::time::Duration;

/// Longest wait for one call of the API server. An election takes about a second: a call that takes longer is
/// better asked again with what is known by then.
pub(super) const API_CALL: Duration = Duration::from_secs(2);
/// Decisions in a row before newer views are taken in. Each conflict means that another operator wrote, most
/// likely the same.
pub(super) const ROUNDS: usize = 4;
/// First pause after the API server has failed.
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause after it has failed again and again: the label follows this soon after its return.
pub(super) const PAUSE_LONGEST: Duration = Duration::from_millis(500);
