//! Component -> InstanceSet, services, agents' secret, environment, service account, disruption budget.
//!
//! `observe` reads, `validate` and `plan` (pure, with the builders in `build`) decide, `reconcile` writes in a
//! visible order, `status` and `phase` (pure) tell. Pods and members belong to the InstanceSet.

mod accounts;
mod build;
mod certificates;
mod change;
mod class;
mod credentials;
mod ensure;
mod fields;
mod growth;
mod held;
mod manager;
mod network;
mod observe;
mod outside;
mod part;
mod phase;
mod plan;
mod reconcile;
mod rehearse;
mod request;
mod rotation;
mod secrets;
mod settings;
mod snapshot;
mod status;
mod tls;
mod v2store;
mod validate;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use reconcile::run;
pub(crate) use rehearse::{RehearseError, rehearse};
