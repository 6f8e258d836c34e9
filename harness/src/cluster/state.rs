//! The state of the nodes as the API server tells it, and waiting for them to be ready.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::Api;

use crate::cluster::{Cluster, ClusterError, taint};
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// A node as the API server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Name.
    pub name: String,
    /// UID: another one means that the node was registered again.
    pub uid: String,
    /// `True`, `False` or `Unknown` (no news from its kubelet).
    pub ready: String,
    /// True when it takes no new pods.
    pub cordoned: bool,
    /// True when it is declared out of service.
    pub out_of_service: bool,
    /// Kubelet's version.
    pub version: String,
    /// Identifier of its boot.
    pub boot_id: String,
}

/// All nodes, by name.
///
/// # Errors
/// When the API server does not answer in time.
pub async fn node_states(kube: &kube::Client) -> Result<Vec<NodeState>, String> {
    let api: Api<KubeNode> = Api::all(kube.clone());
    let params = kube::api::ListParams::default();
    let listed = tokio::time::timeout(timeouts::API_CALL, api.list(&params))
        .await
        .map_err(|_| "the API server gives no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    Ok(listed.items.iter().map(state_of).collect())
}

fn state_of(node: &KubeNode) -> NodeState {
    let status = node.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .find(|c| c.type_ == "Ready");
    let info = status.node_info;
    NodeState {
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        ready: ready.map_or_else(|| "Unknown".to_owned(), |condition| condition.status),
        cordoned: node
            .spec
            .as_ref()
            .and_then(|spec| spec.unschedulable)
            .unwrap_or(false),
        out_of_service: taint::is_on(node),
        version: info
            .as_ref()
            .map(|info| info.kubelet_version.clone())
            .unwrap_or_default(),
        boot_id: info.map(|info| info.boot_id).unwrap_or_default(),
    }
}

/// Waits until all of `names` are Ready.
///
/// # Errors
/// [`ClusterError::AwaitNodes`] with the nodes that are not.
pub async fn wait_nodes_ready(
    kube: &kube::Client,
    names: &[String],
    limit: Duration,
) -> Result<(), ClusterError> {
    wait_every(
        timeouts::POLL_SLOW,
        "nodes ready",
        limit,
        async || match node_states(kube).await {
            Err(error) => Poll::NotYet::<(), String>(error),
            Ok(states) => {
                let missing: Vec<String> = names
                    .iter()
                    .filter_map(
                        |name| match states.iter().find(|state| &state.name == name) {
                            None => Some(format!("{name} not registered")),
                            Some(state) if state.ready != "True" => {
                                Some(format!("{name} Ready={}", state.ready))
                            }
                            Some(_) => None,
                        },
                    )
                    .collect();
                if missing.is_empty() {
                    Poll::Ready(())
                } else {
                    Poll::NotYet(missing.join(", "))
                }
            }
        },
    )
    .await
    .map_err(|error| ClusterError::AwaitNodes {
        message: error.to_string(),
    })
}

/// True in a node whose kubelet is alive.
pub(crate) const KUBELET_ANSWERS: &str =
    "curl -s -f -m 1 -o /dev/null http://127.0.0.1:10248/healthz";

/// Waits until the kubelets of `names` answer in their nodes and the nodes are Ready. The API server alone would say so
/// of a node that was restarted a moment ago, for it has not missed anything yet.
///
/// # Errors
/// [`ClusterError::AwaitNodes`] with the node that does not come back.
pub async fn wait_nodes_back(
    cluster: &Cluster,
    names: &[String],
    limit: Duration,
) -> Result<(), ClusterError> {
    for name in names {
        let shell = cluster.shell(name)?;
        let what = format!("the kubelet of {name} answers");
        wait_every(timeouts::POLL_NODES, what, limit, async || {
            match shell.run(KUBELET_ANSWERS).await {
                Ok(output) if output.success() => Poll::Ready(()),
                Ok(_) => Poll::NotYet("it does not".into()),
                Err(error) => Poll::NotYet::<_, String>(error.to_string()),
            }
        })
        .await
        .map_err(|error| ClusterError::AwaitNodes {
            message: error.to_string(),
        })?;
    }
    wait_nodes_ready(&cluster.kube, names, limit).await
}
