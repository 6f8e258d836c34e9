//! KubeBlocks' own manifests, applied unchanged: every Cluster in the folder's `cluster.yaml` comes up.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::Value;

use super::checklist::Checklist;
use super::{found, not_there};
use crate::scenario::Lab;
use crate::scenario::runner::Found;
use crate::scenario::subject::{MANAGER, Subject, cluster_resource};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// A Cluster that asks for half a core a member is up.
const UP: Duration = Duration::from_secs(120);

/// The file of the folder that makes a cluster; the others change one.
const FILE: &str = "cluster.yaml";

pub(crate) async fn manifests(lab: &Lab, subject: &Subject) -> Found {
    let Some(folder) = &lab.manifests else {
        return not_there(
            "manifests",
            "no folder of manifests was given: ETCD_HARNESS_KUBEBLOCKS_EXAMPLES",
        );
    };
    let clusters = match read(&folder.join(FILE)) {
        Ok(clusters) if !clusters.is_empty() => clusters,
        Ok(_) => return not_there("manifests", "no Cluster in the manifests"),
        Err(error) => return not_there("manifests", &error),
    };
    let mut list = Checklist::new("manifests", lab.live.clone());
    for cluster in clusters {
        let outcome = apply(subject, &cluster).await;
        list.came_about(
            format!("Cluster {} comes up", cluster["metadata"]["name"]),
            outcome,
        );
    }
    found(list)
}

/// The Clusters of a file with several documents.
fn read(path: &Path) -> Result<Vec<Value>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    Ok(documents
        .into_iter()
        .filter(|document| document["kind"] == "Cluster")
        .collect())
}

/// Applies one in the namespace that it names (made if need be), waits for it, deletes it again.
async fn apply(subject: &Subject, cluster: &Value) -> Result<(), String> {
    let name = cluster["metadata"]["name"]
        .as_str()
        .ok_or("a Cluster without a name")?;
    let namespace = cluster["metadata"]["namespace"]
        .as_str()
        .unwrap_or(&subject.namespace);
    let made = namespace != subject.namespace && make_namespace(subject, namespace).await?;
    let api: Api<DynamicObject> =
        Api::namespaced_with(subject.kube.clone(), namespace, &cluster_resource());
    api.patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(cluster))
        .await
        .map_err(|error| error.to_string())?;
    let up = wait_until(format!("Cluster {name} to run"), UP, async || {
        match api.get(name).await {
            Ok(object) => match object.data["status"]["phase"].as_str() {
                Some("Running") => Poll::Ready(()),
                phase => Poll::NotYet::<(), String>(format!(
                    "phase {phase:?}: {}",
                    object.data["status"]["conditions"]
                )),
            },
            Err(error) => Poll::NotYet(error.to_string()),
        }
    })
    .await
    .map_err(|error| error.to_string());
    // Its own finding is worth more than that of the cleaning up.
    let deleted = api
        .delete(name, &DeleteParams::default())
        .await
        .map(drop)
        .map_err(|error| error.to_string());
    let cleared = if made {
        clear(subject, namespace).await
    } else {
        Ok(())
    };
    up.and(deleted).and(cleared)
}

/// True when it was not there before.
async fn make_namespace(subject: &Subject, name: &str) -> Result<bool, String> {
    let api: Api<Namespace> = Api::all(subject.kube.clone());
    let mut object = Namespace::default();
    object.metadata.name = Some(name.to_owned());
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Deletes a namespace that was made here, and waits until it is gone: its volumes go with it.
async fn clear(subject: &Subject, name: &str) -> Result<(), String> {
    let api: Api<Namespace> = Api::all(subject.kube.clone());
    let deleted = api.delete(name, &DeleteParams::default()).await;
    deleted.map_err(|error| error.to_string())?;
    let what = format!("namespace {name} gone");
    wait_until(what, timeouts::NAMESPACE_GONE, async || {
        match api.get_opt(name).await {
            Ok(None) => Poll::Ready(()),
            Ok(Some(_)) => Poll::NotYet("it is still there".to_owned()),
            Err(error) => Poll::NotYet::<_, String>(error.to_string()),
        }
    })
    .await
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clusters_are_taken_from_a_file() {
        let text = "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: apps.kubeblocks.io/v1\nkind: Cluster\n\
                    metadata:\n  name: c\n  namespace: demo\n";
        let clusters = parse(text).expect("documents");
        assert_eq!(clusters.len(), 1);
        assert_eq!(clusters[0]["metadata"]["namespace"], "demo");
    }
}
