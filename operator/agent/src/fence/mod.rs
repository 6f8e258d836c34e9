//! Fences a deposed leader: cuts clients that hold connections to a member that cannot serve them, so that they dial
//! the service again and meet the new leader. Acts on its own evidence alone, with no help from outside the pod.
//!
//! [`condition`] is pure; `sockets` speaks netlink. Must never cut while etcd follows a leader: it forwards well then.

mod condition;
mod deposed;
mod sockets;
mod task;

pub use condition::{Condition, Seen, Verdict};
pub use sockets::{Cutter, FenceError, Scope};
pub use task::{Planned, start};
