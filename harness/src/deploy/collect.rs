//! Collecting what there is to see, when something went wrong: objects as YAML, logs of pods (also of the container
//! before this one), what the nodes' own services say. One that cannot be had never stops the rest; it is named in
//! `missing.txt`.

use std::path::{Path, PathBuf};

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DynamicObject, ListParams, LogParams};
use kube::discovery::{ApiResource, Discovery, Scope, verbs};
use kube::{Api, Client, ResourceExt};

use crate::cluster::Cluster;
use crate::deploy::{DeployError, operator};

/// Most bytes of one container's log.
const LOG_BYTES: i64 = 20 << 20;

/// Requests on their way at a time: most of one's time is waiting.
const AT_ONCE: usize = 8;

/// A file's text, where there is any, or why it was not to be had.
struct Had {
    file: String,
    text: Result<Option<String>, String>,
}

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

    fn take(&mut self, had: Had) -> Result<(), DeployError> {
        match had.text {
            Ok(Some(text)) => self.write(&had.file, &text),
            Ok(None) => Ok(()),
            Err(error) => {
                self.lacks(&had.file, error);
                Ok(())
            }
        }
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
pub(crate) async fn collect_namespace(
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

/// Everything for a bug report: all objects, the logs of tests', the operator's and the system's pods, and of the
/// nodes.
///
/// # Errors
/// Only when nothing can be written.
pub(crate) async fn collect_cluster(cluster: &Cluster, dir: &Path) -> Result<(), DeployError> {
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
    // Two requests where one for each group would be dozens; an API server before 1.30 may not have it.
    let discovered = match Discovery::new(kube.clone()).run_aggregated().await {
        Ok(discovery) => Ok(discovery),
        Err(_) => Discovery::new(kube.clone()).run().await,
    };
    let discovery = match discovered {
        Ok(discovery) => discovery,
        Err(error) => {
            collection.lacks("kinds of objects", error);
            return Ok(());
        }
    };
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let namespaced = capabilities.scope == Scope::Namespaced;
            let wanted = capabilities.supports_operation(verbs::LIST)
                && resource.kind != "Secret"
                && !(resource.kind == "Event" && resource.group.is_empty())
                && (namespaced || namespace.is_none() || resource.kind == "PersistentVolume");
            if wanted {
                kinds.push((namespace.filter(|_| namespaced), resource));
            }
        }
    }
    let kinds = stream::iter(kinds);
    let mut files = kinds
        .map(|(namespace, resource)| list(kube, namespace, resource))
        .buffered(AT_ONCE);
    while let Some(file) = files.next().await {
        collection.take(file)?;
    }
    Ok(())
}

/// All objects of a kind as YAML.
async fn list(kube: &Client, namespace: Option<&str>, resource: ApiResource) -> Had {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(kube.clone(), namespace, &resource),
        None => Api::all_with(kube.clone(), &resource),
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
    let text = match api.list(&ListParams::default()).await {
        Err(error) => Err(error.to_string()),
        Ok(mut listed) => {
            for item in &mut listed.items {
                item.metadata.managed_fields = None;
            }
            match listed.items.as_slice() {
                [] => Ok(None),
                items => serde_saphyr::to_string(&items)
                    .map(Some)
                    .map_err(|error| error.to_string()),
            }
        }
    };
    Had { file, text }
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
    let wanted = stream::iter(pods.iter().flat_map(logs_of));
    let mut files = wanted
        .map(|(pod, params)| log(&api, namespace, pod, params))
        .buffered(AT_ONCE);
    while let Some(file) = files.next().await {
        collection.take(file)?;
    }
    Ok(())
}

/// A pod's logs that there are: of each container, and of the one before it where it was restarted.
fn logs_of(pod: &Pod) -> Vec<(String, LogParams)> {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status
        .init_container_statuses
        .unwrap_or_default()
        .into_iter();
    let mut wanted = Vec::new();
    for container in containers.chain(status.container_statuses.unwrap_or_default()) {
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
            wanted.push((pod.name_any(), params));
        }
    }
    wanted
}

async fn log(api: &Api<Pod>, namespace: &str, pod: String, params: LogParams) -> Had {
    let container = params.container.as_deref().unwrap_or_default();
    let previous = if params.previous { ".previous" } else { "" };
    let file = format!("logs/{namespace}/{pod}.{container}{previous}.log");
    let text = api.logs(&pod, &params).await;
    Had {
        file,
        text: text.map(Some).map_err(|error| error.to_string()),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_that_was_restarted_has_two_logs() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "status": { "containerStatuses": [
                { "name": "etcd", "restartCount": 2, "image": "", "imageID": "", "ready": true },
                { "name": "kbagent", "restartCount": 0, "image": "", "imageID": "", "ready": true },
            ]},
        }))
        .expect("a pod");
        let logs = logs_of(&pod);
        let told: Vec<_> = logs
            .iter()
            .map(|(_, params)| {
                (
                    params.container.as_deref().unwrap_or_default(),
                    params.previous,
                )
            })
            .collect();
        assert_eq!(told, [("etcd", false), ("etcd", true), ("kbagent", false)]);
    }

    #[test]
    fn what_was_not_to_be_had_is_named_and_stops_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut collection = Collection {
            dir: dir.path().to_owned(),
            missing: Vec::new(),
        };
        for (file, text) in [
            ("logs/a.log", Ok(Some("seen".to_owned()))),
            ("logs/b.log", Err("it is unavailable".to_owned())),
            ("objects/c.yaml", Ok(None)),
            ("logs/d.log", Ok(Some("seen".to_owned()))),
        ] {
            let file = file.to_owned();
            collection.take(Had { file, text }).expect("a write");
        }
        collection.finish().expect("a write");
        let read = |file: &str| std::fs::read_to_string(dir.path().join(file));
        assert_eq!(
            read("missing.txt").expect("a list"),
            "logs/b.log: it is unavailable\n"
        );
        assert!(read("logs/d.log").is_ok() && read("objects/c.yaml").is_err());
    }
}
