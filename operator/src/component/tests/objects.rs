//! The objects of a Component, for tests of other modules.

use serde_json::{Value, json};

use super::*;

/// What a Component that already has this InstanceSet becomes: its InstanceSet, and all its other objects.
pub(crate) fn of(
    component: &Component,
    running: Option<&InstanceSet>,
) -> Result<(InstanceSet, Value), String> {
    with(component, running, shipped())
}

/// The same with another definition and no versions beside it.
pub(crate) fn of_definition(
    component: &Component,
    running: Option<&InstanceSet>,
    definition: &ComponentDefinition,
) -> Result<(InstanceSet, Value), String> {
    let alone = Observed {
        definition: Some(definition.clone()),
        versions: Vec::new(),
        ..shipped()
    };
    with(component, running, alone)
}

fn with(
    component: &Component,
    running: Option<&InstanceSet>,
    observed: Observed,
) -> Result<(InstanceSet, Value), String> {
    let observed = Observed {
        instance_set: running.cloned(),
        ..observed
    };
    let plan = plan(component, &observed, "cluster.local").map_err(|error| error.to_string())?;
    let others = json!([
        plan.service_account,
        plan.environment,
        plan.services,
        plan.disruption_budget
    ]);
    Ok((plan.instance_set, others))
}
