//! PURE: a Cluster and what was observed -> the objects that shall be, and those that shall go.
//!
//! The sole reader of the Cluster's raw spec. A spec that cannot be carried out gives one error that names
//! the field, and no object at all: running members stay as they are.

use etcd_operator_api::names::{BadName, ComponentName, cluster_service};
use etcd_operator_api::opaque::NotOfType;
use etcd_operator_api::{Cluster, ClusterComponentSpec, Component};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::build;
use super::observe::Observed;
use crate::definition::{Unresolved, Wanted, release_for, resolve};

/// The spec cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpecError {
    /// A name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A component's definition or version.
    #[error("spec.componentSpecs[{component}].{source}")]
    Unresolved {
        component: String,
        source: Unresolved,
    },
    /// A component without a definition.
    #[error(
        "spec.componentSpecs[{component}].componentDef is empty: name a ComponentDefinition, e.g. etcd"
    )]
    NoDefinition { component: String },
    /// A foreign object inside the spec.
    #[error("{0}")]
    NotOfType(String),
    /// A name that no pod of the component can have.
    #[error(
        "spec.componentSpecs[{component}].offlineInstances names {name:?}, which is no pod of it: they are named {cluster}-{component}-0 and so on"
    )]
    OfflineInstance {
        component: String,
        name: String,
        cluster: String,
    },
    /// A service that selects a component that is not there.
    #[error(
        "spec.services[{service}].componentSelector {component:?} is not one of spec.componentSpecs"
    )]
    UnknownComponent { service: String, component: String },
    /// A service without ports.
    #[error("spec.services[{service}].spec.ports is empty")]
    NoPorts { service: String },
    /// A service's kind.
    #[error(
        "spec.services[{service}].spec.type {kind:?} is not supported: use ClusterIP, NodePort or LoadBalancer"
    )]
    ServiceType { service: String, kind: String },
    /// Two services of one name.
    #[error("spec.services[{service}] would be named {name:?}, as another service of this Cluster")]
    ServiceName { service: String, name: String },
}

impl From<NotOfType> for SpecError {
    fn from(error: NotOfType) -> Self {
        SpecError::NotOfType(error.to_string())
    }
}

/// A component's definition and version, as they are recorded in the Cluster's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    /// Name of the component.
    pub(super) name: String,
    /// Name of the definition.
    pub(super) component_def: String,
    /// Version.
    pub(super) service_version: String,
}

/// What shall be.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// To be recorded in the spec.
    pub(super) resolutions: Vec<Resolution>,
    /// Components that shall be.
    pub(super) components: Vec<Component>,
    /// Services that shall be.
    pub(super) services: Vec<Service>,
    /// Components that shall go.
    pub(super) obsolete_components: Vec<Component>,
    /// Services that shall go.
    pub(super) obsolete_services: Vec<Service>,
}

/// Plans a Cluster.
pub(super) fn plan(cluster: &Cluster, observed: &Observed) -> Result<Plan, SpecError> {
    let mut plan = Plan::default();
    for spec in &cluster.spec.component_specs {
        let resolution = resolve_component(cluster, spec, observed)?;
        plan.components
            .push(build::component(cluster, spec, &resolution)?);
        plan.resolutions.push(resolution);
    }
    plan.services = services(cluster)?;
    let kept = |name: &str| {
        plan.components
            .iter()
            .any(|wanted| wanted.name_any() == name)
    };
    plan.obsolete_components = observed
        .components
        .iter()
        .filter(|c| !kept(&c.name_any()))
        .cloned()
        .collect();
    let kept = |name: &str| plan.services.iter().any(|wanted| wanted.name_any() == name);
    plan.obsolete_services = observed
        .services
        .iter()
        .filter(|s| !kept(&s.name_any()))
        .cloned()
        .collect();
    Ok(plan)
}

fn resolve_component(
    cluster: &Cluster,
    spec: &ClusterComponentSpec,
    observed: &Observed,
) -> Result<Resolution, SpecError> {
    let name = ComponentName::new(&cluster.name_any(), &spec.name)?;
    let component = spec.name.clone();
    let mut offline = spec.offline_instances.iter();
    if let Some(stranger) = offline.find(|pod| name.ordinal(pod).is_none()) {
        return Err(SpecError::OfflineInstance {
            component,
            name: stranger.clone(),
            cluster: cluster.name_any(),
        });
    }
    let definition = spec
        .component_def
        .as_deref()
        .filter(|definition| !definition.is_empty());
    let Some(definition) = definition else {
        return Err(SpecError::NoDefinition { component });
    };
    let version = spec
        .service_version
        .as_deref()
        .filter(|version| !version.is_empty());
    let current = observed
        .components
        .iter()
        .find(|c| c.name_any() == name.as_str());
    let wanted = Wanted {
        definition,
        version,
        current: current.map(|c| c.spec.comp_def.as_str()),
    };
    let unresolved = |source| SpecError::Unresolved {
        component: component.clone(),
        source,
    };
    let found = resolve(wanted, &observed.definitions, &observed.versions).map_err(unresolved)?;
    let release = release_for(found, version, &observed.versions).map_err(unresolved)?;
    Ok(Resolution {
        name: spec.name.clone(),
        component_def: found.name_any(),
        service_version: release.service_version,
    })
}

fn services(cluster: &Cluster) -> Result<Vec<Service>, SpecError> {
    let mut services: Vec<Service> = Vec::new();
    for wanted in &cluster.spec.services {
        let service = wanted.name.clone();
        let known = |c: &str| {
            cluster
                .spec
                .component_specs
                .iter()
                .any(|spec| spec.name == c)
        };
        let selected = wanted
            .component_selector
            .as_deref()
            .filter(|c| !c.is_empty());
        if let Some(component) = selected.filter(|component| !known(component)) {
            let component = component.to_owned();
            return Err(SpecError::UnknownComponent { service, component });
        }
        let suffix = wanted.service_name.as_deref().unwrap_or(&wanted.name);
        let name = cluster_service(&cluster.name_any(), suffix);
        let of_component = |spec: &ClusterComponentSpec| {
            let root = format!("{}-{}", cluster.name_any(), spec.name);
            name == root || name == format!("{root}-headless")
        };
        let twice = services.iter().any(|s| s.name_any() == name);
        if twice || cluster.spec.component_specs.iter().any(of_component) {
            return Err(SpecError::ServiceName { service, name });
        }
        services.push(build::service(cluster, wanted, &name)?);
    }
    Ok(services)
}
