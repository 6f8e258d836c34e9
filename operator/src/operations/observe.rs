//! IO in: what a decision about a request depends on, read from the API server (C2: not from a cache).

use std::collections::BTreeMap;

use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{Cluster, InstanceSet, OpsPhase, OpsRequest};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::decide::Seen;
use super::{edit, wish};
use crate::cluster;
use crate::component::RehearseError;
use crate::controller::Context;

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObserveError {
    #[error("failed to read {what}: {source}")]
    Read {
        what: &'static str,
        source: kube::Error,
    },
    #[error(transparent)]
    Rehearse(#[from] RehearseError),
}

pub(super) async fn observe(
    context: &Context,
    request: &OpsRequest,
    now: &Time,
) -> Result<Seen, ObserveError> {
    let namespace = request.namespace().unwrap_or_default();
    let client = &context.client;
    let failed = |what| move |source| ObserveError::Read { what, source };
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), &namespace);
    let cluster = clusters.get_opt(&request.spec.cluster_name).await;
    let mut seen = Seen {
        cluster: cluster.map_err(failed("the Cluster"))?,
        ..Seen::default()
    };
    let Some(cluster) = &seen.cluster else {
        return Ok(seen);
    };
    seen.sets = instance_sets(context, cluster, &namespace)
        .await
        .map_err(failed("an InstanceSet"))?;
    let phase = request.status.as_ref().and_then(|status| status.phase);
    if !matches!(phase, None | Some(OpsPhase::Pending)) {
        return Ok(seen);
    }
    let requests: Api<OpsRequest> = Api::namespaced(client.clone(), &namespace);
    let requests = requests.list(&ListParams::default()).await;
    seen.requests = requests.map_err(failed("the OpsRequests"))?.items;
    if let Ok(planned) = wish::planned(request, cluster, &seen.sets, now) {
        let prospective = edit::prospective(cluster, &planned.changes);
        seen.rehearsal = cluster::rehearse(context, &prospective).await?;
    }
    Ok(seen)
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
