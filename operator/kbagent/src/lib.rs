//! kbagent: what stands beside etcd in every pod. It watches its own member, says its role, launches etcd by rule,
//! carries out membership changes and moves of leadership, fences a deposed leader and exports metrics.
//!
//! Modules: [`etcd`] speaks to members; [`watch`] knows the own member; [`fence`] has a deposed leader restarted;
//! [`election`] shortens the election after a leader has died; [`relay`] accepts clients in front of etcd;
//! [`actions`] changes membership and leadership; [`accounts`] gives etcd its users; `failovers` sends traces;
//! [`handoff`] moves leadership before the pod stops, [`arrivals`] tells whether clients still come to it, [`stopping`]
//! ends an etcd that waits for its clients; [`server`] is the HTTP face; [`launch`] starts etcd and stands over it;
//! [`wal`] reads etcd's log; [`exporter`] is the other binary. Nothing here speaks to Kubernetes, and nothing here
//! decides that a membership change is wanted: that is the operator's.

mod accounts;
pub mod actions;
mod arrivals;
pub mod config;
pub mod election;
pub mod etcd;
mod expiry;
pub mod exporter;
mod failovers;
pub mod fence;
mod handoff;
pub mod http;
pub mod install;
pub mod launch;
mod relay;
pub mod server;
mod stopping;
pub mod telemetry;
#[cfg(test)]
mod test_support;
pub mod tls;
pub mod wal;
mod watch;
