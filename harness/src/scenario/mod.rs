//! A run as data: which cluster, which load, which faults, what is promised.
//!
//! [`Scenario`] is the data, [`catalog`] holds all of them, [`Plan`] is one scenario with members and seed, [`run`]
//! runs one: everything is saved before it is judged. Scenarios know nothing of the operator's insides:
//! they write a Cluster object, as a user does, and look at what comes of it.

pub mod ahead;
pub mod attempts;
pub mod catalog;
mod client;
mod conformance;
pub(crate) mod creation;
mod description;
mod error;
pub mod interrupt;
mod lab;
mod leftovers;
mod live;
mod merge;
mod notes;
mod operation;
mod outcome;
mod plan;
mod promise;
mod proof;
mod runner;
mod sizes;
mod state;
mod subject;
mod targets;
mod trial;
mod turn;
#[cfg(test)]
mod turn_tests;

pub use description::{Act, Load, Scenario, Trial};
pub use error::RunError;
pub use interrupt::Interrupt;
pub use lab::Lab;
pub use live::Live;
pub use operation::Operation;
pub use outcome::{Ended, Gaps, Time};
pub use plan::Plan;
pub use promise::Promise;
pub use runner::{Measured, measure, run};
pub use turn::{Turn, TurnGiver};
