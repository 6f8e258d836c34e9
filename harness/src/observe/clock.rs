//! This host's clock, as the recording client's.

use std::time::{SystemTime, UNIX_EPOCH};

use etcd_history::record::Nanos;

/// Nanoseconds since the Unix epoch on the recording client's clock.
pub(crate) fn now(offset: Nanos) -> Nanos {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Nanos::try_from(wall.as_nanos()).unwrap_or(Nanos::MAX) + offset
}
