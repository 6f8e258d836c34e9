//! Measurements that are repeated until they are a distribution: failover and creation.
//!
//! [`statistics`] is arithmetic, [`failover`] measures histories, [`probes`] clients that are not ours beside them,
//! [`creation`] pairs of times, [`restore`] what losing everything costs, [`stages`] where times go, [`power`] says
//! what limits find, [`suspicion`] what that costs, [`throughput`] compares rates of writes, [`budget`] is what they
//! are held against, [`table`] words and [`picture`] draws them; nothing here touches a cluster. The commands make the
//! runs and pass on what they found.

pub(crate) mod budget;
pub(crate) mod creation;
pub(crate) mod failover;
pub(crate) mod picture;
pub(crate) mod power;
pub(crate) mod probes;
pub(crate) mod restore;
pub(crate) mod stages;
pub(crate) mod statistics;
pub(crate) mod suspicion;
pub(crate) mod table;
pub(crate) mod throughput;

pub(crate) use budget::{FastElection, Kind};
pub(crate) use creation::CreationReport;
pub(crate) use failover::{Failover, FailoverReport};
pub(crate) use probes::{Probe, Writes};
pub(crate) use restore::RestoreReport;
