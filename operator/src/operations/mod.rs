//! OpsRequest -> an edit of its Cluster, or a call of an agent, and the truth about what came of it.
//!
//! `wish`, `expose`, `edit`, `queue`, `progress` and `decide` are pure; `observe` reads and rehearses; `switchover` asks
//! agents; `rebuild` marks claims; `cluster_edit` and `reconcile` write. An operation changes nothing but the Cluster's
//! spec (and who leads, and which disk is to be replaced): pods and members stay the business of the rooms below, with
//! all their care.

mod cluster_edit;
mod decide;
mod edit;
mod expose;
mod observe;
mod progress;
mod queue;
mod rebuild;
mod reconcile;
mod switchover;
mod wish;

#[cfg(test)]
mod tests;

pub use reconcile::run;
