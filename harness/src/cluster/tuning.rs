//! What nodes need that share one kernel and its processors. Only for clusters of our own; each step does only what is
//! missing.

use bollard::models::ContainerUpdateBody;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, ClusterError, Progress};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Watches of files that one user may have. Every kubelet and containerd wants a few, all nodes share one kernel and
/// one user, and where they run out a restarted node never comes back ("too many open files"); the usual default is
/// 128.
const WATCH_LIMIT: u32 = 1024;

/// Raises that limit from inside a node, which works wherever Docker runs; never lowers it.
pub(super) async fn raise_watch_limit(
    cluster: &Cluster,
    progress: &Progress,
) -> Result<(), ClusterError> {
    let Some(node) = cluster.nodes.first() else {
        return Ok(());
    };
    let key = "fs.inotify.max_user_instances";
    let script = format!(
        "n=$(sysctl -n {key}); [ \"$n\" -ge {WATCH_LIMIT} ] || {{ sysctl -qw {key}={WATCH_LIMIT} && echo \"$n\"; }}"
    );
    match cluster.shell(&node.name)?.run(&script).await {
        Ok(output) if output.success() && !output.stdout.trim().is_empty() => {
            progress.say(&format!(
                "{key} raised from {} to {WATCH_LIMIT}: nodes need it",
                output.stdout.trim()
            ));
        }
        Ok(output) if output.success() => {}
        Ok(output) => progress.say(&format!(
            "{key} is below {WATCH_LIMIT} and stays there: {}",
            output.stderr.trim()
        )),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Weight of a control plane's container beside its workers', which have Docker's 1024 each.
const CONTROL_PLANE_SHARES: i64 = 4096;

/// Gives the control plane more processor time than a worker where they compete. Elsewhere it has machines of its own;
/// here the API server, its etcd and the controllers would get a sixth of what all nodes share, and every write of the
/// operator would wait for whatever pods start meanwhile.
pub(super) async fn favour_control_plane(cluster: &Cluster) -> Result<(), ClusterError> {
    for node in cluster.control_planes() {
        let (docker, container) = cluster.container(node)?;
        let shares = ContainerUpdateBody {
            cpu_shares: Some(CONTROL_PLANE_SHARES),
            ..ContainerUpdateBody::default()
        };
        let updated = docker.update_container(&container, shares).await;
        updated.map_err(|source| ClusterError::CallDocker {
            action: format!("give node {container:?} processor time"),
            source,
        })?;
    }
    Ok(())
}

/// Gives every kube-proxy a request for processor time, as managed clusters do. kubeadm asks for none, which is the
/// lowest weight there is: where all nodes share a few cores, updates of service endpoints then wait for everything
/// else that a failover causes (64 to 128 ms instead of 4 to 8).
pub(super) async fn give_proxies_a_share(cluster: &Cluster) -> Result<(), ClusterError> {
    let containers = json!([{ "name": PROXY, "resources": { "requests": { "cpu": "100m" } } }]);
    let patch = json!({ "spec": {
        "updateStrategy": { "rollingUpdate": { "maxUnavailable": "100%" } },
        "template": { "spec": { "containers": containers } },
    }});
    let patched = proxies(&cluster.kube)
        .patch(PROXY, &PatchParams::default(), &Patch::Strategic(patch))
        .await;
    match patched {
        // Something else forwards services there.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(ClusterError::CallApi {
            action: "patch the DaemonSet kube-proxy",
            context: cluster.context.clone(),
            message: source.to_string(),
        }),
        Ok(_) => Ok(()),
    }
}

/// Waits until every node runs the kube-proxy that is wanted.
pub(super) async fn wait_proxies(kube: &kube::Client) -> Result<(), ClusterError> {
    let what = "kube-proxy runs in every node";
    let api = proxies(kube);
    wait_until(what, timeouts::OPERATOR_AVAILABLE, async || {
        match api.get_opt(PROXY).await {
            Err(error) => Poll::NotYet::<(), String>(error.to_string()),
            Ok(None) => Poll::Ready(()),
            Ok(Some(set)) => rolled_out(&set),
        }
    })
    .await
    .map_err(|error| ClusterError::AwaitNodes {
        message: error.to_string(),
    })
}

fn rolled_out(set: &DaemonSet) -> Poll<(), String> {
    let Some(status) = &set.status else {
        return Poll::NotYet("no status".into());
    };
    let wanted = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let available = status.number_available.unwrap_or(0);
    if status.observed_generation == set.metadata.generation
        && updated == wanted
        && available == wanted
    {
        return Poll::Ready(());
    }
    Poll::NotYet(format!(
        "{updated} updated and {available} available of {wanted}"
    ))
}

const PROXY: &str = "kube-proxy";

fn proxies(kube: &kube::Client) -> Api<DaemonSet> {
    Api::namespaced(kube.clone(), "kube-system")
}
