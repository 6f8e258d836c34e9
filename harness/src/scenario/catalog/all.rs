//! The catalogue: every family, in the order in which they are run.

use crate::scenario::Scenario;

use super::{
    agent, control_plane, failover, guarded, hostile, lossy, node, operation, operator, outside,
    owner, partition, provision, quorum, restart, storage, store,
};

/// All scenarios, in the order in which they are run: what everything else rests on first, what shakes the whole
/// cluster last.
pub fn all() -> Vec<Scenario> {
    let mut all: Vec<Scenario> = [
        provision::all(),
        failover::all(),
        partition::all(),
        lossy::all(),
        store::all(),
        quorum::all(),
        agent::all(),
        hostile::all(),
        operator::all(),
        storage::all(),
        owner::all(),
        control_plane::all(),
        node::all(),
        operation::all(),
        outside::all(),
        restart::all(),
    ]
    .into_iter()
    .flatten()
    .collect();
    all.extend(guarded::all(&all));
    all
}
