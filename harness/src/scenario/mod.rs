//! A run as data: which cluster, which load, which faults, what is promised.
//!
//! [`Scenario`] is the data, [`catalog`] holds all of them, [`Plan`] is one scenario with members and seed, [`run`]
//! runs one: everything is saved before it is judged. Scenarios know nothing of the operator's insides:
//! they write a Cluster object, as a user does, and look at what comes of it.

pub mod ahead;
mod archive;
pub mod attempts;
pub(crate) mod auto_compaction;
mod backup;
pub(crate) mod blame;
mod bucket;
mod builder;
pub mod catalog;
pub(crate) mod client;
mod conformance;
pub(crate) mod creation;
mod description;
mod difference;
mod disaster;
pub(crate) mod dumped;
mod edits;
mod error;
pub(crate) mod event;
mod goals;
mod growth;
mod inside;
pub mod interrupt;
mod lab;
mod label_lag;
mod leftovers;
mod live;
mod load;
pub(crate) mod merge;
mod moving;
pub(crate) mod notes;
mod operation;
mod origin;
pub(crate) mod outcome;
mod outside;
mod overdue;
mod plan;
mod probes;
pub(crate) mod promise;
mod proof;
pub(crate) mod recovery;
mod rotation;
pub(crate) mod run_log;
pub(crate) mod runner;
mod sizes;
mod state;
mod subject;
mod targets;
pub(crate) mod throughput;
mod too_large;
mod trial;
mod turn;
#[cfg(test)]
mod turn_tests;
mod under_fault;
mod unready;

pub use crate::deploy::{Guard, Reach};
pub use description::{Act, Scenario, Trial};
pub use error::RunError;
pub use event::Event;
pub use goals::{Took, seen_table};
pub use interrupt::Interrupt;
pub use lab::Lab;
pub use live::Live;
pub use load::Load;
pub use operation::Operation;
pub use origin::Origin;
pub use outcome::{Gaps, Time, TrialResult};
pub use plan::{Plan, PlanError};
pub use promise::Promise;
pub use runner::{Measured, measure, run};
pub use turn::{Turn, TurnGiver};
