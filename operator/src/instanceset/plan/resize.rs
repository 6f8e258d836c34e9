//! Other amounts of processor time and memory, given to a pod that runs: through its `resize` subresource, without a
//! restart. What Kubernetes refuses to change there is changed by recreating the pod, as every other field is.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Plan, Step, Waiting, pods};
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{PodSeen, Resize};

/// What Kubernetes changes in place.
const IN_PLACE: [&str; 2] = ["cpu", "memory"];

/// Name of the template's state without the amounts that can be changed in place. An amount that is added or taken
/// away is another state: Kubernetes changes only those that a pod has.
#[must_use]
pub fn base(desired: &Desired) -> String {
    let mut spec = desired.template.spec.clone().unwrap_or_default();
    for container in &mut spec.containers {
        let resources = container.resources.get_or_insert_default();
        for amounts in [&mut resources.limits, &mut resources.requests] {
            for (name, amount) in amounts.iter_mut().flatten() {
                if IN_PLACE.contains(&name.as_str()) {
                    *amount = Quantity::default();
                }
            }
        }
    }
    pods::digest(desired, Some(&spec))
}

/// The amounts that containers of a pod have by the template.
#[must_use]
pub fn amounts(desired: &Desired) -> BTreeMap<String, ResourceRequirements> {
    let spec: Option<&PodSpec> = desired.template.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let only = |amounts: &Option<BTreeMap<String, Quantity>>| {
        let mut kept = amounts.clone()?;
        kept.retain(|name, _| IN_PLACE.contains(&name.as_str()));
        (!kept.is_empty()).then_some(kept)
    };
    let mut all = BTreeMap::new();
    for container in containers {
        let Some(resources) = &container.resources else {
            continue;
        };
        let (limits, requests) = (only(&resources.limits), only(&resources.requests));
        if limits.is_some() || requests.is_some() {
            let changed = ResourceRequirements {
                limits,
                requests,
                ..ResourceRequirements::default()
            };
            all.insert(container.name.clone(), changed);
        }
    }
    all
}

/// True when an outdated pod differs from its template in such amounts only, and Kubernetes has not refused them.
#[must_use]
pub fn fits(desired: &Desired, pod: &PodSeen) -> bool {
    let says = |key, value: &str| pod.annotations.get(key).is_some_and(|said| said == value);
    let refused = says(keys::RESIZE_REFUSED, &pods::revision(desired));
    let possible = !matches!(pod.resize, Resize::Impossible(_));
    !desired.recreate && !refused && possible && says(keys::BASE, &base(desired))
}

/// Changes the first of these pods, all of which fit; the next follows when the kubelet has applied that change.
pub fn plan(desired: &Desired, pods: &[(&String, &PodSeen)], plan: &mut Plan) {
    let revision = pods::revision(desired);
    let is_given = |pod: &PodSeen| pod.revision == revision;
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
            revision,
        });
    }
}
