//! Which cluster is meant, and the handle to it: a Kubernetes client, Docker where there is one, and the nodes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::time::Instant;

use crate::cluster::{ClusterError, ClusterLock, LockError, NodeShell, docker};
use crate::timeouts;
use crate::wait::pause;

/// How often a cluster that must be there is attached to.
const ATTEMPTS: usize = 3;

/// Which cluster is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Name of the kind cluster, when neither of the others is given.
    pub name: String,
    /// Kubeconfig of an existing cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Context of an existing cluster.
    pub context: Option<String>,
}

impl Choice {
    /// The kind cluster of this name.
    pub fn kind(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kubeconfig: None,
            context: None,
        }
    }

    /// The choice that the environment makes, for callers without a command line (the end-to-end tests):
    /// `ETCD_HARNESS_CLUSTER` names a kind cluster, `ETCD_HARNESS_CONTEXT` an existing one.
    pub fn from_env() -> Self {
        let name = std::env::var("ETCD_HARNESS_CLUSTER").unwrap_or_else(|_| "etcd-harness".into());
        Self {
            name,
            kubeconfig: None,
            context: std::env::var("ETCD_HARNESS_CONTEXT").ok(),
        }
    }

    /// True for a cluster that the harness makes and deletes itself.
    pub fn is_own(&self) -> bool {
        self.kubeconfig.is_none() && self.context.is_none()
    }

    /// The context, or `None` for the kubeconfig's current one.
    pub fn context_name(&self) -> Option<String> {
        if self.is_own() {
            Some(format!("kind-{}", self.name))
        } else {
            self.context.clone()
        }
    }
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRole {
    /// Runs the API server.
    ControlPlane,
    /// Runs pods.
    Worker,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: NodeRole,
    /// The container that is this node; `None` where nodes are no containers we can reach.
    pub container: Option<String>,
}

/// A cluster that answers.
#[derive(Clone)]
pub struct Cluster {
    /// Name of the kind cluster, or the context's name.
    pub name: String,
    /// Context in the kubeconfig.
    pub context: String,
    /// True for a cluster that the harness makes and deletes itself.
    pub own: bool,
    /// Client that asks exactly once: an answer 429 is a fact here (evictions), not something to repeat.
    pub kube: Client,
    /// Docker, where it answers.
    pub docker: Option<Docker>,
    /// The nodes, control plane first.
    pub nodes: Vec<Node>,
    /// A cluster is not deleted while a handle to it exists.
    _in_use: Option<Arc<ClusterLock>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("context", &self.context)
            .field("nodes", &self.nodes)
            .finish()
    }
}

impl Cluster {
    /// Attaches to a cluster that is there.
    ///
    /// # Errors
    /// When the kubeconfig, the context or the API server is not to be had, or it is being deleted.
    pub async fn attach(choice: &Choice) -> Result<Self, ClusterError> {
        let (config, context) = load_config(choice).await?;
        let kube = client(config, &context)?;
        let docker = docker::connect().await.ok();
        let name = context.strip_prefix("kind-").unwrap_or(&context);
        let mut cluster = Self {
            _in_use: in_use(name)?,
            name: name.to_owned(),
            context,
            own: choice.is_own(),
            kube,
            docker,
            nodes: Vec::new(),
        };
        cluster.nodes = cluster.list_nodes().await?;
        Ok(cluster)
    }

    /// As [`Self::attach`], asked again while the API server or Docker does not answer, for so long; tells each time
    /// why.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub async fn attach_within(
        choice: &Choice,
        limit: Duration,
        tell: impl FnMut(&ClusterError),
    ) -> Result<Self, ClusterError> {
        again(limit, tell, || Self::attach(choice)).await
    }

    /// As [`Self::attach`], for one that must be there with shells in its nodes: tried three times before it is not,
    /// for a busy Docker or API server does not always answer.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub async fn attach_required(choice: &Choice) -> Result<Self, ClusterError> {
        let mut attached = Self::attach(choice).await;
        for _ in 1..ATTEMPTS {
            if attached.as_ref().is_ok_and(Self::has_node_shells) {
                break;
            }
            pause(timeouts::POLL_SLOW).await;
            attached = Self::attach(choice).await;
        }
        attached
    }

    /// A cluster without nodes that the harness did not create, reached by this client.
    #[cfg(test)]
    pub(crate) fn of_client(kube: Client) -> Self {
        Self {
            name: "test".to_owned(),
            context: "test".to_owned(),
            own: false,
            kube,
            docker: None,
            nodes: Vec::new(),
            _in_use: None,
        }
    }

    /// Lists the nodes and the containers that they are.
    async fn list_nodes(&self) -> Result<Vec<Node>, ClusterError> {
        let api: Api<KubeNode> = Api::all(self.kube.clone());
        let params = kube::api::ListParams::default();
        let listed = tokio::time::timeout(timeouts::API_CALL, api.list(&params)).await;
        let listed = match listed {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => return Err(self.call_failed("list nodes", &error.to_string())),
            Err(_) => return Err(self.call_failed("list nodes", "no answer in time")),
        };
        let containers = match (&self.docker, self.context.strip_prefix("kind-")) {
            (Some(docker), Some(name)) => docker::kind_nodes(docker, name).await?,
            _ => Vec::new(),
        };
        let mut nodes: Vec<Node> = listed
            .items
            .into_iter()
            .map(|node| {
                let name = node.metadata.name.unwrap_or_default();
                let labels = node.metadata.labels.unwrap_or_default();
                let role = if labels.contains_key("node-role.kubernetes.io/control-plane") {
                    NodeRole::ControlPlane
                } else {
                    NodeRole::Worker
                };
                let container = containers
                    .iter()
                    .find(|c| c.name == name)
                    .map(|c| c.name.clone());
                Node {
                    name,
                    role,
                    container,
                }
            })
            .collect();
        nodes.sort_by_key(|node| (node.role != NodeRole::ControlPlane, node.name.clone()));
        Ok(nodes)
    }

    fn call_failed(&self, action: &'static str, message: &str) -> ClusterError {
        ClusterError::CallApi {
            action,
            context: self.context.clone(),
            message: message.to_owned(),
        }
    }

    /// A shell in the named node.
    ///
    /// # Errors
    /// When the node is no container of a Docker that answers.
    pub fn shell(&self, node: &str) -> Result<NodeShell, ClusterError> {
        let refuse = |reason: &str| ClusterError::NoNodeShell {
            node: node.to_owned(),
            reason: reason.to_owned(),
        };
        let docker = self
            .docker
            .clone()
            .ok_or_else(|| refuse("no Docker answers here"))?;
        let found = self.nodes.iter().find(|n| n.name == node);
        let found =
            found.ok_or_else(|| refuse("the cluster had no such node when it was attached to"))?;
        let container = found
            .container
            .clone()
            .ok_or_else(|| refuse("it is no container of the Docker that answers here"))?;
        Ok(NodeShell::new(docker, container))
    }

    /// Docker and the container of a node, for what happens to the node as a whole.
    ///
    /// # Errors
    /// As [`Self::shell`].
    pub fn container(&self, node: &str) -> Result<(Docker, String), ClusterError> {
        let shell = self.shell(node)?;
        Ok((shell.docker().clone(), shell.container().to_owned()))
    }

    /// Names of the worker nodes.
    pub fn workers(&self) -> Vec<&str> {
        let workers = self
            .nodes
            .iter()
            .filter(|node| node.role == NodeRole::Worker);
        workers.map(|node| node.name.as_str()).collect()
    }

    /// Names of the control-plane nodes.
    pub fn control_planes(&self) -> Vec<&str> {
        let planes = self
            .nodes
            .iter()
            .filter(|node| node.role == NodeRole::ControlPlane);
        planes.map(|node| node.name.as_str()).collect()
    }

    /// True when the nodes are containers that node faults can reach.
    pub fn has_node_shells(&self) -> bool {
        self.docker.is_some() && self.nodes.iter().all(|node| node.container.is_some())
    }
}

/// Asks until there is an answer or the limit has passed; what cannot change meanwhile is told at once.
async fn again<T, F: Future<Output = Result<T, ClusterError>>>(
    limit: Duration,
    mut tell: impl FnMut(&ClusterError),
    mut ask: impl FnMut() -> F,
) -> Result<T, ClusterError> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(error @ (ClusterError::CallApi { .. } | ClusterError::CallDocker { .. }))
                if begun.elapsed() < limit =>
            {
                tell(&error);
                pause(timeouts::POLL_SLOW).await;
            }
            told => return told,
        }
    }
}

/// The lock of one user of the cluster; none where this machine has no place for lock files.
fn in_use(name: &str) -> Result<Option<Arc<ClusterLock>>, ClusterError> {
    match ClusterLock::using(name) {
        Ok(lock) => Ok(Some(Arc::new(lock))),
        Err(error @ LockError::Held { .. }) => Err(error.into()),
        Err(error @ LockError::Open { .. }) => {
            tracing::debug!(%error, "the cluster is used without a lock");
            Ok(None)
        }
    }
}

async fn load_config(choice: &Choice) -> Result<(Config, String), ClusterError> {
    let path = choice
        .kubeconfig
        .as_ref()
        .map(|path| path.display().to_string());
    let kubeconfig = match &choice.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    }
    .map_err(|source| ClusterError::ReadKubeconfig { path, source })?;
    let context = choice
        .context_name()
        .or_else(|| kubeconfig.current_context.clone())
        .unwrap_or_default();
    let options = KubeConfigOptions {
        context: Some(context.clone()),
        ..Default::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|source| ClusterError::FindContext {
            context: context.clone(),
            source,
        })?;
    Ok((config, context))
}

fn client(mut config: Config, context: &str) -> Result<Client, ClusterError> {
    config.default_retry = false;
    config.connect_timeout = Some(timeouts::API_CALL);
    Client::try_from(config).map_err(|error| ClusterError::CallApi {
        action: "build a client",
        context: context.to_owned(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> ClusterError {
        ClusterError::CallApi {
            action: "list nodes",
            context: "kind-x".to_owned(),
            message: "no answer in time".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_does_not_answer_is_asked_again_for_a_while() {
        let asked = std::cell::Cell::new(0);
        let answers = |last: u32| {
            asked.set(asked.get() + 1);
            std::future::ready(match asked.get() {
                times if times < last => Err(busy()),
                times => Ok(times),
            })
        };
        let (limit, mut said) = (timeouts::EFFECT, Vec::new());
        let told = again(limit, |error| said.push(error.to_string()), || answers(3)).await;
        assert_eq!(told.expect("an answer"), 3);
        assert_eq!(said, [busy().to_string(), busy().to_string()]);
        let (begun, never) = (Instant::now(), u32::MAX);
        let told = again(limit, |_| (), || answers(never)).await;
        assert!(matches!(told, Err(ClusterError::CallApi { .. })));
        assert!(begun.elapsed() >= limit);
        asked.set(0);
        let told = again(
            limit,
            |_| panic!("it is asked again"),
            || {
                asked.set(asked.get() + 1);
                std::future::ready(Err::<(), _>(ClusterError::NoNodeShell {
                    node: "a".to_owned(),
                    reason: "it has none".to_owned(),
                }))
            },
        );
        assert!(told.await.is_err());
        assert_eq!(asked.get(), 1, "that does not change");
    }

    #[test]
    fn only_a_cluster_named_without_kubeconfig_and_context_is_ours() {
        let own = Choice::kind("x");
        assert!(own.is_own());
        assert_eq!(own.context_name().as_deref(), Some("kind-x"));
        let theirs = Choice {
            context: Some("kind-x".into()),
            ..own.clone()
        };
        assert!(!theirs.is_own());
        let file = Choice {
            kubeconfig: Some("/k".into()),
            ..own
        };
        assert_eq!(file.context_name(), None);
    }
}
