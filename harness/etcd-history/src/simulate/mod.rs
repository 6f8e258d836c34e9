//! A correct etcd with its clients, members and pods, simulated from a seed: histories that every check must pass.
//!
//! What the checks are tested with (clean, and spoiled on purpose) and measured on. The store here is written apart
//! from the checks' model. No clock: time is that of the simulated events; the same plan gives the same history.

mod members;
mod mix;
mod plan;
mod process;
mod random;
mod store;
mod watchers;
mod world;

pub use plan::{Plan, Variety};
pub use random::Random;
pub use world::simulate;
