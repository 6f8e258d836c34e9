//! IO in: everything the plan of a Component depends on, read from the API server (C2: not from a cache).

use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{
    Backup, BackupPolicy, BackupRepo, Component, ComponentDefinition, ComponentVersion,
    InstanceSet, backup_repo, labels,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};

use super::snapshot::{self, BackupSeen};
use crate::client::message;
use crate::controller::{is_lasting, list};

/// Most BackupRepos that are searched for the default one.
const REPOS: u32 = 200;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// The definition that the Component names, when it is there.
    pub(super) definition: Option<ComponentDefinition>,
    /// Why the definition cannot be read, when it is there.
    pub(super) unreadable: Option<String>,
    /// All versions.
    pub(super) versions: Vec<ComponentVersion>,
    /// The Component's InstanceSet.
    pub(super) instance_set: Option<InstanceSet>,
    /// The Component's services, without the headless one.
    pub(super) services: Vec<Service>,
    /// Services that lead to its members, those of its Cluster among them.
    pub(super) leading: Vec<Service>,
    /// The containers' environment as it was written last.
    pub(super) environment: Option<ConfigMap>,
    /// Which CAs members are to be started with, as the CA's Secret has it; while there is no InstanceSet.
    pub(super) trust: Option<String>,
    /// What there is of the backup that is due before etcd changes its minor.
    pub(super) backup: Option<BackupSeen>,
    /// All storage classes.
    pub(super) storage_classes: Vec<StorageClass>,
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {what}: {}", message(.source))]
pub(super) struct ObserveError {
    what: &'static str,
    source: kube::Error,
}

impl ObserveError {
    /// Whether it would fail again.
    pub(super) fn is_lasting(&self) -> bool {
        is_lasting(&self.source)
    }
}

pub(super) async fn observe(
    client: &Client,
    component: &Component,
) -> Result<Observed, ObserveError> {
    let namespace = component.namespace().unwrap_or_default();
    let all = ListParams::default();
    let mine = ListParams::default().labels(&selector(component));
    let definitions: Api<DeserializeGuard<ComponentDefinition>> = Api::all(client.clone());
    let versions = Api::all(client.clone());
    let instance_sets: Api<InstanceSet> = Api::namespaced(client.clone(), &namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let storage_classes: Api<StorageClass> = Api::all(client.clone());
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let name = component.name_any();
    let environment = ComponentName::existing(&name).env_config_map();
    let failed = |what| move |source| ObserveError { what, source };
    let (definition, versions, instance_set, services, storage_classes, environment) = futures::join!(
        definitions.get_opt(&component.spec.comp_def),
        list(&versions, &all),
        instance_sets.get_opt(&name),
        services.list(&mine),
        storage_classes.list(&all),
        config_maps.get_opt(&environment),
    );
    let uid = component.uid().unwrap_or_default();
    let ours = |service: &Service| service.owner_references().iter().any(|o| o.uid == uid);
    let services = services.map_err(failed("Services"))?.items;
    // Another one of that name says nothing about this Component.
    let written = |map: &ConfigMap| map.owner_references().iter().any(|o| o.uid == uid);
    let environment = environment.map_err(failed("the environment ConfigMap"))?;
    let leading = services.iter().filter(|service| leads(service, component));
    let leading = leading.cloned().collect();
    let instance_set = instance_set.map_err(failed("InstanceSet"))?;
    let backup = backup(client, component, instance_set.as_ref()).await?;
    let trust = match &instance_set {
        Some(_) => Ok(None),
        None => trust(client, component).await,
    };
    let (definition, unreadable) = understood(definition.map_err(failed("ComponentDefinition"))?);
    Ok(Observed {
        leading,
        backup,
        definition,
        unreadable,
        versions: versions.map_err(failed("ComponentVersions"))?.0,
        instance_set,
        services: services.into_iter().filter(ours).collect(),
        environment: environment.filter(written),
        trust: trust.map_err(failed("the CA's Secret"))?,
        storage_classes: storage_classes.map_err(failed("StorageClasses"))?.items,
    })
}

/// What a Component that is being deleted depends on: its InstanceSet. Kinds that are gone, or that may not be read, do
/// not keep it.
pub(super) async fn leaving(
    client: &Client,
    component: &Component,
) -> Result<Observed, ObserveError> {
    let namespace = component.namespace().unwrap_or_default();
    let instance_sets: Api<InstanceSet> = Api::namespaced(client.clone(), &namespace);
    let instance_set = instance_sets.get_opt(&component.name_any()).await;
    Ok(Observed {
        instance_set: instance_set.map_err(|source| ObserveError {
            what: "InstanceSet",
            source,
        })?,
        ..Observed::default()
    })
}

/// The definition, or why it cannot be read: a Component can be deleted without it.
fn understood(
    found: Option<DeserializeGuard<ComponentDefinition>>,
) -> (Option<ComponentDefinition>, Option<String>) {
    match found {
        Some(DeserializeGuard(Err(bad))) => (None, Some(bad.error)),
        Some(DeserializeGuard(Ok(definition))) => (Some(definition), None),
        None => (None, None),
    }
}

/// Read while it is due.
async fn backup(
    client: &Client,
    component: &Component,
    its: Option<&InstanceSet>,
) -> Result<Option<BackupSeen>, ObserveError> {
    let Some(due) = snapshot::due(component, its) else {
        return Ok(None);
    };
    let failed = |what| move |source| ObserveError { what, source };
    let namespace = component.namespace().unwrap_or_default();
    let backups: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    let found = backups
        .get_opt(&due.name)
        .await
        .map_err(failed("the Backup"))?;
    if found.is_some() {
        return Ok(Some(BackupSeen {
            backup: found,
            obstacle: None,
        }));
    }
    let name = ComponentName::existing(&component.name_any()).backup_policy();
    let policies: Api<BackupPolicy> = Api::namespaced(client.clone(), &namespace);
    let policy = policies.get_opt(&name).await;
    let obstacle = match policy.map_err(failed("the BackupPolicy"))? {
        None => Some(format!("BackupPolicy {name} is not there")),
        Some(policy) => no_repository(client, &policy)
            .await
            .map_err(failed("the BackupRepos"))?,
    };
    Ok(Some(BackupSeen {
        backup: None,
        obstacle,
    }))
}

/// Why a policy has no repository, if so.
async fn no_repository(client: &Client, policy: &BackupPolicy) -> kube::Result<Option<String>> {
    let name = policy.name_any();
    let named = policy.spec.backup_repo_name.as_deref();
    if let Some(repo) = named.filter(|repo| !repo.is_empty()) {
        let repos: Api<BackupRepo> = Api::all(client.clone());
        let found = repos.get_metadata_opt(repo).await?;
        let why = format!("BackupRepo {repo}, which BackupPolicy {name} names, is not there");
        return Ok(found.is_none().then_some(why));
    }
    let repos: Api<_> = Api::all(client.clone());
    let all: Vec<BackupRepo> = list(&repos, &ListParams::default().limit(REPOS)).await?.0;
    let is_default = |repo: &BackupRepo| {
        let default = repo.annotations().get(backup_repo::DEFAULT);
        default.map(String::as_str) == Some("true")
    };
    Ok((!all.iter().any(is_default)).then(|| {
        format!(
            "BackupPolicy {name} names no backupRepoName, and no BackupRepo has the annotation {}: true",
            backup_repo::DEFAULT
        )
    }))
}

/// Read without what is in it.
async fn trust(client: &Client, component: &Component) -> Result<Option<String>, kube::Error> {
    let tls = component.spec.tls_config.as_ref();
    if !tls.is_some_and(|tls| tls.enable) {
        return Ok(None);
    }
    let namespace = component.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let name = ComponentName::existing(&component.name_any()).ca_secret();
    let found = api.get_metadata_opt(&name).await?;
    let uid = component.uid().unwrap_or_default();
    let ours = found.filter(|secret| secret.owner_references().iter().any(|o| o.uid == uid));
    Ok(ours.and_then(|secret| secret.annotations().get(labels::CA_TRUST).cloned()))
}

/// Whether it selects the Component's pods.
fn leads(service: &Service, component: &Component) -> bool {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    let same = |label: &str| {
        let selected = selector.and_then(|selector| selector.get(label));
        selected.is_some() && selected == component.labels().get(label)
    };
    same(labels::INSTANCE) && same(labels::COMPONENT_NAME)
}

/// Everything of its Cluster.
fn selector(component: &Component) -> String {
    let own = component.labels();
    let pairs = [labels::MANAGED_BY, labels::INSTANCE]
        .map(|label| format!("{label}={}", own.get(label).map_or("", String::as_str)));
    pairs.join(",")
}
