//! OpsRequest -> an edit of its Cluster, or a call of an agent, and the observed result.
//!
//! `kinds` holds one file a type of operation, `kind` what each of them says. They and `facts`, `request`, `edit`,
//! `queue`, `progress`, `refused`, `node`, `places` and `decide` are pure; `observe` reads; `agents` moves leadership;
//! `claims` marks disks; `wishes` asks InstanceSets; `finalizer` keeps a request until that is taken back;
//! `cluster_edit` and `reconcile` write. An operation changes nothing but the Cluster's spec (and who leads, which disk
//! is to be replaced, and which database is to be defragmented): pods and members belong to the modules below, with all
//! their checks.

mod agents;
mod claims;
mod cluster_edit;
mod decide;
mod edit;
mod facts;
mod finalizer;
mod kind;
mod kinds;
mod node;
mod observe;
mod observed;
mod obstacle;
mod places;
mod progress;
mod queue;
mod reconcile;
mod refusal;
mod refused;
mod request;
mod wishes;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use reconcile::run;
