//! Kubernetes objects as records. Pure.

use etcd_history::record::{EndpointsRecord, Nanos, PodRecord};
use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

/// A pod as it was delivered; `gone` when the delivery said that it is deleted.
pub(super) fn pod(t: Nanos, pod: &Pod, gone: bool) -> PodRecord {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    PodRecord {
        t,
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        resource_version: version(pod),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        role: pod.labels().get(labels::ROLE).cloned(),
        phase: status
            .and_then(|status| status.phase.clone())
            .unwrap_or_default(),
        ready: conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True"),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        deleted: gone,
    }
}

/// An endpoint slice as it was delivered; a deleted one has no endpoints.
pub(super) fn endpoints(
    t: Nanos,
    slice: &EndpointSlice,
    service: &str,
    gone: bool,
) -> EndpointsRecord {
    let mut serving = Vec::new();
    let mut ready = Vec::new();
    for endpoint in slice.endpoints.iter().filter(|_| !gone) {
        let Some(pod) = endpoint
            .target_ref
            .as_ref()
            .and_then(|target| target.name.clone())
        else {
            continue;
        };
        let conditions = endpoint.conditions.as_ref();
        // An absent condition means true (discovery/v1).
        if conditions.and_then(|c| c.ready).unwrap_or(true) {
            ready.push(pod.clone());
        }
        if conditions.and_then(|c| c.serving).unwrap_or(true) {
            serving.push(pod);
        }
    }
    EndpointsRecord {
        t,
        service: service.to_owned(),
        resource_version: version(slice),
        serving,
        ready,
    }
}

/// `metadata.resourceVersion` as a number; 0 for one that is none.
fn version(object: &impl ResourceExt) -> u64 {
    object
        .resource_version()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_keeps_its_role_and_readiness() {
        let object: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "m-0", "uid": "u", "resourceVersion": "77", "labels": {labels::ROLE: "leader"}},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .expect("a pod");
        let record = pod(5, &object, false);
        assert_eq!(
            (
                record.role.as_deref(),
                record.ready,
                record.resource_version
            ),
            (Some("leader"), true, 77)
        );
        assert!(!record.deleting && !record.deleted);
    }

    #[test]
    fn endpoints_are_told_apart_by_condition() {
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "s", "resourceVersion": "9"},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["1"], "conditions": {"ready": true, "serving": true}, "targetRef": {"name": "m-0"}},
                {"addresses": ["2"], "conditions": {"ready": false, "serving": true}, "targetRef": {"name": "m-1"}},
                {"addresses": ["3"], "conditions": {"ready": false, "serving": false}, "targetRef": {"name": "m-2"}},
            ],
        }))
        .expect("a slice");
        let record = endpoints(1, &slice, "leader", false);
        assert_eq!(record.ready, ["m-0"]);
        assert_eq!(record.serving, ["m-0", "m-1"]);
        assert!(endpoints(2, &slice, "leader", true).serving.is_empty());
    }
}
