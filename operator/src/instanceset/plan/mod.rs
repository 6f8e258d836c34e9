//! PURE: the desired state of an InstanceSet and what was seen of it -> what to do next, in order, and why not more.
//!
//! No client, no clock, no randomness, no environment. A plan leaves nothing to decide to `apply`; whatever is
//! not done carries a reason. Every rule of docs/hazards.md that concerns members has its home here.

pub mod alarms;
pub mod bootstrap;
pub mod check;
pub mod latch;
pub mod membership;
pub mod next_pod;
mod planner;
pub mod pods;
pub mod recovery;
pub mod relabel;
pub mod resize;
pub mod revision;
pub mod rollout;
pub mod roster;
pub mod safety;
pub mod services;
pub mod status;
pub mod steps;
pub mod teardown;
pub mod template;
pub mod upkeep;
pub mod volumes;

#[cfg(test)]
mod explore;
#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod upkeep_tests;
#[cfg(test)]
mod world;

pub use planner::plan;
pub use steps::{Grace, Plan, Removal, Step, Via, Waiting};
