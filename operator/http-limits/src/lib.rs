//! Serves HTTP/1.1 to callers that may be hostile. A caller costs its own connections only.
//!
//! Every connection has a place. There are so many places, and so many of them for one address. A new caller always
//! gets one: when all are taken, the address that holds most of them loses its oldest. Callers that have shown the
//! token keep places of their own, which strangers cannot take. A head and a body have a size and a time.

mod door;
mod listen;
mod places;
mod serve;

pub use door::{Door, Open};
pub use listen::listen;
pub use places::{Places, Standing};
pub use serve::{serve, serve_behind};

use std::time::Duration;

/// What callers may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of callers that have shown no token.
    pub connections: usize,
    /// How many of them one address may have.
    pub per_address: usize,
    /// Connections of callers that have shown the token.
    pub trusted: usize,
    /// Bytes of a head. At least 8192.
    pub head_bytes: usize,
    /// Time in which a head must have come, from the connection's begin or the answer before.
    pub head_time: Duration,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Time in which a body must have come, from the head's end.
    pub body_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            per_address: 16,
            trusted: 32,
            head_bytes: 16 * 1024,
            head_time: Duration::from_secs(5),
            body_bytes: 16 * 1024,
            body_time: Duration::from_secs(5),
        }
    }
}
