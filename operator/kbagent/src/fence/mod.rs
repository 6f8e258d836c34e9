//! Fences a deposed leader: clients that hold connections to a member that cannot serve them are disconnected, so
//! that they dial the service again and meet the new leader. The launcher kills etcd and starts it again, and the
//! kernel closes its connections: no capability is needed. Acts on its own evidence alone, with no help from outside
//! the pod.
//!
//! [`condition`] is pure; `elsewhere` asks the other members, `place` dials them, `own_raft` asks raft in a silent own
//! member, `launcher` speaks to etcd's parent.
//! Must never restart an etcd that follows a leader (it forwards well then), nor one that could be needed for a
//! majority.

mod condition;
mod elsewhere;
mod launcher;
mod own_raft;
mod place;
mod task;

pub use condition::{Action, Condition, Seen};
pub use launcher::{Launcher, LauncherError};
pub use task::{Planned, start};
