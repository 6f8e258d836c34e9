//! Measurements that are repeated until they are a distribution: failover, creation, idleness.
//!
//! [`statistics`] and [`failover`] are arithmetic over histories, [`budget`] is what they are held against, [`table`] words
//! them; nothing here touches a cluster.
//! The commands make the runs and hand their histories over.

pub mod budget;
pub mod failover;
pub mod statistics;
pub mod table;

pub use budget::Kind;
pub use failover::{Failover, FailoverReport};
pub use statistics::Summary;
