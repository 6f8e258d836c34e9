//! IO: pods that wait to be placed beside one that never ends. A pod of a node that is off is there until the node
//! comes back, the scheduler counts it among those that use a repository's claim, and no other may be elsewhere.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::part::REPOSITORY_CLAIM;
use crate::client::message;

/// A pod that ends at all has ended so many seconds after its grace period.
const OVERDUE: i64 = 60;

/// Pure: the label of the claim beside whose pods one of these waits to be placed.
pub(super) fn waits(pods: &[Pod]) -> Option<String> {
    let is_waiting = |pod: &&Pod| {
        let conditions = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        pod.metadata.deletion_timestamp.is_none()
            && conditions.any(|known| known.type_ == "PodScheduled" && known.status == "False")
    };
    let waiting = pods.iter().filter(is_waiting);
    let mut claims = waiting.filter_map(|pod| pod.labels().get(REPOSITORY_CLAIM));
    claims.next().cloned()
}

/// Takes the label off pods that should have ended long ago: they are counted no longer. Whether the volume can be had
/// on another node is its driver's to say. What fails is tried again with the next look, and stops nothing else.
pub(super) async fn discount(client: &Client, namespace: &str, claim: &str) {
    if let Err(error) = discount_overdue(client, namespace, claim).await {
        let error = message(&error);
        tracing::warn!(
            namespace,
            claim,
            error,
            "pods that do not end hold back others"
        );
    }
}

async fn discount_overdue(client: &Client, namespace: &str, claim: &str) -> kube::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{REPOSITORY_CLAIM}={claim}"));
    let now = Timestamp::now();
    for pod in pods.list(&params).await?.items {
        if !is_overdue(&pod, now) {
            continue;
        }
        let name = pod.name_any();
        let metadata = json!({ "uid": pod.uid(), "labels": { REPOSITORY_CLAIM: null } });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match pods
            .patch_metadata(&name, &PatchParams::default(), &patch)
            .await
        {
            Ok(_) => tracing::info!(
                namespace,
                pod = name,
                "a pod that does not end holds back no other"
            ),
            // It has ended, or another one has its name.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_overdue(pod: &Pod, now: Timestamp) -> bool {
    // The end of its grace period.
    let ends = pod.metadata.deletion_timestamp.as_ref();
    ends.is_some_and(|ends| now.duration_since(ends.0).as_secs() > OVERDUE)
}
