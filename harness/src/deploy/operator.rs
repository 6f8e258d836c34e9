//! The operator: everything of the repository's `deploy/`, applied in order, and waiting until it is available.

use std::path::Path;

use bollard::Docker;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};

use crate::cluster::{Cluster, Repository, RepositoryError};
use crate::deploy::{DeployError, apply, parse};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Namespace of the operator.
pub(crate) const NAMESPACE: &str = "kb-system";
/// Labels of the operator's pods and of its Deployment.
pub(crate) const POD_LABELS: &str = "app.kubernetes.io/name=etcd-operator";
/// Folders below `deploy/` that are not part of an installation.
const NOT_INSTALLED: [&str; 4] = ["chart", "krew", "monitoring", "samples"];

/// Applies CRDs first, then the rest, in the order of file names; returns the number of objects.
///
/// # Errors
/// Names the manifest that is missing or refused.
pub(crate) async fn install(
    cluster: &Cluster,
    repository: &Repository,
) -> Result<usize, DeployError> {
    let mut objects = Vec::new();
    for file in manifests(&repository.path("deploy"))? {
        objects.extend(parse(&file, &repository.read(&format!("deploy/{file}"))?)?);
    }
    objects.sort_by_key(rank);
    name_builds(&mut objects, cluster).await;
    apply(&cluster.kube, NAMESPACE, &objects).await?;
    Ok(objects.len())
}

/// Says in each template which build of its image is meant, where images were built here.
pub(super) async fn name_builds(objects: &mut [DynamicObject], cluster: &Cluster) {
    if let Some(docker) = cluster.docker.as_ref().filter(|_| cluster.own) {
        for object in objects {
            name_build(object, docker).await;
        }
    }
}

/// Annotation of the operator's pods: identifier of the image that was loaded into the nodes.
const BUILD: &str = "etcd-harness/image-id";

/// Writes into a Deployment's template which build of its image is meant. The tag stays the same from build to build,
/// so without it a new build would be loaded and never started.
async fn name_build(object: &mut DynamicObject, docker: &Docker) {
    let Some(image) = object
        .data
        .pointer("/spec/template/spec/containers/0/image")
    else {
        return;
    };
    let image = image.as_str().unwrap_or_default().to_owned();
    // An image that Docker does not have was not built here: its tag says all.
    let Ok(found) = docker.inspect_image(&image).await else {
        return;
    };
    if let (Some(template), Some(id)) = (object.data.pointer_mut("/spec/template"), found.id) {
        template["metadata"]["annotations"][BUILD] = id.into();
    }
}

/// What must be there before what refers to it. The sort is stable: within a rank the files' order stands.
fn rank(object: &DynamicObject) -> u8 {
    match object
        .types
        .as_ref()
        .map_or("", |types| types.kind.as_str())
    {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        _ => 2,
    }
}

/// Paths of the manifests, relative to `root`, in their order: folders first (`crds/`), then names.
fn manifests(root: &Path) -> Result<Vec<String>, RepositoryError> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let read = |source| RepositoryError::Read {
            path: path.clone(),
            source,
        };
        for entry in std::fs::read_dir(&path).map_err(read)? {
            let entry = entry.map_err(|source| RepositoryError::Read {
                path: path.clone(),
                source,
            })?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let relative = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            if entry.path().is_dir() {
                if !NOT_INSTALLED.contains(&name.as_str()) {
                    folders.push(relative);
                }
            } else if Path::new(&name)
                .extension()
                .is_some_and(|ext| ext == "yaml" || ext == "yml")
                && !name.starts_with("kustomization")
            {
                found.push(relative);
            }
        }
    }
    found.sort_by_key(|path| (!path.contains('/'), path.clone()));
    Ok(found)
}

/// Waits until every Deployment of the operator has all its replicas available, at the newest generation.
///
/// # Errors
/// [`DeployError::Await`] with what is missing.
pub(crate) async fn wait_available(kube: &Client) -> Result<(), DeployError> {
    let api: Api<Deployment> = Api::namespaced(kube.clone(), NAMESPACE);
    let what = "the operator available";
    wait_until(what, timeouts::OPERATOR_AVAILABLE, async || {
        match api.list(&ListParams::default()).await {
            Err(error) => Poll::NotYet::<(), String>(error.to_string()),
            Ok(listed) if listed.items.is_empty() => {
                Poll::NotYet(format!("no deployment in namespace {NAMESPACE}"))
            }
            Ok(listed) => {
                let missing: Vec<String> = listed.items.iter().filter_map(missing).collect();
                if missing.is_empty() {
                    Poll::Ready(())
                } else {
                    Poll::NotYet(missing.join(", "))
                }
            }
        }
    })
    .await
    .map_err(|error| DeployError::Await {
        what: what.into(),
        seen: error.to_string(),
    })
}

/// What is missing until a Deployment is complete; `None` when nothing.
fn missing(deployment: &Deployment) -> Option<String> {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let (available, updated) = (
        status.available_replicas.unwrap_or(0),
        status.updated_replicas.unwrap_or(0),
    );
    let seen = status.observed_generation >= deployment.metadata.generation;
    let settled =
        seen && available >= wanted && updated >= wanted && status.replicas.unwrap_or(0) == wanted;
    (!settled).then(|| {
        format!(
            "{}: {available} of {wanted} available, {updated} updated",
            deployment.name_any()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_first_and_what_is_not_installed_never() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for folder in ["chart", "crds", "krew", "monitoring", "samples"] {
            std::fs::create_dir(dir.path().join(folder)).expect("create");
        }
        for file in [
            "rbac.yaml",
            "crds/b.yaml",
            "crds/a.yaml",
            "samples/c.yaml",
            "chart/values.yaml",
            "krew/plugin.yaml",
            "monitoring/rule.yaml",
            "Kustomization",
            "README.md",
            "operator.yaml",
        ] {
            std::fs::write(dir.path().join(file), "").expect("write");
        }
        let found = manifests(dir.path()).expect("list");
        assert_eq!(
            found,
            ["crds/a.yaml", "crds/b.yaml", "operator.yaml", "rbac.yaml"]
        );
    }

    #[test]
    fn an_old_status_is_not_available() {
        let mut deployment = Deployment::default();
        deployment.metadata.generation = Some(2);
        let status = deployment.status.insert(Default::default());
        status.observed_generation = Some(1);
        status.replicas = Some(1);
        status.available_replicas = Some(1);
        status.updated_replicas = Some(1);
        assert!(missing(&deployment).is_some());
        deployment.metadata.generation = Some(1);
        assert_eq!(missing(&deployment), None);
    }
}
