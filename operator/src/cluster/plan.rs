//! PURE: a Cluster and what was observed -> the objects that are wanted, and those to delete.
//!
//! The sole reader of the Cluster's raw spec. A spec that cannot be carried out gives one error that names
//! the field, and no object at all: running members stay as they are.

use etcd_operator_api::names::{ComponentName, cluster_service};
use etcd_operator_api::restore::SEED;
use etcd_operator_api::service::ClusterService;
use etcd_operator_api::update::PodUpdatePolicy;
use etcd_operator_api::{Cluster, ClusterComponentSpec, Component, ComponentDefinition, labels};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::observe::Observed;
use super::resolution::{Resolution, SpecError};
use super::{build, restore};
use crate::definition::{Wanted, release_for, resolve};

/// The desired objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// What the components were resolved to.
    pub(super) resolutions: Vec<Resolution>,
    /// Components that are wanted.
    pub(super) components: Vec<Component>,
    /// Services that are wanted.
    pub(super) services: Vec<Service>,
    /// Components to delete.
    pub(super) obsolete_components: Vec<Component>,
    /// Services to delete.
    pub(super) obsolete_services: Vec<Service>,
}

/// What a Component that is about to be deleted must be told first, as a merge patch: an earlier `DoNotTerminate` would
/// hold it back, and its claims live by the policies that hold now. `None` when it knows.
pub(super) fn last_word(cluster: &Cluster, component: &Component) -> Option<Value> {
    let name = component.labels().get(labels::COMPONENT_NAME);
    let mut specs = cluster.spec.component_specs.iter();
    let wish = specs.find(|spec| Some(&spec.name) == name)?;
    let claims = wish.persistent_volume_claim_retention_policy;
    let policy = cluster.spec.termination_policy;
    let known = &component.spec;
    let same = known.termination_policy == policy
        && known.persistent_volume_claim_retention_policy == claims;
    let parts = claims.unwrap_or_default();
    (!same).then(|| {
        json!({ "spec": {
            "terminationPolicy": policy,
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": parts.when_deleted, "whenScaled": parts.when_scaled,
            },
        }})
    })
}

/// Plans a Cluster.
pub(super) fn plan(cluster: &Cluster, observed: &Observed) -> Result<Plan, SpecError> {
    let mut plan = Plan::default();
    let sources = restore::requested(cluster).map_err(SpecError::Restore)?;
    for spec in &cluster.spec.component_specs {
        let resolution = resolve_component(cluster, spec, observed)?;
        let mut component = build::component(cluster, spec, &resolution)?;
        begin_with(&mut component, cluster, &resolution, &sources, observed)?;
        plan.components.push(component);
        plan.resolutions.push(resolution);
    }
    plan.services = services(cluster, &plan.resolutions, &observed.definitions)?;
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

/// What the component's data comes from: decided when it is made, and kept from then on.
fn begin_with(
    component: &mut Component,
    cluster: &Cluster,
    resolution: &Resolution,
    sources: &[restore::Source],
    observed: &Observed,
) -> Result<(), SpecError> {
    let name = component.name_any();
    let current = observed.components.iter().find(|c| c.name_any() == name);
    let source = sources
        .iter()
        .find(|source| source.component == resolution.name);
    let seed = match (current, source) {
        (Some(current), source) => match (current.annotations().get(SEED), source) {
            (None, Some(_)) => return Err(SpecError::Restore(restore::in_place(&resolution.name))),
            (seed, _) => seed.cloned(),
        },
        (None, None) => None,
        (None, Some(source)) => {
            let seed = restore::seed(
                cluster,
                source,
                &observed.backups,
                &resolution.service_version,
            );
            Some(restore::text(&seed.map_err(SpecError::Restore)?))
        }
    };
    if let Some(seed) = seed {
        component.annotations_mut().insert(SEED.to_owned(), seed);
    }
    Ok(())
}

fn resolve_component(
    cluster: &Cluster,
    spec: &ClusterComponentSpec,
    observed: &Observed,
) -> Result<Resolution, SpecError> {
    let name = ComponentName::new(&cluster.name_any(), &spec.name)?;
    let component = spec.name.clone();
    if !matches!(
        spec.pod_upgrade_policy,
        None | Some(PodUpdatePolicy::ReCreate)
    ) {
        return Err(SpecError::UpgradePolicy { component });
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
    // What runs stays until another version is asked for: a definition's newer default is no upgrade.
    let runs = current.and_then(|component| component.spec.service_version.as_deref());
    let runs = runs.filter(|runs| release_for(found, Some(runs), &observed.versions).is_ok());
    let release = release_for(found, version.or(runs), &observed.versions).map_err(unresolved)?;
    Ok(Resolution {
        name: spec.name.clone(),
        component_def: found.name_any(),
        service_version: release.service_version,
    })
}

fn services(
    cluster: &Cluster,
    resolutions: &[Resolution],
    definitions: &[ComponentDefinition],
) -> Result<Vec<Service>, SpecError> {
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
        check_role(wanted, selected, resolutions, definitions)?;
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

/// A service of a role that no pod ever has would lead nowhere.
fn check_role(
    wanted: &ClusterService,
    selected: Option<&str>,
    resolutions: &[Resolution],
    definitions: &[ComponentDefinition],
) -> Result<(), SpecError> {
    let Some(role) = wanted.role_selector.as_deref().filter(|r| !r.is_empty()) else {
        return Ok(());
    };
    let behind = |definition: &&ComponentDefinition| {
        resolutions.iter().any(|resolution| {
            selected.is_none_or(|selected| selected == resolution.name)
                && resolution.component_def == definition.name_any()
        })
    };
    let behind = definitions.iter().filter(behind);
    let mut known: Vec<&str> = behind
        .flat_map(|definition| &definition.spec.roles)
        .map(|role| role.name.as_str())
        .collect();
    known.sort_unstable();
    known.dedup();
    match known.contains(&role) {
        true => Ok(()),
        false => Err(SpecError::UnknownRole {
            service: wanted.name.clone(),
            role: role.to_owned(),
            known: known.join(", "),
        }),
    }
}
