//! Metadata that all children share.

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::super::validate::Valid;

/// The three labels of every child.
pub(super) fn child_labels(valid: &Valid<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            labels::MANAGED_BY.to_owned(),
            labels::MANAGED_BY_VALUE.to_owned(),
        ),
        (labels::INSTANCE.to_owned(), valid.cluster.clone()),
        (
            labels::COMPONENT_NAME.to_owned(),
            valid.component_name.clone(),
        ),
    ])
}

/// Labels that select the component's pods in services. The last of them only the operator may give (admission policy).
pub(super) fn pod_selector(valid: &Valid<'_>) -> BTreeMap<String, String> {
    let mut selector = child_labels(valid);
    let stable = labels::RELEASE_PHASE_STABLE.to_owned();
    selector.insert(labels::RELEASE_PHASE.to_owned(), stable);
    let managed = labels::WORKLOAD_MANAGED_BY_VALUE.to_owned();
    selector.insert(labels::WORKLOAD_MANAGED_BY.to_owned(), managed);
    selector
}

/// Metadata of a child of a name.
pub(super) fn child(valid: &Valid<'_>, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: valid.component.namespace(),
        labels: Some(child_labels(valid)),
        ..ObjectMeta::default()
    }
}
