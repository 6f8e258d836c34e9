//! What can go wrong with a cluster: the failed action, where, and what to do next.

use crate::cluster::{LockError, RepositoryError, ShellError};

/// A failed action on a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No kubeconfig, or a broken one.
    #[error("failed to read the kubeconfig{}: {source}", of(path))]
    ReadKubeconfig {
        /// Its path, when one was named.
        path: Option<String>,
        /// Cause.
        source: kube::config::KubeconfigError,
    },
    /// The context cannot be used.
    #[error("failed to find context {context:?}: {source}; `harness up` makes the cluster")]
    FindContext {
        /// The context.
        context: String,
        /// Cause.
        source: kube::config::KubeconfigError,
    },
    /// The API server cannot be reached or refuses.
    #[error(
        "failed to {action} through context {context:?}: {message}; `harness status` and `harness doctor` say more"
    )]
    CallApi {
        /// What was asked.
        action: &'static str,
        /// The context.
        context: String,
        /// Cause.
        message: String,
    },
    /// Docker cannot be reached.
    #[error("failed to reach Docker: {message}; start it, or set DOCKER_HOST")]
    ReachDocker {
        /// Cause.
        message: String,
    },
    /// A call to Docker failed.
    #[error("failed to {action}: {source}")]
    CallDocker {
        /// What was asked.
        action: String,
        /// Cause.
        source: bollard::errors::Error,
    },
    /// The cluster's nodes are no containers that we can reach.
    #[error("failed to open a shell in node {node:?}: {reason}")]
    NoNodeShell {
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// There is no network to give addresses of.
    #[error(
        "failed to find the network of node {node:?}: {reason}; load balancers are imitated only where nodes are \
         containers of the Docker that answers here"
    )]
    NoNetwork {
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// A command in a node failed.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// A script below `images/` failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Another process uses the cluster.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Nodes did not become ready.
    #[error("failed to get all nodes ready: {message}; `harness logs` collects what they say")]
    AwaitNodes {
        /// What is missing.
        message: String,
    },
    /// The cluster's nodes are of another image than the one that is named.
    #[error(
        "failed to use ETCD_HARNESS_NODE_IMAGE {asked:?}: the nodes of cluster {cluster:?} are of {image:?}; delete it first \
         (`harness down`), or choose another name by ETCD_HARNESS_CLUSTER"
    )]
    OtherNodeImage {
        /// The cluster.
        cluster: String,
        /// What its nodes are made of.
        image: String,
        /// What is named.
        asked: String,
    },
    /// A node image is named, and the cluster is not one that is made.
    #[error(
        "failed to use ETCD_HARNESS_NODE_IMAGE {asked:?}: the cluster exists, and the harness makes no nodes for it; unset the \
         variable"
    )]
    NoNodesToMake {
        /// What is named.
        asked: String,
    },
    /// The cluster was not made by us.
    #[error(
        "failed to {action}: context {context:?} is an existing cluster, which the harness never {done}"
    )]
    NotOurs {
        /// What was asked.
        action: &'static str,
        /// The context.
        context: String,
        /// The same in the past.
        done: &'static str,
    },
}

fn of(path: &Option<String>) -> String {
    path.as_ref()
        .map(|path| format!(" {path:?}"))
        .unwrap_or_default()
}
