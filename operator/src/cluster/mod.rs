//! Cluster -> Components and the Cluster's own services.
//!
//! `observe` reads, `plan` (pure, with its builders in `build`) decides, `reconcile` writes in a visible order,
//! `status` and `phase` (pure) tell the user. Pods, claims and members do not belong to this module.

mod build;
mod observe;
mod phase;
mod plan;
mod reconcile;
mod rehearse;
mod resolution;
mod restore;
mod status;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use reconcile::run;
pub(crate) use rehearse::rehearse;
