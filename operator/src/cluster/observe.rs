//! IO in: everything the plan of a Cluster depends on, read from the API server (C2: not from a cache).

use etcd_operator_api::{Cluster, Component, ComponentDefinition, ComponentVersion, labels};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// All definitions.
    pub(super) definitions: Vec<ComponentDefinition>,
    /// All versions.
    pub(super) versions: Vec<ComponentVersion>,
    /// The Cluster's components.
    pub(super) components: Vec<Component>,
    /// The Cluster's own services.
    pub(super) services: Vec<Service>,
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to list {what}: {source}")]
pub(super) struct ObserveError {
    what: &'static str,
    source: kube::Error,
}

pub(super) async fn observe(client: &Client, cluster: &Cluster) -> Result<Observed, ObserveError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let all = ListParams::default();
    let mine = ListParams::default().labels(&format!(
        "{}={},{}={}",
        labels::MANAGED_BY,
        labels::MANAGED_BY_VALUE,
        labels::INSTANCE,
        cluster.name_any()
    ));
    let definitions: Api<ComponentDefinition> = Api::all(client.clone());
    let versions: Api<ComponentVersion> = Api::all(client.clone());
    let components: Api<Component> = Api::namespaced(client.clone(), &namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let failed = |what| move |source| ObserveError { what, source };
    let (definitions, versions, components, services) = futures::future::join4(
        definitions.list(&all),
        versions.list(&all),
        components.list(&mine),
        services.list(&mine),
    )
    .await;
    Ok(Observed {
        definitions: definitions.map_err(failed("ComponentDefinitions"))?.items,
        versions: versions.map_err(failed("ComponentVersions"))?.items,
        components: owned(components.map_err(failed("Components"))?.items, cluster),
        services: owned(services.map_err(failed("Services"))?.items, cluster),
    })
}

/// Those that this very Cluster controls, not an earlier one of the same name.
fn owned<K: Resource<DynamicType = ()>>(objects: Vec<K>, cluster: &Cluster) -> Vec<K> {
    let uid = cluster.uid().unwrap_or_default();
    let ours = |object: &K| {
        object
            .owner_references()
            .iter()
            .any(|owner| owner.uid == uid)
    };
    objects.into_iter().filter(ours).collect()
}
