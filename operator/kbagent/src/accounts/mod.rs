//! Users of etcd: the leader's agent gives etcd those of the mounted Secret and switches authentication on. The agents
//! themselves are known by the common name of their certificate, so they hold no password and need no token.
//!
//! [`plan`] is pure; [`keep`] does it. Must not decide which users there are: that is the operator's.

mod keep;
mod plan;

pub(crate) use keep::start;
