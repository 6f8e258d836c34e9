//! After a crash: when the leader's etcd is seen to be gone, one follower is told to campaign at once, without
//! waiting for raft's election timeout to find out by silence. docs/failover.md has the mechanism and why it is safe.
//!
//! [`plan`] is pure: who, when, and when not; [`suspicion`] is, too: whether a leader that is silent counts as gone,
//! and `reach`: whether the own member, while it leads, is cut off from its peers. `beat` carries signs of life,
//! `cutoff` looks at connections, `hold` notices the end of the leader's etcd, [`raft`] reads the own member's term,
//! [`message`] tells it to campaign, `task` asks the other agents, `successor` tells the former leader's. Must never
//! decide who leads: that is raft's.

mod beat;
mod cutoff;
mod hold;
pub mod message;
pub mod plan;
pub mod raft;
mod reach;
mod sockets;
mod successor;
pub mod suspicion;
mod task;

pub use task::{Elections, start};

#[cfg(test)]
mod model_tests;
