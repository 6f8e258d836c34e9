//! PURE: changes of a Cluster's spec: whether it has them, what it would be with them, the patch that makes them.

use std::collections::BTreeMap;

use etcd_operator_api::ops_request::{LastComponentConfiguration, LastConfiguration};
use etcd_operator_api::quantity::{Resources, amount};
use etcd_operator_api::service::ClusterService;
use etcd_operator_api::settings::ComponentConfig;
use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{Cluster, ClusterComponentSpec, labels, settings};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use crate::definition::matches;

/// A field of a component and its wanted value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Replicas(i32),
    OfflineInstances(Vec<String>),
    /// An upper bound by resource name.
    Limit(String, Option<Quantity>),
    /// A reserved amount by resource name.
    Request(String, Option<Quantity>),
    Stop(Option<bool>),
    /// Value of the annotation that recreates pods.
    Restart(Option<String>),
    ServiceVersion(Option<String>),
    /// Name, prefix or regular expression of a definition's name; the name itself is recorded in its place.
    ComponentDef(Option<String>),
    /// A setting of etcd; the definition's when there is no value.
    Setting(String, Option<String>),
    /// Size of a claim template, by its name.
    Storage(String, Quantity),
}

/// One change of a Cluster's spec.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// One field of one component.
    Component {
        /// Its name.
        component: String,
        /// The field.
        field: Field,
    },
    /// One service of the Cluster: as it is wanted, or to be removed.
    Service {
        /// Its name within the Cluster.
        name: String,
        /// The wanted service; `None` to remove it.
        wanted: Option<ClusterService>,
    },
}

impl Field {
    /// Whether the component has it so.
    fn holds(&self, spec: &ClusterComponentSpec) -> bool {
        match self {
            Field::Replicas(replicas) => spec.replicas == *replicas,
            Field::OfflineInstances(offline) => spec.offline_instances == *offline,
            Field::Limit(name, amount) => limit(spec, name) == amount.as_ref(),
            Field::Request(name, amount) => reserved(spec, name) == amount.as_ref(),
            Field::Stop(stop) => spec.stop.unwrap_or_default() == stop.unwrap_or_default(),
            Field::Restart(began) => spec.annotations.get(labels::RESTART) == began.as_ref(),
            Field::ComponentDef(wanted) => match (wanted, &spec.component_def) {
                (Some(wanted), Some(found)) => matches(wanted, found),
                (wanted, found) => wanted == found,
            },
            Field::ServiceVersion(version) => spec.service_version == *version,
            Field::Setting(name, value) => settings::of(&spec.configs).get(name) == value.as_ref(),
            Field::Storage(name, size) => storage(spec)
                .get(name)
                .is_some_and(|has| amount(has) == amount(size)),
        }
    }

    fn set(&self, spec: &mut ClusterComponentSpec) {
        match self.clone() {
            Field::Replicas(replicas) => spec.replicas = replicas,
            Field::OfflineInstances(offline) => spec.offline_instances = offline,
            Field::Limit(..) | Field::Request(..) => spec.resources = self.resources(spec),
            Field::Stop(stop) => spec.stop = stop,
            Field::Restart(began) => put(&mut spec.annotations, labels::RESTART, began),
            Field::ServiceVersion(version) => spec.service_version = version,
            Field::ComponentDef(definition) => spec.component_def = definition,
            Field::Setting(name, value) => spec.configs = configs(spec, &name, value),
            Field::Storage(name, size) => spec.volume_claim_templates = claims(spec, &name, size),
        }
    }

    /// The component's resources with this amount in them.
    fn resources(&self, spec: &ClusterComponentSpec) -> Option<Resources> {
        let mut all = spec.resources.clone().unwrap_or_default();
        let (amounts, name, amount) = match self {
            Field::Limit(name, amount) => (&mut all.limits, name, amount),
            Field::Request(name, amount) => (&mut all.requests, name, amount),
            _ => return spec.resources.clone(),
        };
        put(amounts, name, amount.clone());
        (!all.limits.is_empty() || !all.requests.is_empty()).then_some(all)
    }

    /// Name of the field and its wanted value; `None` to remove it.
    fn written(&self, spec: &ClusterComponentSpec) -> (&'static str, Option<Value>) {
        match self {
            Field::Replicas(replicas) => ("replicas", Some(json!(replicas))),
            Field::OfflineInstances(offline) => ("offlineInstances", Some(json!(offline))),
            Field::Limit(..) | Field::Request(..) => {
                ("resources", self.resources(spec).map(|r| json!(r)))
            }
            Field::Stop(stop) => ("stop", stop.map(|stop| json!(stop))),
            Field::Restart(began) => {
                let mut annotations = spec.annotations.clone();
                put(&mut annotations, labels::RESTART, began.clone());
                ("annotations", Some(json!(annotations)))
            }
            Field::ServiceVersion(version) => {
                ("serviceVersion", version.as_ref().map(|v| json!(v)))
            }
            Field::ComponentDef(name) => ("componentDef", name.as_ref().map(|n| json!(n))),
            Field::Setting(name, value) => {
                let all = configs(spec, name, value.clone());
                ("configs", Some(json!(all)))
            }
            Field::Storage(name, size) => {
                let all = claims(spec, name, size.clone());
                ("volumeClaimTemplates", Some(json!(all)))
            }
        }
    }

    /// The value that the field had before the operation; `None` when that is not on record.
    fn former(&self, last: &LastComponentConfiguration) -> Option<Field> {
        let resources = last.resources.as_ref();
        let former = last.former.as_ref();
        Some(match self {
            Field::Replicas(_) => Field::Replicas(last.replicas),
            Field::OfflineInstances(_) => Field::OfflineInstances(last.offline_instances.clone()),
            Field::Limit(name, _) => {
                let amount = resources.and_then(|all| all.limits.get(name));
                Field::Limit(name.clone(), amount.cloned())
            }
            Field::Request(name, _) => {
                let amount = resources.and_then(|all| all.requests.get(name));
                Field::Request(name.clone(), amount.cloned())
            }
            Field::Stop(_) => Field::Stop(former?.stop),
            Field::Restart(_) => Field::Restart(former?.restart.clone()),
            Field::ServiceVersion(_) => Field::ServiceVersion(former?.service_version.clone()),
            Field::ComponentDef(_) => Field::ComponentDef(former?.component_def.clone()),
            Field::Setting(name, _) => {
                Field::Setting(name.clone(), last.settings.get(name).cloned())
            }
            Field::Storage(name, _) => {
                Field::Storage(name.clone(), last.storage.get(name)?.clone())
            }
        })
    }

    /// The field and its value, for a message.
    fn told(&self) -> String {
        fn or_none(name: &str, value: Option<&str>) -> String {
            value.map_or_else(
                || format!("{name} unset"),
                |value| format!("{name} {value}"),
            )
        }
        match self {
            Field::Replicas(replicas) => format!("replicas {replicas}"),
            Field::OfflineInstances(offline) => format!("offlineInstances {}", json!(offline)),
            Field::Limit(name, amount) => {
                let amount = amount.as_ref().map(|amount| amount.0.as_str());
                or_none(&format!("resources.limits.{name}"), amount)
            }
            Field::Request(name, amount) => {
                let amount = amount.as_ref().map(|amount| amount.0.as_str());
                or_none(&format!("resources.requests.{name}"), amount)
            }
            Field::Stop(stop) => format!("stop {}", stop.unwrap_or_default()),
            Field::Restart(began) => {
                or_none(&format!("annotation {}", labels::RESTART), began.as_deref())
            }
            Field::ServiceVersion(version) => or_none("serviceVersion", version.as_deref()),
            Field::ComponentDef(name) => or_none("componentDef", name.as_deref()),
            Field::Setting(name, value) => or_none(&format!("setting {name}"), value.as_deref()),
            Field::Storage(name, size) => format!("volumeClaimTemplates[{name}] of {}", size.0),
        }
    }
}

/// Sizes of the claim templates, by name.
pub(super) fn storage(spec: &ClusterComponentSpec) -> BTreeMap<String, Quantity> {
    let templates = spec.volume_claim_templates.iter();
    let sizes = templates.filter_map(|template| {
        let size = template.spec.resources.requests.get("storage")?;
        Some((template.name.clone(), size.clone()))
    });
    sizes.collect()
}

/// The claim templates, the one of this name with another size.
fn claims(spec: &ClusterComponentSpec, name: &str, size: Quantity) -> Vec<VolumeClaimTemplate> {
    let mut all = spec.volume_claim_templates.clone();
    if let Some(template) = all.iter_mut().find(|template| template.name == name) {
        let requests = &mut template.spec.resources.requests;
        requests.insert("storage".to_owned(), size);
    }
    all
}

fn limit<'a>(spec: &'a ClusterComponentSpec, name: &str) -> Option<&'a Quantity> {
    spec.resources.as_ref()?.limits.get(name)
}

fn reserved<'a>(spec: &'a ClusterComponentSpec, name: &str) -> Option<&'a Quantity> {
    spec.resources.as_ref()?.requests.get(name)
}

fn put<T>(map: &mut BTreeMap<String, T>, name: &str, value: Option<T>) {
    match value {
        Some(value) => drop(map.insert(name.to_owned(), value)),
        None => drop(map.remove(name)),
    }
}

/// The component's settings with this one in them.
fn configs(spec: &ClusterComponentSpec, name: &str, value: Option<String>) -> Vec<ComponentConfig> {
    let mut settings = settings::of(&spec.configs);
    put(&mut settings, name, value);
    if settings.is_empty() {
        return Vec::new();
    }
    vec![ComponentConfig {
        name: settings::CONFIG.to_owned(),
        variables: settings,
        ..ComponentConfig::default()
    }]
}

impl Change {
    /// Whether the Cluster has it so.
    fn holds(&self, cluster: &Cluster) -> bool {
        match self {
            Change::Component { component, field } => {
                find(cluster, component).is_some_and(|spec| field.holds(spec))
            }
            Change::Service { name, wanted } => service(cluster, name) == wanted.as_ref(),
        }
    }

    fn set(&self, cluster: &mut Cluster) {
        match self {
            Change::Component { component, field } => {
                let mut specs = cluster.spec.component_specs.iter_mut();
                if let Some(spec) = specs.find(|spec| spec.name == *component) {
                    field.set(spec);
                }
            }
            Change::Service { name, wanted } => {
                let services = &mut cluster.spec.services;
                let at = services.iter().position(|service| service.name == *name);
                match (at, wanted.clone()) {
                    (Some(at), Some(wanted)) => services[at] = wanted,
                    (Some(at), None) => drop(services.remove(at)),
                    (None, wanted) => services.extend(wanted),
                }
            }
        }
    }

    /// Steps of a JSON patch of this Cluster.
    fn steps(&self, cluster: &Cluster) -> Option<Value> {
        let (path, value) = match self {
            Change::Component { component, field } => {
                let mut specs = cluster.spec.component_specs.iter().enumerate();
                let (at, spec) = specs.find(|(_, spec)| spec.name == *component)?;
                let (field, value) = field.written(spec);
                (format!("/spec/componentSpecs/{at}/{field}"), value)
            }
            Change::Service { name, wanted } => {
                let services = &cluster.spec.services;
                match services.iter().position(|service| service.name == *name) {
                    Some(at) => (
                        format!("/spec/services/{at}"),
                        wanted.as_ref().map(|w| json!(w)),
                    ),
                    None if services.is_empty() => {
                        ("/spec/services".to_owned(), Some(json!([wanted.as_ref()?])))
                    }
                    None => ("/spec/services/-".to_owned(), Some(json!(wanted.as_ref()?))),
                }
            }
        };
        Some(match value {
            // `add` puts a new entry before one of the same place in a list: that one is replaced.
            Some(value) if replaces(&path) => {
                json!({ "op": "replace", "path": path, "value": value })
            }
            Some(value) => json!({ "op": "add", "path": path, "value": value }),
            None => json!({ "op": "remove", "path": path }),
        })
    }

    /// What takes it back; `None` when what was there before is not on record.
    fn back(&self, before: &LastConfiguration) -> Option<Change> {
        Some(match self {
            Change::Component { component, field } => Change::Component {
                component: component.clone(),
                field: field.former(before.components.get(component)?)?,
            },
            Change::Service { name, .. } => Change::Service {
                name: name.clone(),
                wanted: before.services.get(name).cloned(),
            },
        })
    }

    /// That the Cluster has neither this nor what was there before, for a message.
    fn told_left(&self, former: &Change) -> String {
        match (self, former) {
            (Change::Component { component, field }, Change::Component { field: former, .. }) => {
                let (made, former) = (field.told(), former.told());
                format!("spec.componentSpecs[{component}] has neither {made} nor {former}")
            }
            (Change::Service { name, .. }, _) | (_, Change::Service { name, .. }) => {
                format!("spec.services[{name}] was edited")
            }
        }
    }

    /// What another client has changed since, for a message.
    pub(super) fn told(&self) -> String {
        match self {
            Change::Component { component, field } => {
                let field = field.told();
                format!("spec.componentSpecs[{component}] has no longer {field}")
            }
            Change::Service { name, wanted: None } => {
                format!("spec.services[{name}] was added again")
            }
            Change::Service { name, .. } => {
                format!("spec.services[{name}] was changed")
            }
        }
    }
}

fn replaces(path: &str) -> bool {
    let last = path.strip_prefix("/spec/services/");
    last.is_some_and(|last| last != "-")
}

/// The changes that the Cluster does not have yet.
pub(super) fn missing<'a>(cluster: &Cluster, changes: &'a [Change]) -> Vec<&'a Change> {
    let lacks = |change: &&Change| !change.holds(cluster);
    changes.iter().filter(lacks).collect()
}

/// What takes an edit back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Undo {
    /// Fields that have the operation's value: their former ones.
    pub(super) back: Vec<Change>,
    /// Fields that another client has edited since, with what they have now. They stay.
    pub(super) left: Vec<String>,
}

/// What gives back what the changes `made`, and nothing that was edited since.
pub(super) fn undoing(cluster: &Cluster, made: &[Change], before: &LastConfiguration) -> Undo {
    let mut undo = Undo::default();
    for change in made {
        let Some(back) = change.back(before).filter(|back| !back.holds(cluster)) else {
            continue;
        };
        if change.holds(cluster) {
            undo.back.push(back);
        } else {
            undo.left.push(change.told_left(&back));
        }
    }
    undo
}

/// The Cluster as it would be.
pub(super) fn prospective(cluster: &Cluster, changes: &[Change]) -> Cluster {
    let mut next = cluster.clone();
    for change in changes {
        change.set(&mut next);
    }
    next
}

/// The edit as a JSON patch of exactly this version of the Cluster.
pub(super) fn patch(cluster: &Cluster, changes: &[&Change]) -> Value {
    let version = json!(cluster.metadata.resource_version);
    let mut steps =
        vec![json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version })];
    let mut so_far = cluster.clone();
    for change in changes {
        let step = change.steps(&so_far);
        let is_field = matches!(change, Change::Component { .. });
        // Changes of one field (two settings, say) are one step: the last one holds them all.
        let path = step.as_ref().map(|step| step["path"].clone());
        steps.retain(|known| !is_field || Some(&known["path"]) != path.as_ref());
        steps.extend(step);
        // Places in a list are those after the steps before.
        change.set(&mut so_far);
    }
    Value::Array(steps)
}

fn find<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a ClusterComponentSpec> {
    let mut specs = cluster.spec.component_specs.iter();
    specs.find(|spec| spec.name == name)
}

/// The service of a name.
pub(super) fn service<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a ClusterService> {
    let mut services = cluster.spec.services.iter();
    services.find(|service| service.name == name)
}
