//! A crash is news: when the leader's etcd is seen to be gone, one follower is told to campaign at once, without waiting
//! for raft's election timeout to find out by silence.
//!
//! [`plan`] is pure: who, when, and when not.

pub mod plan;

#[cfg(test)]
mod model_tests;
