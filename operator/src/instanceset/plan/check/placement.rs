//! The rule for members that are placed on a node that a user has named (M20).

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, Pod, PodSpec};

use super::lint::{Lint, Violation};
use crate::instanceset::names as keys;

/// A new member's pod is bound to the node on record, every other one as its template says.
pub(super) fn check(lint: &Lint<'_>, (name, pod): (&str, &Pod), found: &mut Vec<Violation>) {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut variables = containers.flat_map(|container| container.env.iter().flatten());
    let join = variables.find(|variable| variable.name == keys::ENV_JOIN);
    let join = join.and_then(|variable| variable.value.as_deref());
    let mut records = lint.desired.recorded.placements.iter();
    let record = records.find(|record| record.pod_name == name);
    let record = record.filter(|record| join.is_some_and(|join| join != record.member_id));
    let bound = nodes(pod.spec.as_ref());
    let fits = match record {
        Some(record) => !bound.is_empty() && bound.iter().all(|n| n.contains(&record.node_name)),
        None => bound == nodes(lint.desired.template.spec.as_ref()),
    };
    if !fits {
        found.push(format!(
            "M20: {name} is bound to {bound:?}, and on record is {record:?}"
        ));
    }
}

/// The nodes that each alternative of a pod's affinity names.
pub(in super::super) fn nodes(spec: Option<&PodSpec>) -> Vec<Vec<String>> {
    let terms = spec.and_then(|spec| {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()?;
        Some(required.node_selector_terms.as_slice())
    });
    let named = |fields: &Vec<NodeSelectorRequirement>| {
        let values = fields.iter().filter_map(|field| field.values.clone());
        values.flatten().collect()
    };
    let terms = terms.unwrap_or_default().iter();
    terms
        .map(|term| term.match_fields.as_ref().map(named).unwrap_or_default())
        .collect()
}
