//! IO in: everything that one look shows.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use etcd_operator_api::{
    BackupPolicy, BackupRepo, Cluster, Component, InstanceSet, OpsRequest, labels,
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kbagent_protocol::{MemberView, PATH_MEMBER, PORT};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::failed::{failed, plain};

/// Objects of one answer, and answers of one list: what is more is not read, and that is said.
const PAGE: u32 = 500;
const PAGES: usize = 20;

/// Longest that a member is waited for: one that hangs must not hide the others.
const ANSWER: Duration = Duration::from_secs(3);

/// One look at a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cluster: Cluster,
    pub(crate) components: Vec<Component>,
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
    let cluster = cluster(client, namespace, name).await?;
    let mine = of_cluster(name);
    let (components, sets, pods, claims, slices, requests) = futures::try_join!(
        list(
            Api::namespaced(client.clone(), namespace),
            &mine,
            "Components"
        ),
        list(
            Api::namespaced(client.clone(), namespace),
            &mine,
            "InstanceSets"
        ),
        list(Api::namespaced(client.clone(), namespace), &mine, "pods"),
        list(Api::namespaced(client.clone(), namespace), &mine, "claims"),
        list(
            Api::namespaced(client.clone(), namespace),
            &mine,
            "endpoints"
        ),
        requests(client, namespace, name),
    )?;
    let asked = pods.iter().map(|pod: &Pod| async {
        let name = pod.name_any();
        let view = member(client, namespace, &name).await;
        (name, view)
    });
    let views = join_all(asked).await.into_iter().collect();
    Ok(Seen {
        cluster,
        components,
        sets,
        pods,
        claims,
        slices,
        requests,
        views,
    })
}

/// The Cluster, or what there is instead.
pub(crate) async fn cluster(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Cluster> {
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let found = clusters.get_opt(name).await;
    if let Some(cluster) = found.map_err(|error| failed("read the Cluster", &error))? {
        return Ok(cluster);
    }
    // Tells a name that is not there from a kind that is not there.
    let others = clusters.list(&ListParams::default().limit(20)).await;
    let others = others.map_err(|error| {
        let hint = "is the operator installed? kubectl get crd clusters.apps.kubeblocks.io";
        anyhow::anyhow!("{}: {hint}", failed("list Clusters", &error))
    })?;
    let names: Vec<String> = others.iter().map(ResourceExt::name_any).collect();
    match names.is_empty() {
        true => bail!(
            "there is no cluster in namespace {namespace}: --namespace, see kubectl get cluster -A"
        ),
        false => bail!(
            "there is no cluster {name} in namespace {namespace}, but {}",
            names.join(", ")
        ),
    }
}

/// Pods of the cluster.
pub(crate) async fn pods(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Vec<Pod>> {
    list(
        Api::namespaced(client.clone(), namespace),
        &of_cluster(name),
        "pods",
    )
    .await
}

/// InstanceSets of the cluster.
pub(crate) async fn sets(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Vec<InstanceSet>> {
    list(
        Api::namespaced(client.clone(), namespace),
        &of_cluster(name),
        "InstanceSets",
    )
    .await
}

/// OpsRequests of the cluster.
pub(crate) async fn requests(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Vec<OpsRequest>> {
    let api: Api<OpsRequest> = Api::namespaced(client.clone(), namespace);
    let mut requests = list(api, &ListParams::default(), "OpsRequests").await?;
    requests.retain(|request| request.spec.cluster_name == name);
    Ok(requests)
}

/// Where backups of a namespace go.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(crate) policies: Vec<BackupPolicy>,
    /// Why they are not known, where the user may not list them: they belong to no namespace.
    pub(crate) repos: Result<Vec<BackupRepo>, String>,
}

/// BackupPolicies of the namespace, and the BackupRepos.
pub(crate) async fn stores(client: &Client, namespace: &str) -> anyhow::Result<Stores> {
    let policies: Api<BackupPolicy> = Api::namespaced(client.clone(), namespace);
    let all = ListParams::default();
    let policies = list(policies, &all, "BackupPolicies").await?;
    let repos: Api<BackupRepo> = Api::all(client.clone());
    let repos = match repos.list(&all.limit(PAGE)).await {
        Ok(found) => Ok(found.items),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(status.message.clone()),
        Err(error) => return Err(failed("list BackupRepos", &error)),
    };
    Ok(Stores { policies, repos })
}

/// Events of the namespace.
pub(crate) async fn events(client: &Client, namespace: &str) -> anyhow::Result<Vec<Event>> {
    list(
        Api::namespaced(client.clone(), namespace),
        &ListParams::default(),
        "events",
    )
    .await
}

fn of_cluster(name: &str) -> ListParams {
    ListParams::default().labels(&format!("{}={name}", labels::INSTANCE))
}

/// A list, page by page.
async fn list<K>(api: Api<K>, params: &ListParams, what: &str) -> anyhow::Result<Vec<K>>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut all = Vec::new();
    let mut params = params.clone().limit(PAGE);
    for _ in 0..PAGES {
        let page = api.list(&params).await;
        let page = page.map_err(|error| failed(&format!("list {what}"), &error))?;
        let more = page.metadata.continue_.clone();
        all.extend(page.items);
        match more.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
    crate::out::note(&format!(
        "only the first {} {what} of the namespace were read",
        all.len()
    ));
    Ok(all)
}

async fn member(client: &Client, namespace: &str, pod: &str) -> Result<MemberView, String> {
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let path = format!("proxy{PATH_MEMBER}");
    let request = kube::core::Request::new(pods)
        .get_subresource(&path, &format!("{pod}:{PORT}"))
        .map_err(|error| error.to_string())?;
    match timeout(ANSWER, client.request(request)).await {
        Ok(answer) => answer.map_err(|error| plain(&error)),
        Err(_) => Err(format!("no answer in {} s", ANSWER.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_member_that_does_not_answer_is_told_as_silent() {
        let hangs = |_: http::Request<Body>| std::future::pending::<Answered>();
        let client = Client::new(tower::service_fn(hangs), "ns");
        let begin = Instant::now();
        let silence = member(&client, "ns", "db-etcd-0").await;
        assert_eq!(silence.expect_err("no view"), "no answer in 3 s");
        assert!(begin.elapsed() <= ANSWER * 2, "{:?}", begin.elapsed());
    }

    type Answered = Result<http::Response<Body>, tower::BoxError>;
}
