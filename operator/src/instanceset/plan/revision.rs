//! Names of a template's states: pods of another one are outdated.

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sha2::{Digest, Sha256};

use crate::instanceset::desired::Desired;

/// What Kubernetes changes in place.
pub(super) const IN_PLACE: [&str; 2] = ["cpu", "memory"];

/// Name of the template's state.
pub(crate) fn revision(desired: &Desired) -> String {
    digest(desired, desired.template.spec.as_ref())
}

/// Name of the template's state without the amounts that can be changed in place. An amount that is added or taken
/// away is another state: Kubernetes changes only those that a pod has.
pub(crate) fn base(desired: &Desired) -> String {
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
    digest(desired, Some(&spec))
}

fn digest(desired: &Desired, spec: Option<&PodSpec>) -> String {
    let restart = desired
        .template
        .metadata
        .as_ref()
        .and_then(|meta| meta.annotations.as_ref()?.get(labels::RESTART));
    let state = serde_json::json!([spec, restart]);
    let digest = Sha256::digest(state.to_string().as_bytes());
    digest
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
