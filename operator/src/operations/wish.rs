//! PURE: what a request means for its Cluster: which components, what was there before, what changes.
//!
//! Computed from the recorded state before the operation, never from the present one: to compute it twice is to
//! compute the same (C1).

use std::collections::BTreeMap;

use etcd_operator_api::ops_request::{
    ComponentOps, HorizontalScaling, LastComponentConfiguration, LastConfiguration, Parameter,
    Reconfigure, ScaleIn, ScaleOut, VerticalScaling,
};
use etcd_operator_api::quantity::Resources;
use etcd_operator_api::{
    Cluster, ClusterComponentSpec, InstanceSet, OpsRequest, OpsType, settings,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::edit::{Change, Field};
use super::{expose, rebuild};

/// The request contradicts the Cluster or itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{field} names component {name:?}, which cluster {cluster} does not have: {known}")]
    UnknownComponent {
        field: &'static str,
        name: String,
        cluster: String,
        known: String,
    },
    #[error("{field} names component {name:?} twice")]
    Twice { field: &'static str, name: String },
    #[error(
        "horizontalScaling[{component}] would leave {replicas} of {from} members: at least 1 must stay; to stop the component use type Stop"
    )]
    NoneLeft {
        component: String,
        from: i32,
        replicas: i32,
    },
    #[error(
        "horizontalScaling[{component}] goes from {from} to {replicas} members, and {replicas} is even: make it {} or {}",
        replicas - 1, replicas + 1
    )]
    Even {
        component: String,
        from: i32,
        replicas: i32,
    },
    #[error(
        "horizontalScaling[{component}].{field} names {listed} instances, replicaChanges is {changes}: it must be at least as many"
    )]
    MoreNamedThanChanged {
        component: String,
        field: &'static str,
        listed: usize,
        changes: i32,
    },
    #[error("horizontalScaling[{component}].{field} names {name:?}, which is {what}")]
    Instance {
        component: String,
        field: &'static str,
        name: String,
        what: &'static str,
    },
    #[error("switchover[{component}]: {name:?} is not an instance of the component: {known}")]
    Stranger {
        component: String,
        name: String,
        known: String,
    },
    #[error("switchover[{component}]: instanceName and candidateName are both {name:?}")]
    ItselfAsCandidate { component: String, name: String },
    #[error("rebuildFrom[{component}]: {name:?} is not a member of the component: {known}")]
    NoMember {
        component: String,
        name: String,
        known: String,
    },
    #[error(
        "rebuildFrom[{component}]: {name:?} cannot be rebuilt, no other member has a vote and its data"
    )]
    OnlyMember { component: String, name: String },
    #[error(
        "rebuildFrom[{component}]: {name:?} has no claim: its disk is lost, and it is replaced without being asked"
    )]
    NoClaim { component: String, name: String },
    #[error(
        "expose: spec.services has another {name:?} already: give yours another name, or disable that one first"
    )]
    ServiceThere { name: String },
    #[error("expose: {suffix:?} is longer than 25 characters: give the service a shorter name")]
    ServiceName { suffix: String },
    #[error("expose: spec.services has no {name:?} to disable, there are: {known}")]
    NoService { name: String, known: String },
}

/// A request that was read against its Cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) before: LastConfiguration,
    pub(super) changes: Vec<Change>,
}

/// What the request would change now.
pub(super) fn planned(
    request: &OpsRequest,
    cluster: &Cluster,
    sets: &BTreeMap<String, InstanceSet>,
    claims: &BTreeMap<String, String>,
    now: &Time,
) -> Result<Planned, Refused> {
    let components = components(request, cluster)?;
    let mut before = before(cluster, sets, &components);
    check_switchover(request, &before)?;
    expose::check(request, cluster)?;
    rebuild::record(request, &mut before, sets, claims)?;
    let changes = changes(request, &before, &now.0.to_string())?;
    Ok(Planned { before, changes })
}

/// What the operation may change, as it is now: recorded before the first edit.
fn before(
    cluster: &Cluster,
    sets: &BTreeMap<String, InstanceSet>,
    components: &[String],
) -> LastConfiguration {
    let instances = |component: &String| -> Vec<String> {
        let status = sets.get(component).and_then(|set| set.status.as_ref());
        let members = status.into_iter().flat_map(|status| &status.members);
        members.map(|member| member.pod_name.clone()).collect()
    };
    let named = cluster
        .spec
        .component_specs
        .iter()
        .filter(|spec| components.contains(&spec.name));
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
            ..LastComponentConfiguration::default()
        };
        (spec.name.clone(), last)
    });
    LastConfiguration {
        components: components.collect(),
    }
}

/// The field of an operation, and the components that it names.
fn named(request: &OpsRequest) -> (&'static str, Vec<String>) {
    fn all<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
        names.cloned().collect()
    }
    let spec = &request.spec;
    let plain = |list: &[ComponentOps]| all(list.iter().map(|ops| &ops.component_name));
    match spec.kind {
        OpsType::Restart => ("restart", plain(&spec.restart)),
        OpsType::Stop => ("stop", plain(&spec.stop)),
        OpsType::Start => ("start", plain(&spec.start)),
        OpsType::HorizontalScaling => {
            let names = spec
                .horizontal_scaling
                .iter()
                .map(|ops| &ops.component_name);
            ("horizontalScaling", all(names))
        }
        OpsType::VerticalScaling => {
            let names = spec.vertical_scaling.iter().map(|ops| &ops.component_name);
            ("verticalScaling", all(names))
        }
        OpsType::Switchover => {
            let names = spec.switchover.iter();
            let names = names.map(|ops| ops.component_name.clone().unwrap_or_default());
            ("switchover", names.collect())
        }
        OpsType::Upgrade => {
            let names = spec.upgrade.iter().flat_map(|upgrade| &upgrade.components);
            (
                "upgrade.components",
                all(names.map(|ops| &ops.component_name)),
            )
        }
        OpsType::Reconfiguring => {
            let names = spec.reconfigures.iter().map(|ops| &ops.component_name);
            ("reconfigures", all(names))
        }
        OpsType::Expose => {
            let names = spec.expose.iter().map(|ops| &ops.component_name);
            ("expose", all(names))
        }
        OpsType::RebuildInstance => {
            let names = spec.rebuild_from.iter().map(|ops| &ops.component_name);
            ("rebuildFrom", all(names))
        }
    }
}

/// The components that the operation is about.
fn components(request: &OpsRequest, cluster: &Cluster) -> Result<Vec<String>, Refused> {
    let spec = &request.spec;
    let (field, names) = named(request);
    let known: Vec<String> = cluster
        .spec
        .component_specs
        .iter()
        .map(|spec| spec.name.clone())
        .collect();
    if names.is_empty() && matches!(spec.kind, OpsType::Stop | OpsType::Start) {
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
    let spec = &request.spec;
    let mut changes = expose::changes(request);
    for (component, last) in &before.components {
        let mut change = |field: Field| {
            changes.push(Change::Component {
                component: component.clone(),
                field,
            });
        };
        match spec.kind {
            OpsType::Restart => change(Field::Restart(began.to_owned())),
            OpsType::Stop => change(Field::Stop(true)),
            OpsType::Start => change(Field::Stop(false)),
            OpsType::HorizontalScaling => {
                let mut of = spec.horizontal_scaling.iter();
                if let Some(wish) = of.find(|wish| wish.component_name == *component) {
                    let (replicas, offline) = scaled(component, wish, last)?;
                    change(Field::Replicas(replicas));
                    if offline != last.offline_instances {
                        change(Field::OfflineInstances(offline));
                    }
                }
            }
            OpsType::VerticalScaling => {
                let mut of = spec.vertical_scaling.iter();
                if let Some(wish) = of.find(|wish| wish.component_name == *component) {
                    change(Field::Resources(Some(resized(wish, last))));
                }
            }
            OpsType::Upgrade => {
                let mut of = spec.upgrade.iter().flat_map(|upgrade| &upgrade.components);
                if let Some(wish) = of.find(|wish| wish.component_name == *component) {
                    if let Some(definition) = &wish.component_definition_name {
                        change(Field::ComponentDef(definition.clone()));
                    }
                    if let Some(version) = &wish.service_version {
                        change(Field::ServiceVersion(version.clone()));
                    }
                }
            }
            OpsType::Reconfiguring => {
                let mut of = spec.reconfigures.iter();
                if let Some(wish) = of.find(|wish| wish.component_name == *component) {
                    change(Field::Settings(reconfigured(wish, last)));
                }
            }
            OpsType::Switchover | OpsType::Expose | OpsType::RebuildInstance => {}
        }
    }
    Ok(changes)
}

/// Whether leadership is asked to move between members of the component. Who of them leads, and who is fit to, is told
/// by their agents when they are asked.
fn check_switchover(request: &OpsRequest, before: &LastConfiguration) -> Result<(), Refused> {
    for wish in &request.spec.switchover {
        let component = wish.component_name.clone().unwrap_or_default();
        let Some(last) = before.components.get(&component) else {
            continue;
        };
        let instance = Some(&wish.instance_name);
        let candidate = wish.candidate_name.as_ref().filter(|name| !name.is_empty());
        if instance == candidate {
            let name = wish.instance_name.clone();
            return Err(Refused::ItselfAsCandidate { component, name });
        }
        let mut named = instance.into_iter().chain(candidate);
        if let Some(name) = named.find(|name| !last.instances.contains(*name)) {
            return Err(Refused::Stranger {
                component,
                name: name.clone(),
                known: last.instances.join(", "),
            });
        }
    }
    Ok(())
}

/// What takes the operation back.
pub(super) fn undoing(request: &OpsRequest, before: &LastConfiguration) -> Vec<Change> {
    let of = |(component, last): (&String, &LastComponentConfiguration)| {
        let fields = match request.spec.kind {
            OpsType::HorizontalScaling => vec![
                Field::Replicas(last.replicas),
                Field::OfflineInstances(last.offline_instances.clone()),
            ],
            OpsType::VerticalScaling => vec![Field::Resources(last.resources.clone())],
            _ => Vec::new(),
        };
        let component = component.clone();
        fields.into_iter().map(move |field| Change::Component {
            component: component.clone(),
            field,
        })
    };
    before.components.iter().flat_map(of).collect()
}

/// The number of members that a scaling leads to, and the pods that shall not exist.
fn scaled(
    component: &str,
    wish: &HorizontalScaling,
    last: &LastComponentConfiguration,
) -> Result<(i32, Vec<String>), Refused> {
    let from = last.replicas;
    let mut replicas = from;
    let mut offline = last.offline_instances.clone();
    if let Some(out) = &wish.scale_out {
        replicas = replicas.saturating_add(grow(component, out, &mut offline)?);
    }
    if let Some(less) = &wish.scale_in {
        replicas = replicas.saturating_sub(shrink(component, less, last, &mut offline)?);
    }
    let component = component.to_owned();
    if replicas < 1 {
        return Err(Refused::NoneLeft {
            component,
            from,
            replicas,
        });
    }
    if replicas % 2 == 0 {
        return Err(Refused::Even {
            component,
            from,
            replicas,
        });
    }
    Ok((replicas, offline))
}

fn grow(component: &str, out: &ScaleOut, offline: &mut Vec<String>) -> Result<i32, Refused> {
    let field = "scaleOut.offlineInstancesToOnline";
    let listed = &out.offline_instances_to_online;
    let changes = changed((component, field), out.replica_changes, listed)?;
    for name in listed {
        if !offline.contains(name) {
            return Err(instance(
                (component, field),
                name,
                "not one of offlineInstances",
            ));
        }
        offline.retain(|known| known != name);
    }
    Ok(changes)
}

fn shrink(
    component: &str,
    less: &ScaleIn,
    last: &LastComponentConfiguration,
    offline: &mut Vec<String>,
) -> Result<i32, Refused> {
    let field = "scaleIn.onlineInstancesToOffline";
    let listed = &less.online_instances_to_offline;
    let changes = changed((component, field), less.replica_changes, listed)?;
    for name in listed {
        if offline.contains(name) {
            return Err(instance((component, field), name, "offline already"));
        }
        if !last.instances.contains(name) {
            return Err(instance(
                (component, field),
                name,
                "no member of the component",
            ));
        }
        offline.push(name.clone());
    }
    Ok(changes)
}

/// By how many members the size changes: as many as are named where no number is given, and never fewer.
fn changed(
    (component, field): (&str, &'static str),
    changes: Option<i32>,
    listed: &[String],
) -> Result<i32, Refused> {
    let count = i32::try_from(listed.len()).unwrap_or(i32::MAX);
    let changes = changes.unwrap_or(count);
    if count <= changes {
        return Ok(changes);
    }
    Err(Refused::MoreNamedThanChanged {
        component: component.to_owned(),
        field,
        listed: listed.len(),
        changes,
    })
}

fn instance((component, field): (&str, &'static str), name: &str, what: &'static str) -> Refused {
    Refused::Instance {
        component: component.to_owned(),
        field,
        name: name.to_owned(),
        what,
    }
}

/// What is not named stays as it was.
fn resized(wish: &VerticalScaling, last: &LastComponentConfiguration) -> Resources {
    let mut resources = last.resources.clone().unwrap_or_default();
    resources.limits.extend(wish.limits.clone());
    resources.requests.extend(wish.requests.clone());
    resources
}

/// A setting without a value goes back to the definition's.
fn reconfigured(wish: &Reconfigure, last: &LastComponentConfiguration) -> BTreeMap<String, String> {
    let mut settings = last.settings.clone();
    for Parameter { key, value } in &wish.parameters {
        match value {
            Some(value) => settings.insert(key.clone(), value.clone()),
            None => settings.remove(key),
        };
    }
    settings
}
