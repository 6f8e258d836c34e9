//! IO: the wall clock as the archive writes it down.

use jiff::Timestamp;

/// Milliseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
