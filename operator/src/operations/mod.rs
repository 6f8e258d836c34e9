//! OpsRequest -> an edit of its Cluster, or a call of an agent, and the truth about what came of it.
//!
//! `wish`, `edit`, `queue`, `progress` and `decide` are pure; `observe` reads and rehearses; `switchover` asks
//! agents; `reconcile` writes. An operation
//! changes nothing but the Cluster's spec (and, for a switchover, who leads): pods and members stay the business of the
//! rooms below, with all their care.

mod decide;
mod edit;
mod observe;
mod progress;
mod queue;
mod reconcile;
mod switchover;
mod wish;

#[cfg(test)]
mod tests;

pub use reconcile::run;
