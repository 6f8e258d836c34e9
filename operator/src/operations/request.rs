//! PURE: what a request means for its Cluster: which components, what was there before, what changes.
//!
//! Computed from the recorded state before the operation, never from the present one: to compute it twice is to
//! compute the same (C1).

use std::collections::BTreeMap;

use etcd_operator_api::ops_request::{FormerSpec, LastComponentConfiguration, LastConfiguration};
use etcd_operator_api::service::ClusterService;
use etcd_operator_api::{Cluster, ClusterComponentSpec, OpsRequest, labels, settings};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::{Resource, ResourceExt};

use super::edit::{self, Change};
use super::kind::Edited;
use super::kinds;
use super::observed::Seen;
use super::refusal::Refused;

/// A request that was read against its Cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) before: LastConfiguration,
    pub(super) changes: Vec<Change>,
}

/// Whether the request was made for an earlier Cluster of that name: it has that one as its owner.
pub(super) fn is_for_another(request: &OpsRequest, cluster: &Cluster) -> bool {
    let group = Cluster::group(&());
    let is_named = |owner: &&OwnerReference| {
        let in_group = owner.api_version.split('/').next() == Some(&*group);
        in_group && owner.kind == Cluster::kind(&()) && owner.name == cluster.name_any()
    };
    let mut owners = request.owner_references().iter().filter(is_named);
    let known = owners.clone().next().is_some();
    known && !owners.any(|owner| Some(&owner.uid) == cluster.metadata.uid.as_ref())
}

/// Whether the request may begin in the phase in which the Cluster is.
pub(super) fn fits(request: &OpsRequest, cluster: &Cluster) -> bool {
    let phase = cluster.status.as_ref().and_then(|status| status.phase);
    let kind = kinds::of(request.spec.kind);
    request.spec.force == Some(true) || phase.is_some_and(|phase| kind.begins_in(phase))
}

/// What the request would change now.
pub(super) fn planned(
    request: &OpsRequest,
    cluster: &Cluster,
    seen: &Seen,
    now: &Time,
) -> Result<Planned, Refused> {
    let components = components(request, cluster)?;
    let mut before = before(cluster, seen, &components);
    kinds::of(request.spec.kind).check(request, seen, &mut before)?;
    let changes = changes(request, &before, &now.0.to_string())?;
    before.services = services(cluster, &changes);
    Ok(Planned { before, changes })
}

/// What the operation may change, as it is now: recorded before the first edit.
fn before(cluster: &Cluster, seen: &Seen, components: &[String]) -> LastConfiguration {
    let instances = |component: &String| -> Vec<String> {
        let set = seen.sets.get(component);
        let status = set.and_then(|set| set.status.as_ref());
        let members = status.into_iter().flat_map(|status| &status.members);
        members.map(|member| member.pod_name.clone()).collect()
    };
    let specs = cluster.spec.component_specs.iter();
    let named = specs.filter(|spec| components.contains(&spec.name));
    // The spec may leave both to the operator.
    let status = cluster.status.as_ref();
    let resolved = |spec: &ClusterComponentSpec| status?.components.get(&spec.name);
    let components = named.map(|spec| {
        let last = LastComponentConfiguration {
            replicas: spec.replicas,
            instances: instances(&spec.name),
            offline_instances: spec.offline_instances.clone(),
            resources: spec.resources.clone(),
            service_version: resolved(spec)
                .and_then(|now| now.service_version.clone())
                .or_else(|| spec.service_version.clone()),
            component_definition_name: resolved(spec)
                .and_then(|now| now.component_def.clone())
                .or_else(|| spec.component_def.clone()),
            settings: settings::of(&spec.configs),
            storage: edit::storage(spec),
            former: Some(FormerSpec {
                stop: spec.stop,
                restart: spec.annotations.get(labels::RESTART).cloned(),
                service_version: spec.service_version.clone(),
                component_def: spec.component_def.clone(),
            }),
            ..LastComponentConfiguration::default()
        };
        (spec.name.clone(), last)
    });
    LastConfiguration {
        components: components.collect(),
        ..LastConfiguration::default()
    }
}

/// The services of these changes, as the Cluster has them now.
fn services(cluster: &Cluster, changes: &[Change]) -> BTreeMap<String, ClusterService> {
    let named = changes.iter().filter_map(|change| match change {
        Change::Service { name, .. } => Some(name),
        Change::Component { .. } => None,
    });
    let there =
        named.filter_map(|name| Some((name.clone(), edit::service(cluster, name)?.clone())));
    there.collect()
}

/// The components that the operation is about.
fn components(request: &OpsRequest, cluster: &Cluster) -> Result<Vec<String>, Refused> {
    let spec = &request.spec;
    let kind = kinds::of(spec.kind);
    let (field, names) = kind.named(spec);
    let specs = cluster.spec.component_specs.iter();
    let known: Vec<String> = specs.map(|spec| spec.name.clone()).collect();
    if names.is_empty() && kind.means_all() {
        return Ok(known);
    }
    for (at, name) in names.iter().enumerate() {
        if !known.contains(name) {
            return Err(Refused::UnknownComponent {
                field,
                name: name.clone(),
                cluster: spec.cluster_name.clone(),
                known: known.join(", "),
            });
        }
        if names[..at].contains(name) {
            let name = name.clone();
            return Err(Refused::Twice { field, name });
        }
    }
    Ok(names)
}

/// The edit of the Cluster, from the state `before` it; `began` marks the pods' restart.
pub(super) fn changes(
    request: &OpsRequest,
    before: &LastConfiguration,
    began: &str,
) -> Result<Vec<Change>, Refused> {
    let kind = kinds::of(request.spec.kind);
    let mut changes = kind.services(request);
    for (component, last) in &before.components {
        let edited = Edited {
            spec: &request.spec,
            component,
            last,
            began,
        };
        let fields = kind.fields(&edited)?.into_iter();
        changes.extend(fields.map(|field| Change::Component {
            component: component.clone(),
            field,
        }));
    }
    Ok(changes)
}
