//! Client of kbagent's HTTP API: the only way from the operator to etcd.
//!
//! Speaks to a pod's address, never through a service. Knows no Kubernetes and takes no decision: it
//! returns what the agent said or why nothing came, and never turns a failure into "nothing" (M5).

mod client;
mod watch;

pub use client::{AgentClient, Error};
pub use watch::Watch;
