//! A correct etcd with its clients, members and pods, simulated from a seed: histories that every check must pass.
//!
//! What the checks are tested with (clean, and spoiled on purpose) and measured on. The store here is written apart from
//! the checks' model. No clock: time is that of the simulated events; the same plan gives the same history.

mod members;
mod mix;
mod random;
mod store;
mod watchers;
mod world;

pub use random::Random;

use crate::history::History;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Everything random comes from it.
    pub seed: u64,
    /// Members of the cluster.
    pub members: u32,
    /// Closed-loop clients.
    pub clients: u32,
    /// Operations of the closed-loop clients in all.
    pub operations: u64,
    /// Keys that the clients share.
    pub keys: u64,
    /// Milliseconds between the writes of an open-loop writer; 0 for none.
    pub writer_period_ms: i64,
    /// Of a hundred operations, how many have an unknown outcome even in quiet times.
    pub unknown_percent: u64,
    /// True to kill the leader halfway.
    pub kill_leader: bool,
    /// True to let the operator restart a follower, late in the run.
    pub restart_follower: bool,
    /// True for a watcher of a part of the keys beside those of all.
    pub narrow_watcher: bool,
    /// Watchers of all keys.
    pub watchers: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 0,
            members: 3,
            clients: 6,
            operations: 600,
            keys: 10,
            writer_period_ms: 20,
            unknown_percent: 3,
            kill_leader: true,
            restart_follower: true,
            narrow_watcher: false,
            watchers: 3,
        }
    }
}

/// Simulates a plan.
pub fn simulate(plan: &Plan) -> History {
    world::World::new(*plan).run()
}
