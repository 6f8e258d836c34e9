//! Measurements that are repeated until they are a distribution: failover and creation.
//!
//! [`statistics`] is arithmetic, [`failover`] measures histories, [`creation`] pairs of times, [`power`] says what
//! limits find, [`budget`] is what they are held against, [`table`] words them; nothing here touches a cluster. The
//! commands make the runs and pass on what they found.

pub mod budget;
pub mod creation;
pub mod failover;
pub mod power;
pub mod statistics;
pub mod table;

pub use budget::Kind;
pub use creation::CreationReport;
pub use failover::{Failover, FailoverReport};
pub use statistics::Summary;
