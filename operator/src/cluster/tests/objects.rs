//! The objects of a Cluster, for tests of other rooms.

use serde_json::{Value, json};

use super::*;

/// What a Cluster that already has these Components becomes: its Components, and all its other objects.
pub(crate) fn of(
    cluster: &Cluster,
    running: &[Component],
) -> Result<(Vec<Component>, Value), String> {
    let observed = Observed {
        components: running.to_vec(),
        ..shipped()
    };
    let plan = plan(cluster, &observed).map_err(|error| error.to_string())?;
    Ok((plan.components, json!(plan.services)))
}
