//! Collecting what there is to see, when something went wrong: objects as YAML, logs of pods (also of the container
//! before this one), what the nodes' own services say. One that cannot be had never stops the rest; it is named in
//! `missing.txt`.

use std::path::{Path, PathBuf};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DynamicObject, ListParams, LogParams};
use kube::discovery::{ApiResource, Discovery, Scope, verbs};
use kube::{Api, Client, ResourceExt};

use crate::cluster::Cluster;
use crate::deploy::{DeployError, operator};

/// Most bytes of one container's log.
const LOG_BYTES: i64 = 20 << 20;

/// Where things are written, and what was not to be had.
struct Collection {
    dir: PathBuf,
    missing: Vec<String>,
}

impl Collection {
    fn write(&mut self, relative: &str, text: &str) -> Result<(), DeployError> {
        let path = self.dir.join(relative);
        let fail = |source| DeployError::Write {
            path: path.clone(),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        std::fs::write(&path, text).map_err(|source| DeployError::Write {
            path: path.clone(),
            source,
        })
    }

    fn lacks(&mut self, what: &str, error: impl std::fmt::Display) {
        self.missing.push(format!("{what}: {error}"));
    }

    fn finish(mut self) -> Result<(), DeployError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let text = self.missing.join("\n") + "\n";
        self.write("missing.txt", &text)
    }
}

/// Everything of one namespace: `objects/`, `logs/`; and the operator's logs.
///
/// # Errors
/// Only when nothing can be written.
pub async fn collect_namespace(
    cluster: &Cluster,
    namespace: &str,
    dir: &Path,
) -> Result<(), DeployError> {
    let mut collection = Collection {
        dir: dir.to_owned(),
        missing: Vec::new(),
    };
    objects(&cluster.kube, Some(namespace), &mut collection).await?;
    logs(&cluster.kube, namespace, &mut collection).await?;
    if namespace != operator::NAMESPACE {
        logs(&cluster.kube, operator::NAMESPACE, &mut collection).await?;
    }
    collection.finish()
}

/// Everything for a bug report: all objects, the logs of tests', the operator's and the system's pods, and of the nodes.
///
/// # Errors
/// Only when nothing can be written.
pub async fn collect_cluster(cluster: &Cluster, dir: &Path) -> Result<(), DeployError> {
    let mut collection = Collection {
        dir: dir.to_owned(),
        missing: Vec::new(),
    };
    objects(&cluster.kube, None, &mut collection).await?;
    let namespaces: Api<Namespace> = Api::all(cluster.kube.clone());
    match namespaces.list(&ListParams::default()).await {
        Ok(listed) => {
            for namespace in listed.items {
                logs(&cluster.kube, &namespace.name_any(), &mut collection).await?;
            }
        }
        Err(error) => collection.lacks("namespaces", error),
    }
    nodes(cluster, &mut collection).await?;
    collection.finish()
}

/// Every kind that can be listed but secrets, one file a kind and namespace.
async fn objects(
    kube: &Client,
    namespace: Option<&str>,
    collection: &mut Collection,
) -> Result<(), DeployError> {
    let discovery = match Discovery::new(kube.clone()).run().await {
        Ok(discovery) => discovery,
        Err(error) => {
            collection.lacks("kinds of objects", error);
            return Ok(());
        }
    };
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let namespaced = capabilities.scope == Scope::Namespaced;
            let wanted = capabilities.supports_operation(verbs::LIST)
                && resource.kind != "Secret"
                && !(resource.kind == "Event" && resource.group.is_empty())
                && (namespaced || namespace.is_none() || resource.kind == "PersistentVolume");
            if wanted {
                list(
                    kube,
                    namespace.filter(|_| namespaced),
                    &resource,
                    collection,
                )
                .await?;
            }
        }
    }
    Ok(())
}

async fn list(
    kube: &Client,
    namespace: Option<&str>,
    resource: &ApiResource,
    collection: &mut Collection,
) -> Result<(), DeployError> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(kube.clone(), namespace, resource),
        None => Api::all_with(kube.clone(), resource),
    };
    let file = format!(
        "objects/{}.{}.yaml",
        resource.plural,
        if resource.group.is_empty() {
            "core"
        } else {
            &resource.group
        }
    );
    match api.list(&ListParams::default()).await {
        Err(error) => collection.lacks(&file, error),
        Ok(listed) if listed.items.is_empty() => {}
        Ok(mut listed) => {
            for item in &mut listed.items {
                item.metadata.managed_fields = None;
            }
            match serde_saphyr::to_string(&listed.items) {
                Ok(text) => collection.write(&file, &text)?,
                Err(error) => collection.lacks(&file, error),
            }
        }
    }
    Ok(())
}

/// Logs of every container of every pod of a namespace.
async fn logs(
    kube: &Client,
    namespace: &str,
    collection: &mut Collection,
) -> Result<(), DeployError> {
    let api: Api<Pod> = Api::namespaced(kube.clone(), namespace);
    let pods = match api.list(&ListParams::default()).await {
        Ok(listed) => listed.items,
        Err(error) => {
            collection.lacks(&format!("pods of {namespace}"), error);
            return Ok(());
        }
    };
    for pod in pods {
        let name = pod.name_any();
        let status = pod.status.unwrap_or_default();
        let containers = status
            .init_container_statuses
            .unwrap_or_default()
            .into_iter();
        for container in containers.chain(status.container_statuses.unwrap_or_default()) {
            let file = format!("logs/{namespace}/{name}.{}", container.name);
            for previous in [false, true] {
                if previous && container.restart_count == 0 {
                    continue;
                }
                let params = LogParams {
                    container: Some(container.name.clone()),
                    previous,
                    timestamps: true,
                    limit_bytes: Some(LOG_BYTES),
                    ..Default::default()
                };
                let file = if previous {
                    format!("{file}.previous.log")
                } else {
                    format!("{file}.log")
                };
                match api.logs(&name, &params).await {
                    Ok(text) => collection.write(&file, &text)?,
                    Err(error) => collection.lacks(&file, error),
                }
            }
        }
    }
    Ok(())
}

/// What nodes say of themselves.
async fn nodes(cluster: &Cluster, collection: &mut Collection) -> Result<(), DeployError> {
    let asked = [
        (
            "kubelet.log",
            "journalctl --no-pager -u kubelet | tail -n 20000",
        ),
        (
            "containerd.log",
            "journalctl --no-pager -u containerd | tail -n 20000",
        ),
        (
            "state.txt",
            "uptime; df -h; ps -eo pid,stat,rss,args --sort=-rss | head -n 60; ip -br addr; ip route; nft list ruleset; iptables-save; ss -tnp | head -n 200; dmesg 2>/dev/null | tail -n 200",
        ),
    ];
    for node in &cluster.nodes {
        let shell = match cluster.shell(&node.name) {
            Ok(shell) => shell,
            Err(error) => {
                collection.lacks(&format!("node {}", node.name), error);
                continue;
            }
        };
        let answers = join_all(asked.map(|(_, script)| shell.run(script))).await;
        for ((file, _), answer) in asked.into_iter().zip(answers) {
            let file = format!("nodes/{}/{file}", node.name);
            match answer {
                Ok(output) => collection.write(&file, &(output.stdout + &output.stderr))?,
                Err(error) => collection.lacks(&file, error),
            }
        }
    }
    Ok(())
}
