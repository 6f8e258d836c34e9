//! `harness status`: nodes, operator, etcd clusters, test namespaces that were kept.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};

use super::{CommandResult, Exit, TargetArgs};
use crate::cluster::{Cluster, node_states};
use crate::deploy::{cluster_resource, namespaces_left, operator};

/// Arguments of `harness status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(_: Args, target: &TargetArgs) -> CommandResult {
    let cluster = Cluster::attach(&target.choice()).await?;
    println!("context {}", cluster.context);
    let mut sound = true;
    for state in node_states(&cluster.kube)
        .await
        .map_err(anyhow::Error::msg)?
    {
        let cordoned = if state.cordoned { ", cordoned" } else { "" };
        sound &= state.ready == "True";
        println!(
            "  node {:32} Ready={}{cordoned}  {}",
            state.name, state.ready, state.version
        );
    }
    sound &= operators(&cluster).await?;
    etcd_clusters(&cluster).await?;
    let kept = namespaces_left(&cluster.kube).await?;
    if !kept.is_empty() {
        println!("kept namespaces of tests: {}", kept.join(" "));
    }
    Ok(if sound { Exit::Pass } else { Exit::Environment })
}

async fn operators(cluster: &Cluster) -> anyhow::Result<bool> {
    let api: Api<Pod> = Api::namespaced(cluster.kube.clone(), operator::NAMESPACE);
    let pods = api
        .list(&ListParams::default().labels(operator::POD_LABELS))
        .await?;
    if pods.items.is_empty() {
        println!("operator: not installed (`harness up` does it)");
        return Ok(false);
    }
    for pod in pods.items {
        let status = pod.status.clone().unwrap_or_default();
        let restarts: i32 = status
            .container_statuses
            .unwrap_or_default()
            .iter()
            .map(|c| c.restart_count)
            .sum();
        let phase = status.phase.unwrap_or_default();
        println!(
            "operator {:36} {phase}, {restarts} restarts",
            pod.name_any()
        );
    }
    Ok(true)
}

async fn etcd_clusters(cluster: &Cluster) -> anyhow::Result<()> {
    let api: Api<DynamicObject> = Api::all_with(cluster.kube.clone(), &cluster_resource());
    let Ok(listed) = api.list(&ListParams::default()).await else {
        println!("etcd clusters: their kind is not served");
        return Ok(());
    };
    for found in listed.items {
        let (namespace, name) = (found.namespace().unwrap_or_default(), found.name_any());
        let phase = found.data["status"]["phase"]
            .as_str()
            .unwrap_or("no phase yet")
            .to_owned();
        println!("etcd cluster {namespace}/{name}: {phase}");
        let pods: Api<Pod> = Api::namespaced(cluster.kube.clone(), &namespace);
        let params = ListParams::default().labels(&format!("app.kubernetes.io/instance={name}"));
        for pod in pods.list(&params).await?.items {
            let role = pod
                .labels()
                .get("kubeblocks.io/role")
                .cloned()
                .unwrap_or_else(|| "no role".into());
            let node = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.node_name.clone())
                .unwrap_or_default();
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.clone())
                .unwrap_or_default();
            println!("  {:28} {role:9} {phase:9} {node}", pod.name_any());
        }
    }
    Ok(())
}
