//! IO in: everything that one look shows.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use etcd_operator_api::{Cluster, InstanceSet, OpsRequest, labels};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kbagent_protocol::{MemberView, PATH_MEMBER, PORT};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

/// One look at a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cluster: Cluster,
    pub(crate) sets: Vec<InstanceSet>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
    pub(crate) slices: Vec<EndpointSlice>,
    pub(crate) requests: Vec<OpsRequest>,
    /// What agents say, by pod, or why they say nothing.
    pub(crate) views: BTreeMap<String, Result<MemberView, String>>,
}

/// Looks at the cluster of this name.
pub(crate) async fn look(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Seen> {
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let cluster = clusters
        .get_opt(name)
        .await
        .context("failed to read the Cluster")?;
    let Some(cluster) = cluster else {
        bail!("there is no cluster {name} in namespace {namespace}: kubectl get cluster -A");
    };
    let mine = ListParams::default().labels(&format!("{}={name}", labels::INSTANCE));
    let sets: Api<InstanceSet> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let requests: Api<OpsRequest> = Api::namespaced(client.clone(), namespace);
    let all = ListParams::default();
    let (sets, pods, claims, slices, requests) = futures::join!(
        sets.list(&mine),
        pods.list(&mine),
        claims.list(&mine),
        slices.list(&all),
        requests.list(&all),
    );
    let pods = pods.context("failed to list pods")?.items;
    let asked = pods.iter().map(|pod| async {
        let name = pod.name_any();
        let view = member(client, namespace, &name).await;
        (name, view)
    });
    let views = join_all(asked).await.into_iter().collect();
    let of_cluster = |request: &OpsRequest| request.spec.cluster_name == name;
    let requests = requests.context("failed to list OpsRequests")?.items;
    Ok(Seen {
        sets: sets.context("failed to list InstanceSets")?.items,
        claims: claims.context("failed to list claims")?.items,
        slices: slices.context("failed to list endpoints")?.items,
        requests: requests.into_iter().filter(of_cluster).collect(),
        cluster,
        pods,
        views,
    })
}

async fn member(client: &Client, namespace: &str, pod: &str) -> Result<MemberView, String> {
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let path = format!("proxy{PATH_MEMBER}");
    let request = kube::core::Request::new(pods)
        .get_subresource(&path, &format!("{pod}:{PORT}"))
        .map_err(|error| error.to_string())?;
    client
        .request(request)
        .await
        .map_err(|error| error.to_string())
}
