//! The harness: real kind clusters, etcd deployed into them by the operator, faults, a recorded workload, verdicts.
//!
//! Rooms, and what each may use (`a -> b`: a may use b):
//! - [`cluster`]: a cluster that is there, and shells in its nodes; knows nothing of etcd or faults.
//! - [`deploy`] `-> cluster`: puts manifests into it and waits for them.
//! - [`faults`] `-> cluster, deploy`: injects one fault, proves it, heals it, proves that nothing is left.
//! - [`doctor`] `-> cluster`: tries what this machine can do.
//! - [`observe`] `-> cluster`: what the API server shows, as records of a history.
//! - [`scenario`] `-> all of the above`: a run, told as data.
//! - [`report`] `-> etcd_history only`: a run directory and its page; draws what was recorded, asks no cluster.
//! - [`bench`] `-> report`: repeated failovers as a distribution; arithmetic over histories.
//! - [`commands`]: the command line, one file a command; nothing here is used by another room.
//!
//! Nothing here knows the operator's insides: it reads and writes Kubernetes objects as any user does. The one place
//! that sleeps is [`wait`]; the one place with durations is [`timeouts`].

pub mod bench;
pub mod cluster;
pub mod commands;
pub mod deploy;
pub mod doctor;
pub mod faults;
pub mod observe;
pub mod report;
pub mod scenario;
pub mod timeouts;
pub mod wait;
