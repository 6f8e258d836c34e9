//! The harness: real kind clusters, etcd deployed into them by the operator, faults, a recorded workload, verdicts.
//!
//! Modules from the bottom to the top; each may use those above it in this list (the tidy test holds the same table):
//! - [`timeouts`], [`wait`]: every duration, and the one place that sleeps.
//! - [`cluster`]: a cluster that exists, and shells in its nodes; knows nothing of etcd or faults.
//! - [`deploy`]: applies manifests and waits for them.
//! - [`faults`]: injects one fault, proves it, heals it, proves that nothing is left.
//! - [`observe`]: what the API server shows, as records of a history.
//! - [`report`]: a run directory and its page; draws what was recorded, without a cluster.
//! - [`bench`]: repeated failovers as a distribution; arithmetic over histories.
//! - [`scenario`]: a scenario as data, and the run of one.
//! - [`bare`]: runs without Kubernetes, etcd members as plain containers.
//! - [`doctor`]: tries what this machine can do.
//! - [`commands`]: the command line, one file a command.
//!
//! Nothing here knows the operator's insides: it reads and writes Kubernetes objects as any user does.

pub mod bare;
pub(crate) mod bench;
pub mod cluster;
pub mod commands;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub mod faults;
pub(crate) mod observe;
pub mod report;
pub mod scenario;
pub(crate) mod timeouts;
pub(crate) mod wait;
