//! Other amounts of processor time and memory, given to a pod that runs: through its `resize` subresource, without a
//! restart. What Kubernetes refuses to change there is changed by recreating the pod, as every other field is.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::revision::{IN_PLACE, base, revision};
use super::{Plan, Step, Waiting};
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{PodSeen, Resize};

/// The amounts that each container of a pod has by the template, in the template's order.
fn amounts(desired: &Desired) -> Vec<(String, ResourceRequirements)> {
    let spec: Option<&PodSpec> = desired.template.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let only = |amounts: &Option<BTreeMap<String, Quantity>>| {
        let mut kept = amounts.clone()?;
        kept.retain(|name, _| IN_PLACE.contains(&name.as_str()));
        (!kept.is_empty()).then_some(kept)
    };
    containers
        .map(|container| {
            let resources = container.resources.clone().unwrap_or_default();
            let changed = ResourceRequirements {
                limits: only(&resources.limits),
                requests: only(&resources.requests),
                ..ResourceRequirements::default()
            };
            (container.name.clone(), changed)
        })
        .collect()
}

/// True when an outdated pod differs from its template in such amounts only, and Kubernetes has not refused them.
pub(crate) fn fits(desired: &Desired, pod: &PodSeen) -> bool {
    let says = |key, value: &str| pod.annotations.get(key).is_some_and(|said| said == value);
    let refused = says(keys::RESIZE_REFUSED, &revision(desired));
    let possible = !matches!(pod.resize, Resize::Impossible(_));
    !desired.recreate && !refused && possible && says(keys::BASE, &base(desired))
}

/// True when one of these pods, all of which fit, was given its amounts and does not have them yet.
pub(crate) fn is_given(desired: &Desired, pods: &[(&String, &PodSeen)]) -> bool {
    let now = revision(desired);
    pods.iter().any(|(_, pod)| pod.revision == now)
}

/// Changes the first of these pods, all of which fit; the next follows when the kubelet has applied that change.
pub(crate) fn plan(desired: &Desired, pods: &[(&String, &PodSeen)], plan: &mut Plan) {
    let now = revision(desired);
    let is_given = |pod: &PodSeen| pod.revision == now;
    if let Some((name, pod)) = pods.iter().find(|(_, pod)| is_given(pod)) {
        let why = match &pod.resize {
            Resize::UnderWay(why) | Resize::Impossible(why) => why.clone(),
            Resize::Settled => String::new(),
        };
        let pod = (*name).clone();
        plan.waiting.push(Waiting::Resizing { pod, why });
        return;
    }
    if let Some((name, pod)) = pods.first() {
        plan.steps.push(Step::Resize {
            name: (*name).clone(),
            uid: pod.uid.clone(),
            amounts: amounts(desired),
            revision: now,
        });
    }
}
