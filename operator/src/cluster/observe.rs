//! IO in: everything the plan of a Cluster depends on, read from the API server (C2: not from a cache).

use std::collections::BTreeMap;

use etcd_operator_api::backup_policy::ARCHIVE;
use etcd_operator_api::{
    Backup, Cluster, Component, ComponentDefinition, ComponentVersion, labels,
};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams, ObjectMeta};
use kube::{Client, Resource, ResourceExt};

use super::restore::requested;
use crate::client::message;
use crate::controller::{is_lasting, list};

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
    /// Backups that components which are not there yet are to begin with, by name.
    pub(super) backups: BTreeMap<String, Backup>,
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObserveError {
    #[error("failed to list {what}: {}", message(.source))]
    List {
        what: &'static str,
        source: kube::Error,
    },
    #[error("Component {name:?} cannot be read: its event Unreadable says why")]
    Unreadable { name: String },
}

impl ObserveError {
    /// Whether it would fail again.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            ObserveError::List { source, .. } => is_lasting(source),
            ObserveError::Unreadable { .. } => true,
        }
    }
}

pub(super) async fn observe(client: &Client, cluster: &Cluster) -> Result<Observed, ObserveError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let all = ListParams::default();
    let mine = mine(cluster);
    let definitions = Api::all(client.clone());
    let versions = Api::all(client.clone());
    let components = Api::namespaced(client.clone(), &namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let failed = |what| move |source| ObserveError::List { what, source };
    let (definitions, versions, components, services) = futures::future::join4(
        list(&definitions, &all),
        list(&versions, &all),
        list(&components, &mine),
        services.list(&mine),
    )
    .await;
    let components = readable(components, cluster)?;
    let backups = backups(client, cluster, &components).await?;
    Ok(Observed {
        definitions: definitions.map_err(failed("ComponentDefinitions"))?.0,
        versions: versions.map_err(failed("ComponentVersions"))?.0,
        components,
        services: owned(services.map_err(failed("Services"))?.items, cluster),
        backups,
    })
}

/// What a Cluster that is being deleted depends on: its Components. Kinds that are gone, or that may not be read, do
/// not keep it.
pub(super) async fn leaving(client: &Client, cluster: &Cluster) -> Result<Observed, ObserveError> {
    let components = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let components = match list(&components, &mine(cluster)).await {
        // Kubernetes takes a kind away after the last object of it.
        Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
        listed => readable(listed, cluster)?,
    };
    Ok(Observed {
        components,
        ..Observed::default()
    })
}

/// Selects what is the Cluster's by its labels.
fn mine(cluster: &Cluster) -> ListParams {
    ListParams::default().labels(&format!(
        "{}={},{}={}",
        labels::MANAGED_BY,
        labels::MANAGED_BY_VALUE,
        labels::INSTANCE,
        cluster.name_any()
    ))
}

/// The Cluster's Components. With one that cannot be read it would be taken for one whose members are gone.
fn readable(
    listed: kube::Result<(Vec<Component>, Vec<ObjectMeta>)>,
    cluster: &Cluster,
) -> Result<Vec<Component>, ObserveError> {
    let (components, unreadable) = listed.map_err(|source| ObserveError::List {
        what: "Components",
        source,
    })?;
    if let Some(bad) = unreadable.iter().find(|bad| is_owned(bad, cluster)) {
        let name = bad.name.clone().unwrap_or_default();
        return Err(ObserveError::Unreadable { name });
    }
    Ok(owned(components, cluster))
}

async fn backups(
    client: &Client,
    cluster: &Cluster,
    components: &[Component],
) -> Result<BTreeMap<String, Backup>, ObserveError> {
    let mut found = BTreeMap::new();
    // One that cannot be understood is refused by the plan.
    for source in requested(cluster).unwrap_or_default() {
        let there = |component: &Component| {
            component.labels().get(labels::COMPONENT_NAME) == Some(&source.component)
        };
        if components.iter().any(there) {
            continue;
        }
        let api: Api<Backup> =
            Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
        let backup = api.get_opt(&source.backup).await;
        let backup = backup.map_err(|source| ObserveError::List {
            what: "the Backup",
            source,
        })?;
        // An archive is put over one of the others.
        if backup
            .as_ref()
            .is_some_and(|backup| backup.spec.backup_method == ARCHIVE)
        {
            let all = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
            let others = list(&all, &ListParams::default()).await;
            let others = others.map_err(|source| ObserveError::List {
                what: "the Backups",
                source,
            })?;
            let others = others.0;
            found.extend(
                others
                    .into_iter()
                    .map(|other: Backup| (other.name_any(), other)),
            );
        }
        found.extend(backup.map(|backup| (source.backup, backup)));
    }
    Ok(found)
}

/// Those that this very Cluster controls, not an earlier one of the same name.
fn owned<K: Resource<DynamicType = ()>>(objects: Vec<K>, cluster: &Cluster) -> Vec<K> {
    let ours = |object: &K| is_owned(object.meta(), cluster);
    objects.into_iter().filter(ours).collect()
}

fn is_owned(meta: &ObjectMeta, cluster: &Cluster) -> bool {
    let uid = cluster.uid().unwrap_or_default();
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|owner| owner.uid == uid)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::server;

    fn cluster() -> Cluster {
        let cluster = json!({ "metadata": { "name": "c", "namespace": "n", "uid": "u" },
            "spec": { "terminationPolicy": "Delete", "componentSpecs": [] } });
        serde_json::from_value(cluster).expect("a Cluster")
    }

    /// What is seen when the list that this path ends in has one unreadable object, owned by a Cluster of this uid.
    async fn seen(path: &'static str, owner: &'static str) -> Result<Observed, ObserveError> {
        let (context, _) = server(move |line| {
            let bad = json!({ "metadata": { "name": "bad", "ownerReferences": [
                { "apiVersion": "a/v1", "kind": "Cluster", "name": "c", "uid": owner }] }, "spec": 5 });
            let there = line
                .split('?')
                .next()
                .is_some_and(|line| line.ends_with(path));
            let items = if there {
                vec![bad]
            } else {
                Vec::<Value>::new()
            };
            (200, json!({ "metadata": {}, "items": items }))
        });
        observe(&context.client, &cluster()).await
    }

    #[tokio::test]
    async fn what_belongs_to_others_and_cannot_be_read_is_left_out() {
        for path in ["/componentdefinitions", "/componentversions"] {
            let seen = seen(path, "other").await.expect("the rest");
            assert!(seen.definitions.is_empty() && seen.versions.is_empty());
        }
        let seen = seen("/components", "other").await.expect("the rest");
        assert!(seen.components.is_empty());
    }

    #[tokio::test]
    async fn a_component_of_its_own_that_cannot_be_read_is_not_taken_for_gone() {
        let error = seen("/components", "u").await.expect_err("unreadable");
        assert!(
            error
                .to_string()
                .contains("Component \"bad\" cannot be read"),
            "{error}"
        );
    }
}
