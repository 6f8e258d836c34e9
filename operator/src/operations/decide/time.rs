//! PURE: limits and ages of requests.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A limit in seconds; zero and absent mean none.
pub(super) fn seconds(limit: Option<i32>) -> Option<Duration> {
    let limit = u64::try_from(limit?).ok().filter(|limit| *limit > 0)?;
    Some(Duration::from_secs(limit))
}

/// How long ago something was; zero for what is still to come.
pub(super) fn since(then: &Time, now: &Time) -> Duration {
    Duration::try_from(now.0.duration_since(then.0)).unwrap_or(Duration::ZERO)
}
