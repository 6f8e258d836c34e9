//! PURE: the desired state of an InstanceSet and what was seen of it -> what to do next, in order, and why not more.
//!
//! No client, no clock, no randomness, no environment. A plan leaves nothing to decide to `apply`; whatever is
//! not done carries a reason. Every rule of docs/hazards.md that concerns members has its home here.

pub(crate) mod alarms;
pub(crate) mod asked_class;
pub(crate) mod bootstrap;
pub(crate) mod check;
pub(crate) mod defragmentation;
pub(crate) mod downgrade;
pub(crate) mod latch;
pub(crate) mod membership;
pub(crate) mod moving;
pub(crate) mod next_pod;
pub(crate) mod placement;
mod planner;
pub(crate) mod pods;
pub(crate) mod recovery;
pub(crate) mod refused;
pub(crate) mod relabel;
pub(crate) mod resize;
pub(crate) mod revision;
pub(crate) mod rollout;
pub(crate) mod roster;
pub(crate) mod safety;
pub(crate) mod services;
pub(crate) mod status;
pub(crate) mod steps;
pub(crate) mod tainted;
pub(crate) mod teardown;
pub(crate) mod template;
pub(crate) mod upgrade;
pub(crate) mod upkeep;
pub(crate) mod volumes;
mod waiting;

#[cfg(test)]
mod explore;
#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod upkeep_tests;
#[cfg(test)]
mod world;

pub(crate) use planner::{next_to_move, plan};
pub(crate) use steps::{Grace, Plan, Removal, Step, Via};
pub(crate) use waiting::Waiting;
