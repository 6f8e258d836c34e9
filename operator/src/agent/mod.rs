//! Client of kbagent's HTTP API: the only way from the operator to etcd.
//!
//! Speaks to a pod's address, never through a service. Knows of Kubernetes what a pod's object says, and takes no
//! decision: it returns what the agent said or why nothing came, and never turns a failure into "nothing" (M5).

mod client;
mod error;
mod peer;
mod trust;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use client::AgentClient;
pub(crate) use error::Error;
pub(crate) use peer::Peer;
pub(crate) use trust::Trust;
pub(crate) use watch::Watch;
