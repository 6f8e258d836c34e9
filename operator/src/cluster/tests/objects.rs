//! The objects of a Cluster, for tests of other modules.

use serde_json::{Value, json};

use super::*;

/// What a Cluster that already has these Components becomes: its Components, and all its other objects.
pub(crate) fn of(
    cluster: &Cluster,
    running: &[Component],
) -> Result<(Vec<Component>, Value), String> {
    with(cluster, running, shipped())
}

/// The same with another definition and no versions beside it.
pub(crate) fn of_definition(
    cluster: &Cluster,
    running: &[Component],
    definition: &ComponentDefinition,
) -> Result<(Vec<Component>, Value), String> {
    let alone = Observed {
        definitions: vec![definition.clone()],
        ..Observed::default()
    };
    with(cluster, running, alone)
}

fn with(
    cluster: &Cluster,
    running: &[Component],
    observed: Observed,
) -> Result<(Vec<Component>, Value), String> {
    let observed = Observed {
        components: running.to_vec(),
        ..observed
    };
    let plan = plan(cluster, &observed).map_err(|error| error.to_string())?;
    Ok((plan.components, json!(plan.services)))
}
