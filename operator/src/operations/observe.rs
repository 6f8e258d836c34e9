//! IO in: what a decision about a request depends on, read from the API server (C2: not from a cache).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{Cluster, InstanceSet, OpsPhase, OpsRequest, OpsType, labels};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::observed::{Seen, ServiceSeen};
use super::places::asks_for_volumes;
use super::request::is_for_another;
use super::{kinds, queue};
use crate::client::message;
use crate::controller::{Context, is_lasting, list};

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObserveError {
    #[error("failed to read {what}: {}", message(.source))]
    Read {
        what: &'static str,
        source: kube::Error,
    },
}

impl ObserveError {
    /// Whether it would fail again.
    pub(super) fn is_lasting(&self) -> bool {
        let ObserveError::Read { source, .. } = self;
        is_lasting(source)
    }
}

/// What there is; `known` are the requests as the watch has them.
pub(super) async fn observe(
    context: &Context,
    request: &OpsRequest,
    known: &[Arc<OpsRequest>],
) -> Result<Seen, ObserveError> {
    let namespace = request.namespace().unwrap_or_default();
    let client = &context.client;
    let failed = |what| move |source| ObserveError::Read { what, source };
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), &namespace);
    let cluster = clusters.get_opt(&request.spec.cluster_name).await;
    let cluster = cluster.map_err(failed("the Cluster"))?;
    let mut seen = Seen {
        // What was asked of one that is gone is not done to the next of its name.
        cluster: cluster.filter(|cluster| !is_for_another(request, cluster)),
        ..Seen::default()
    };
    let phase = request.status.as_ref().and_then(|status| status.phase);
    let pending = matches!(phase, None | Some(OpsPhase::Pending));
    if !pending {
        claims(context, request, &mut seen).await?;
    }
    let Some(cluster) = &seen.cluster else {
        return Ok(seen);
    };
    let requests: Api<OpsRequest> = Api::namespaced(client.clone(), &namespace);
    // One that the watch has before it is read alone: each that waits would list all of them.
    let all = known.iter().map(|known| &**known);
    if pending
        && let Some(first) = queue::before(request, all, cluster)
        && let Ok(Some(first)) = requests.get_opt(&first.name_any()).await
        && queue::before(request, [&first], cluster).is_some()
    {
        seen.requests = vec![first];
        return Ok(seen);
    }
    if pending || phase == Some(OpsPhase::Creating) {
        seen.requests = all_requests(context, &namespace).await?;
    }
    let first = queue::before(request, &seen.requests, cluster);
    if pending && first.is_some() {
        // Nothing else matters before it is its turn.
        return Ok(seen);
    }
    seen.sets = instance_sets(context, cluster, &namespace)
        .await
        .map_err(failed("an InstanceSet"))?;
    if may_be_passed(request, &seen.sets) {
        seen.requests = all_requests(context, &namespace).await?;
    }
    seen.pods = pods(context, cluster, &namespace)
        .await
        .map_err(failed("the pods"))?;
    if pending {
        claims(context, request, &mut seen).await?;
        places(context, request, &mut seen).await?;
    } else {
        seen.services = services(context, request, &namespace).await?;
    }
    Ok(seen)
}

/// What still asks for a request that is being deleted: metadata alone, so that a Cluster or an InstanceSet that cannot
/// be read in full does not keep it.
pub(super) async fn asked_for(
    context: &Context,
    request: &OpsRequest,
) -> Result<Seen, ObserveError> {
    let namespace = request.namespace().unwrap_or_default();
    let mut seen = Seen::default();
    claims(context, request, &mut seen).await?;
    if matches!(request.spec.kind, OpsType::RecoverQuorum | OpsType::Custom) {
        let selector = of_cluster(request);
        seen.sets = heads_of_sets(context, &namespace, &selector).await?;
    }
    Ok(seen)
}

/// The same of one that cannot be read: what carries its UID, whatever Cluster of its namespace that is of.
pub(super) async fn asked_for_unread(
    context: &Context,
    request: &OpsRequest,
) -> Result<Seen, ObserveError> {
    let namespace = request.namespace().unwrap_or_default();
    let mut seen = Seen::default();
    heads_of_claims(context, request, labels::INSTANCE, &mut seen).await?;
    seen.sets = heads_of_sets(context, &namespace, labels::INSTANCE).await?;
    Ok(seen)
}

/// What selects the objects of a request's Cluster.
fn of_cluster(request: &OpsRequest) -> String {
    format!("{}={}", labels::INSTANCE, request.spec.cluster_name)
}

/// The metadata of InstanceSets, by name.
async fn heads_of_sets(
    context: &Context,
    namespace: &str,
    selector: &str,
) -> Result<BTreeMap<String, InstanceSet>, ObserveError> {
    let api: Api<InstanceSet> = Api::namespaced(context.client.clone(), namespace);
    let params = ListParams::default().labels(selector);
    let listed = api.list_metadata(&params).await;
    let listed = listed.map_err(|source| ObserveError::Read {
        what: "the InstanceSets",
        source,
    })?;
    let bare = listed.items.into_iter().map(|set| InstanceSet {
        metadata: set.metadata,
        ..InstanceSet::default()
    });
    Ok(bare.map(|set| (set.name_any(), set)).collect())
}

/// Whether another request may have been forced past it: an InstanceSet is asked by one of this type at a time, and one
/// does not carry what this one asks for. While all carry it, which is looked at each second, nothing is listed.
fn may_be_passed(request: &OpsRequest, sets: &BTreeMap<String, InstanceSet>) -> bool {
    let status = request.status.as_ref();
    let running = status.filter(|status| status.phase == Some(OpsPhase::Running));
    request.spec.kind == OpsType::Custom
        && running.is_some_and(|status| {
            !kinds::defragmentations_lost(request, &status.last_configuration, sets).is_empty()
        })
}

/// The requests of the namespace. One that cannot be read does nothing, so nothing waits for it.
async fn all_requests(context: &Context, namespace: &str) -> Result<Vec<OpsRequest>, ObserveError> {
    let requests = Api::namespaced(context.client.clone(), namespace);
    let listed = list(&requests, &ListParams::default()).await;
    let listed = listed.map_err(|source| ObserveError::Read {
        what: "the OpsRequests",
        source,
    })?;
    Ok(listed.0)
}

/// Claims of the Cluster's members, for a request that is about them: their UIDs, and the versions of those that carry
/// its mark.
async fn claims(
    context: &Context,
    request: &OpsRequest,
    seen: &mut Seen,
) -> Result<(), ObserveError> {
    if request.spec.rebuild_from.is_empty() {
        return Ok(());
    }
    heads_of_claims(context, request, &of_cluster(request), seen).await
}

async fn heads_of_claims(
    context: &Context,
    request: &OpsRequest,
    selector: &str,
    seen: &mut Seen,
) -> Result<(), ObserveError> {
    let namespace = request.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let listed = api
        .list_metadata(&ListParams::default().labels(selector))
        .await;
    let listed = listed.map_err(|source| ObserveError::Read {
        what: "claims",
        source,
    })?;
    let own = request.uid().unwrap_or_default();
    for claim in listed.items {
        let name = claim.name_any();
        if claim.annotations().get(labels::REBUILD) == Some(&own) {
            let version = claim.resource_version().unwrap_or_default();
            seen.marks.insert(name.clone(), version);
        }
        seen.claims.insert(name, claim.uid().unwrap_or_default());
    }
    Ok(())
}

/// Nodes and storage, for a request that names nodes.
async fn places(
    context: &Context,
    request: &OpsRequest,
    seen: &mut Seen,
) -> Result<(), ObserveError> {
    let failed = |what| move |source| ObserveError::Read { what, source };
    let asked = request.spec.rebuild_from.iter();
    let asked = asked.flat_map(|asked| &asked.instances);
    let targets: BTreeSet<&str> = asked.filter_map(|instance| instance.target()).collect();
    if targets.is_empty() {
        return Ok(());
    }
    let pods = seen.pods.values().filter_map(|pod| pod.spec.as_ref());
    let homes = pods.filter_map(|spec| spec.node_name.as_deref());
    let nodes: Api<Node> = Api::all(context.client.clone());
    let names: BTreeSet<&str> = targets.into_iter().chain(homes).collect();
    for name in names {
        let node = nodes.get_opt(name).await.map_err(failed("a node"))?;
        let node = node.map(|node| (name.to_owned(), node));
        seen.places.nodes.extend(node);
    }
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    let classes = classes.list(&ListParams::default()).await;
    seen.places.classes = classes.map_err(failed("storage classes"))?.items;
    let sets = seen.sets.values();
    let mut claims = sets.map(|set| set.spec.volume_claim_templates.as_slice());
    if claims.any(|claims| asks_for_volumes(claims, &seen.places.classes)) {
        let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
        let volumes = volumes.list(&ListParams::default()).await;
        seen.places.volumes = volumes.map_err(failed("volumes"))?.items;
    }
    Ok(())
}

/// Services that the request asks for, with how many endpoints of theirs serve.
async fn services(
    context: &Context,
    request: &OpsRequest,
    namespace: &str,
) -> Result<BTreeMap<String, ServiceSeen>, ObserveError> {
    let failed = |what| move |source| ObserveError::Read { what, source };
    let services: Api<Service> = Api::namespaced(context.client.clone(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(context.client.clone(), namespace);
    let mut seen = BTreeMap::new();
    for name in kinds::services_of(request) {
        let service = services.get_opt(&name).await.map_err(failed("a service"))?;
        let Some(service) = service else { continue };
        let params = ListParams::default().labels(&format!("{}={name}", labels::SERVICE_NAME));
        let listed = slices.list(&params).await.map_err(failed("endpoints"))?;
        let endpoints = listed.items.iter().flat_map(|slice| &slice.endpoints);
        // An absent condition means true (discovery/v1).
        let serves = |endpoint: &&Endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|c| c.serving).unwrap_or(true)
        };
        let serving = endpoints.filter(serves).count();
        seen.insert(name, ServiceSeen { service, serving });
    }
    Ok(seen)
}

/// Pods of the Cluster, by name.
async fn pods(
    context: &Context,
    cluster: &Cluster,
    namespace: &str,
) -> kube::Result<BTreeMap<String, Pod>> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let selector = format!(
        "{}={},{}={}",
        labels::MANAGED_BY,
        labels::MANAGED_BY_VALUE,
        labels::INSTANCE,
        cluster.name_any()
    );
    let listed = api.list(&ListParams::default().labels(&selector)).await?;
    let found = listed.items.into_iter();
    Ok(found.map(|pod| (pod.name_any(), pod)).collect())
}

async fn instance_sets(
    context: &Context,
    cluster: &Cluster,
    namespace: &str,
) -> kube::Result<BTreeMap<String, InstanceSet>> {
    let api: Api<InstanceSet> = Api::namespaced(context.client.clone(), namespace);
    let mut sets = BTreeMap::new();
    for spec in &cluster.spec.component_specs {
        let Ok(name) = ComponentName::new(&cluster.name_any(), &spec.name) else {
            continue;
        };
        if let Some(set) = api.get_opt(name.as_str()).await? {
            sets.insert(spec.name.clone(), set);
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::server;

    fn restart(name: &str) -> Value {
        json!({ "metadata": { "name": name, "namespace": "ns", "uid": name },
            "spec": { "clusterName": "db", "type": "Restart", "restart": [{ "componentName": "etcd" }] } })
    }

    #[tokio::test]
    async fn one_that_waits_for_another_reads_that_one_alone() {
        let (own, mut first) = (restart("b"), restart("a"));
        first["status"] = json!({ "phase": "Running", "startTimestamp": "2026-01-01T00:00:00Z" });
        let read = |object: &Value| -> OpsRequest {
            serde_json::from_value(object.clone()).expect("a request")
        };
        let known = [Arc::new(read(&own)), Arc::new(read(&first))];
        for (ended, lists) in [(false, 0), (true, 1)] {
            let (own, mut live) = (own.clone(), first.clone());
            if ended {
                live["status"]["phase"] = json!("Succeed");
            }
            let (context, asked) = server(move |line| match line {
                line if line.contains("/clusters/db") => (
                    200,
                    json!({ "metadata": { "name": "db", "namespace": "ns", "uid": "c" },
                        "spec": { "terminationPolicy": "Delete", "componentSpecs": [] } }),
                ),
                line if line.contains("/opsrequests/a") => (200, live.clone()),
                line if line.contains("/opsrequests/b") => (200, own.clone()),
                _ => (200, json!({ "metadata": {}, "items": [] })),
            });
            let seen = observe(&context, &known[0], &known).await.expect("seen");
            let names: Vec<_> = seen.requests.iter().map(ResourceExt::name_any).collect();
            assert_eq!(names.is_empty(), ended, "{names:?}");
            let asked = asked.lock().expect("no panic");
            let listed = asked
                .iter()
                .filter(|(line, _)| line.contains("/opsrequests?"));
            assert_eq!(listed.count(), lists, "{asked:?}");
        }
    }
}
