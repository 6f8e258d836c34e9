//! Volumes that grow: a CSI driver of the harness with Kubernetes' own provisioner and resizer, put into a kind cluster
//! when a run needs them. They stay: the claims of a run that is being deleted still need their driver.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::{Api, Client};

use crate::cluster::volumes::GROWING;
use crate::cluster::{Cluster, Repository};
use crate::deploy::{DeployError, apply, parse};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Where the driver runs.
const NAMESPACE: &str = "etcd-harness-csi";
/// What it is made of, in the repository.
const MANIFEST: &str = "images/csi/csi.yaml";
const IMAGE: &str = "etcd-harness/csi:dev";

/// Makes the image, puts it into the nodes, and waits until the driver runs on each of them; what is there is not made
/// again.
///
/// # Errors
/// Says which step failed.
pub(crate) async fn prepare(cluster: &Cluster) -> Result<(), DeployError> {
    let repository = Repository::find()?;
    repository.script("csi.sh", &[]).await?;
    repository
        .script("load.sh", &[&cluster.name, IMAGE])
        .await?;
    let objects = parse(MANIFEST, &repository.read(MANIFEST)?)?;
    apply(&cluster.kube, NAMESPACE, &objects).await?;
    let what = format!("the driver of class {} on every node", GROWING.class);
    let up = wait_until(
        what.clone(),
        timeouts::OPERATOR_AVAILABLE,
        async || match missing(&cluster.kube).await {
            Ok(None) => Poll::Ready(()),
            Ok(Some(status)) => Poll::NotYet::<(), String>(status),
            Err(error) => Poll::NotYet(error.to_string()),
        },
    );
    up.await.map_err(|error| DeployError::Await {
        what,
        seen: error.to_string(),
    })
}

/// What is not up yet.
async fn missing(kube: &Client) -> kube::Result<Option<String>> {
    let sets: Api<DaemonSet> = Api::namespaced(kube.clone(), NAMESPACE);
    let set = sets.get("node").await?;
    let deployments: Api<Deployment> = Api::namespaced(kube.clone(), NAMESPACE);
    let resizer = deployments.get("resizer").await?;
    Ok(lacking(&set, &resizer))
}

fn lacking(set: &DaemonSet, resizer: &Deployment) -> Option<String> {
    let seen = set.status.clone().unwrap_or_default();
    let current = seen.observed_generation == set.metadata.generation;
    let (wanted, updated) = (
        seen.desired_number_scheduled,
        seen.updated_number_scheduled.unwrap_or_default(),
    );
    if !current || wanted == 0 || updated < wanted || seen.number_ready < wanted {
        let ready = seen.number_ready;
        return Some(format!(
            "{ready} of {wanted} nodes are ready, {updated} are updated"
        ));
    }
    let status = resizer.status.clone().unwrap_or_default();
    let up = status.observed_generation == resizer.metadata.generation
        && status.updated_replicas.unwrap_or_default() > 0
        && status.unavailable_replicas.unwrap_or_default() == 0;
    (!up).then(|| "the resizer is not available".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_node_and_the_resizer_must_run_what_was_applied() {
        let set = |ready: i32| -> DaemonSet {
            serde_json::from_value(json!({ "metadata": { "generation": 2 }, "spec": {
                "selector": {}, "template": {} }, "status": { "observedGeneration": 2,
                "currentNumberScheduled": 3, "desiredNumberScheduled": 3, "numberMisscheduled": 0,
                "numberReady": ready, "updatedNumberScheduled": 3 } }))
            .expect("a DaemonSet")
        };
        let resizer = |updated: i32| -> Deployment {
            serde_json::from_value(json!({ "metadata": { "generation": 1 }, "spec": {
                "selector": {}, "template": {} }, "status": { "observedGeneration": 1,
                "updatedReplicas": updated } }))
            .expect("a Deployment")
        };
        assert_eq!(lacking(&set(3), &resizer(1)), None);
        let told = lacking(&set(2), &resizer(1)).expect("a node is missing");
        assert!(told.contains("2 of 3"), "{told}");
        assert!(lacking(&set(3), &resizer(0)).is_some());
    }

    #[test]
    fn the_manifest_is_of_this_class_and_image() {
        let repository = Repository::find().expect("the repository");
        let text = repository.read(MANIFEST).expect("the manifest");
        let objects = parse(MANIFEST, &text).expect("objects");
        let class = objects.iter().find(|object| {
            object
                .types
                .as_ref()
                .is_some_and(|types| types.kind == "StorageClass")
        });
        let class = class.expect("a class");
        assert_eq!(class.metadata.name.as_deref(), Some(GROWING.class));
        assert_eq!(class.data["allowVolumeExpansion"], true);
        assert!(text.contains(IMAGE) && text.contains(NAMESPACE));
    }
}
