//! PURE: a Component's raw spec and its definition -> [`Valid`], or one error that names the field.
//!
//! The sole reader of the raw spec's rules. An error stops everything before a first write, so running members
//! are never touched by a spec that cannot be carried out.

use etcd_operator_api::names::ComponentName;
use etcd_operator_api::quantity::amount;
use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{Component, ComponentDefinition, labels};
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::accounts::{self, AccountsError};
use super::change::{Change, ChangeError, change};
use super::class::{self, BadClass};
use super::fields::{self, BadField};
use super::growth::{self, BadSize, DEFAULT_CLASS};
use super::observe::Observed;
use super::settings::{self, Flags, SettingError};
use super::tls::{self, Tls, TlsError};
use crate::definition::{
    BadMetadata, Metadata, Release, Unresolved, check_definition, check_metadata, release_for,
};
use crate::instanceset::names::ENV_HEADLESS_DOMAIN as HEADLESS_DOMAIN;

/// The spec cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpecError {
    #[error("metadata.labels has no {label}: only Components made from Clusters are supported")]
    NoLabel { label: &'static str },
    #[error("compDef {name:?} is not there: install that ComponentDefinition or name another")]
    NoDefinition { name: String },
    #[error("compDef {name:?} is not available: {reason}")]
    DefinitionUnavailable { name: String, reason: String },
    #[error(transparent)]
    Version(#[from] Unresolved),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Metadata(#[from] BadMetadata),
    #[error(transparent)]
    Field(#[from] BadField),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    #[error("replicas must be odd: {} or {}, not {replicas}", replicas.saturating_sub(1), replicas.saturating_add(1))]
    EvenReplicas { replicas: i32 },
    #[error("replicas {replicas} is outside the {min} to {max} that compDef {definition:?} allows")]
    ReplicasLimit {
        replicas: i32,
        min: i32,
        max: i32,
        definition: String,
    },
    #[error(
        "replicas cannot go from {from} to {to}: compDef {definition:?} declares no lifecycleActions.{action}"
    )]
    NoAction {
        from: i32,
        to: i32,
        definition: String,
        action: &'static str,
    },
    #[error("volumeClaimTemplates has no {name:?}, which compDef {definition:?} needs")]
    VolumeMissing { name: String, definition: String },
    #[error("volumeClaimTemplates[{name}] is mounted by no container of compDef {definition:?}")]
    VolumeUnused { name: String, definition: String },
    #[error(
        "volumeClaimTemplates[{name}].spec.resources.requests.storage {value:?} is not a positive quantity"
    )]
    StorageSize { name: String, value: String },
    #[error(
        "volumeClaimTemplates[{name}].spec.storageClassName {class:?} does not exist; available: {known}"
    )]
    StorageClass {
        name: String,
        class: String,
        known: String,
    },
    #[error(
        "volumeClaimTemplates[{name}].spec.storageClassName is empty and there is no default storage class, there are: {known}"
    )]
    NoDefaultClass { name: String, known: String },
    #[error(
        "volumeClaimTemplates[{name}].spec.{field} cannot change from {from:?} to {to:?}: claims keep it for life"
    )]
    ClaimChanged {
        name: String,
        field: &'static str,
        from: String,
        to: String,
    },
    #[error(transparent)]
    Class(#[from] BadClass),
    #[error(transparent)]
    Size(#[from] BadSize),
    #[error("volumeClaimTemplates cannot gain or lose {name:?}: running members keep their claims")]
    ClaimsChanged { name: String },
    #[error("resources.{field}: request {request} of {resource} is above limit {limit}")]
    RequestAboveLimit {
        field: &'static str,
        resource: String,
        request: String,
        limit: String,
    },
    #[error(
        "env[{name}] is reserved: etcd's flags are set by configs or an OpsRequest Reconfiguring, and KB_*, POD_* are the \
         operator's; take it out"
    )]
    ReservedVariable { name: String },
    #[error(
        "the cluster's members have peer URLs under {from}, and the operator's CLUSTER_DOMAIN makes it {to}: set it back"
    )]
    DomainChanged { from: String, to: String },
    #[error("services[{name}] is not a service of compDef {definition:?}")]
    UnknownService { name: String, definition: String },
    #[error("{0}")]
    NotOfType(String),
}

/// A spec that can be carried out, with everything it refers to.
#[derive(Clone, Debug)]
pub(super) struct Valid<'a> {
    pub(super) component: &'a Component,
    pub(super) definition: &'a ComponentDefinition,
    pub(super) name: ComponentName,
    pub(super) cluster: String,
    pub(super) component_name: String,
    pub(super) cluster_uid: String,
    /// What pods are made from: before a downgrade, the release that runs.
    pub(super) release: Release,
    /// What comes before pods of another minor.
    pub(super) change: Change,
    pub(super) runtime: PodSpec,
    pub(super) flags: Flags,
    pub(super) tls: Option<Tls>,
    /// Which CAs members are to be started with.
    pub(super) trust: Option<String>,
    /// Whether etcd has users.
    pub(super) accounts: bool,
    /// The last restart that was asked for.
    pub(super) restarted: Option<String>,
}

impl Valid<'_> {
    /// The exporter, where it serves TLS.
    pub(super) fn secure_exporter(&self) -> Option<&str> {
        self.tls.as_ref()?;
        let exporter = self.definition.spec.exporter.as_ref()?;
        let name = exporter.container_name.as_deref()?;
        tls::exporter_can(&self.runtime, name).then_some(name)
    }
}

pub(super) fn validate<'a>(
    component: &'a Component,
    observed: &'a Observed,
) -> Result<Valid<'a>, SpecError> {
    let label = |label: &'static str| {
        component
            .labels()
            .get(label)
            .cloned()
            .ok_or(SpecError::NoLabel { label })
    };
    let (cluster, component_name) = (label(labels::INSTANCE)?, label(labels::COMPONENT_NAME)?);
    let definition = definition(component, observed)?;
    fields::check(component)?;
    let version = component
        .spec
        .service_version
        .as_deref()
        .filter(|v| !v.is_empty());
    let release = release_for(definition, version, &observed.versions)?;
    let change = change(component, &release.service_version, observed)?;
    let runtime = definition.spec.runtime.parse("spec.runtime");
    let runtime: PodSpec = runtime.map_err(|error| SpecError::NotOfType(error.to_string()))?;
    let its = observed.instance_set.as_ref();
    let flags_of =
        |release: &Release| settings::flags(component, its, &release.service_version, &runtime);
    let (mut flags, mut release) = (flags_of(&release)?, release);
    if let Some(until) = &change.until {
        release = release_for(definition, Some(until.as_str()), &observed.versions)?;
        flags = flags_of(&release)?;
    }
    check_replicas(component, definition, observed)?;
    check_variables(component)?;
    check_given(component)?;
    check_resources(component)?;
    check_volumes(component, definition, &runtime)?;
    check_services(component, definition)?;
    let tls = tls::check(component, observed, &runtime)?;
    let accounts = accounts::check(component, tls.as_ref(), observed.instance_set.as_ref())?;
    let running = observed.instance_set.as_ref();
    let bound = running.is_some_and(|its| its.spec.replicas >= component.spec.replicas);
    for template in &component.spec.volume_claim_templates {
        check_size(template)?;
        // Claims that are bound do not need their class any more.
        if !bound {
            check_class(template, &observed.storage_classes)?;
        }
    }
    check_unchanged(component, observed)?;
    let cluster_uid = component.annotations().get(labels::CLUSTER_UID).cloned();
    Ok(Valid {
        component,
        definition,
        name: ComponentName::existing(&component.name_any()),
        cluster,
        component_name,
        cluster_uid: cluster_uid.unwrap_or_default(),
        release,
        change,
        runtime,
        flags,
        trust: tls::trust(observed).filter(|_| tls == Some(Tls::Own)),
        tls,
        accounts,
        restarted: restarted(observed),
    })
}

/// The restart annotation that the pods were created with. The restart stays done when the annotation is removed:
/// applying a manifest that never had it requests no other restart.
fn restarted(observed: &Observed) -> Option<String> {
    let template = &observed.instance_set.as_ref()?.spec.template.0;
    let annotations = template.get("metadata")?.get("annotations")?;
    Some(annotations.get(labels::RESTART)?.as_str()?.to_owned())
}

fn definition<'a>(
    component: &Component,
    observed: &'a Observed,
) -> Result<&'a ComponentDefinition, SpecError> {
    let name = component.spec.comp_def.clone();
    if let Some(why) = &observed.unreadable {
        let reason = format!("it cannot be read: {why}");
        return Err(SpecError::DefinitionUnavailable { name, reason });
    }
    let Some(definition) = &observed.definition else {
        return Err(SpecError::NoDefinition { name });
    };
    match check_definition(definition).message {
        Some(reason) => Err(SpecError::DefinitionUnavailable { name, reason }),
        None => Ok(definition),
    }
}

/// Variables that etcd would take for flags, and the operator's own.
fn check_variables(component: &Component) -> Result<(), SpecError> {
    let names = component.spec.env.iter().map(|variable| &variable.name);
    let reserved = |name: &&String| {
        let prefixes = ["ETCD_", "KB_"];
        let own = [
            "POD_NAME",
            "POD_NAMESPACE",
            "POD_UID",
            "POD_IP",
            settings::ADDRESSES,
        ];
        prefixes.iter().any(|prefix| name.starts_with(prefix)) || own.contains(&name.as_str())
    };
    match names.into_iter().find(reserved) {
        Some(name) => Err(SpecError::ReservedVariable { name: name.clone() }),
        None => Ok(()),
    }
}

/// A cluster that has formed keeps the domain that its members' peer URLs were made with.
pub(super) fn check_domain(observed: &Observed, wanted: &ConfigMap) -> Result<(), SpecError> {
    let status = observed
        .instance_set
        .as_ref()
        .and_then(|its| its.status.as_ref());
    if status.is_none_or(|status| status.cluster_id.is_none()) {
        return Ok(());
    }
    let domain = |map: &ConfigMap| map.data.as_ref()?.get(HEADLESS_DOMAIN).cloned();
    match (
        observed.environment.as_ref().and_then(domain),
        domain(wanted),
    ) {
        (Some(from), Some(to)) if from != to => Err(SpecError::DomainChanged { from, to }),
        _ => Ok(()),
    }
}

/// Labels and annotations, wherever the owner gives some.
fn check_given(component: &Component) -> Result<(), BadMetadata> {
    let spec = &component.spec;
    check_metadata(Metadata::Labels, "labels", &spec.labels)?;
    check_metadata(Metadata::Annotations, "annotations", &spec.annotations)?;
    for template in &spec.volume_claim_templates {
        let field = |part: &str| format!("volumeClaimTemplates[{}].{part}", template.name);
        let (labels, annotations) = (&template.labels, &template.annotations);
        check_metadata(Metadata::ClaimLabels, &field("labels"), labels)?;
        check_metadata(
            Metadata::ClaimAnnotations,
            &field("annotations"),
            annotations,
        )?;
    }
    spec.services.iter().try_for_each(|service| {
        let field = format!("services[{}].annotations", service.name);
        check_metadata(Metadata::ServiceAnnotations, &field, &service.annotations)
    })
}

fn check_replicas(
    component: &Component,
    definition: &ComponentDefinition,
    observed: &Observed,
) -> Result<(), SpecError> {
    let (to, definition_name) = (component.spec.replicas, definition.name_any());
    // Admission says so first, where its rules are installed.
    if to != 0 && to % 2 == 0 {
        return Err(SpecError::EvenReplicas { replicas: to });
    }
    if let Some(limit) = definition.spec.replicas_limit
        && !(limit.min_replicas..=limit.max_replicas).contains(&to)
    {
        let (min, max) = (limit.min_replicas, limit.max_replicas);
        let definition = definition_name;
        return Err(SpecError::ReplicasLimit {
            replicas: to,
            min,
            max,
            definition,
        });
    }
    let Some(from) = observed.instance_set.as_ref().map(|its| its.spec.replicas) else {
        return Ok(());
    };
    let actions = definition
        .spec
        .lifecycle_actions
        .clone()
        .unwrap_or_default();
    let action = match to.cmp(&from) {
        std::cmp::Ordering::Greater if actions.member_join.is_none() => "memberJoin",
        std::cmp::Ordering::Less if actions.member_leave.is_none() => "memberLeave",
        _ => return Ok(()),
    };
    Err(SpecError::NoAction {
        from,
        to,
        definition: definition_name,
        action,
    })
}

fn check_resources(component: &Component) -> Result<(), SpecError> {
    let Some(resources) = &component.spec.resources else {
        return Ok(());
    };
    for (resource, request) in &resources.requests {
        let Some(limit) = resources.limits.get(resource) else {
            continue;
        };
        if amount(request) > amount(limit) {
            return Err(SpecError::RequestAboveLimit {
                field: "requests",
                resource: resource.clone(),
                request: request.0.clone(),
                limit: limit.0.clone(),
            });
        }
    }
    Ok(())
}

fn check_volumes(
    component: &Component,
    definition: &ComponentDefinition,
    runtime: &PodSpec,
) -> Result<(), SpecError> {
    let claimed = &component.spec.volume_claim_templates;
    let definition_name = definition.name_any();
    let declared = definition.spec.volumes.iter();
    if let Some(missing) = declared
        .map(|v| &v.name)
        .find(|n| !claimed.iter().any(|c| c.name == **n))
    {
        let (name, definition) = (missing.clone(), definition_name);
        return Err(SpecError::VolumeMissing { name, definition });
    }
    let mounted = |name: &str| {
        let mounts = runtime
            .containers
            .iter()
            .flat_map(|c| c.volume_mounts.iter().flatten());
        mounts.into_iter().any(|mount| mount.name == name)
    };
    match claimed.iter().find(|claim| !mounted(&claim.name)) {
        Some(unused) => Err(SpecError::VolumeUnused {
            name: unused.name.clone(),
            definition: definition_name,
        }),
        None => Ok(()),
    }
}

fn check_services(
    component: &Component,
    definition: &ComponentDefinition,
) -> Result<(), SpecError> {
    let known = |name: &str| definition.spec.services.iter().any(|s| s.name == name);
    match component
        .spec
        .services
        .iter()
        .find(|service| !known(&service.name))
    {
        Some(unknown) => Err(SpecError::UnknownService {
            name: unknown.name.clone(),
            definition: definition.name_any(),
        }),
        None => Ok(()),
    }
}

fn check_size(template: &VolumeClaimTemplate) -> Result<(), SpecError> {
    let name = template.name.clone();
    let size = template.spec.resources.requests.get("storage");
    if size.and_then(amount).is_none_or(|bytes| bytes <= 0.0) {
        let value = size.map(|size| size.0.clone()).unwrap_or_default();
        return Err(SpecError::StorageSize { name, value });
    }
    Ok(())
}

fn check_class(template: &VolumeClaimTemplate, classes: &[StorageClass]) -> Result<(), SpecError> {
    let name = template.name.clone();
    let known = || {
        let names: Vec<_> = classes.iter().map(ResourceExt::name_any).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let is_default = |class: &StorageClass| {
        class
            .annotations()
            .get(DEFAULT_CLASS)
            .is_some_and(|value| value == "true")
    };
    match template
        .spec
        .storage_class_name
        .as_deref()
        .filter(|class| !class.is_empty())
    {
        Some(class) if !classes.iter().any(|c| c.name_any() == class) => {
            Err(SpecError::StorageClass {
                name,
                class: class.to_owned(),
                known: known(),
            })
        }
        None if !classes.iter().any(is_default) => Err(SpecError::NoDefaultClass {
            name,
            known: known(),
        }),
        _ => Ok(()),
    }
}

/// Claims of running members keep what they were made with.
fn check_unchanged(component: &Component, observed: &Observed) -> Result<(), SpecError> {
    let Some(its) = &observed.instance_set else {
        return Ok(());
    };
    let (old, new) = (
        &its.spec.volume_claim_templates,
        &component.spec.volume_claim_templates,
    );
    let lacks = |list: &[VolumeClaimTemplate], name: &str| !list.iter().any(|t| t.name == name);
    let gone = old.iter().find(|t| lacks(new, &t.name));
    if let Some(changed) = gone.or_else(|| new.iter().find(|t| lacks(old, &t.name))) {
        return Err(SpecError::ClaimsChanged {
            name: changed.name.clone(),
        });
    }
    for (old, new) in old
        .iter()
        .flat_map(|o| new.iter().filter(|n| n.name == o.name).map(move |n| (o, n)))
    {
        let parts = fields::fixed(old).into_iter().zip(fields::fixed(new));
        let mut parts = parts.map(|((field, old), (_, new))| (field, old, new));
        if let Some((field, from, to)) = parts.find(|(_, old, new)| old != new) {
            return Err(SpecError::ClaimChanged {
                name: new.name.clone(),
                field,
                from,
                to,
            });
        }
        if class::check(its, &component.spec, old, new)? {
            check_class(new, &observed.storage_classes)?;
        }
        growth::check(its, old, new, &observed.storage_classes)?;
    }
    Ok(())
}
