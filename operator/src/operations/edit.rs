//! PURE: changes of a Cluster's spec: whether it has them, what it would be with them, the patch that makes them.

use std::collections::BTreeMap;

use etcd_operator_api::cluster::ComponentConfig;
use etcd_operator_api::quantity::Resources;
use etcd_operator_api::service::ClusterService;
use etcd_operator_api::{Cluster, ClusterComponentSpec, labels, settings};
use serde_json::{Value, json};

use crate::definition::matches;

/// A field of a component and the value that it shall have.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Replicas(i32),
    OfflineInstances(Vec<String>),
    Resources(Option<Resources>),
    Stop(bool),
    /// Value of the annotation that makes pods anew.
    Restart(String),
    ServiceVersion(String),
    /// Name, prefix or regular expression of a definition's name; the name itself is recorded in its place.
    ComponentDef(String),
    /// All settings of etcd.
    Settings(BTreeMap<String, String>),
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
    /// One service of the Cluster: as it shall be, or not at all.
    Service {
        /// Its name within the Cluster.
        name: String,
        /// What it shall be.
        wanted: Option<ClusterService>,
    },
}

impl Field {
    /// Whether the component has it so.
    fn holds(&self, spec: &ClusterComponentSpec) -> bool {
        match self {
            Field::Replicas(replicas) => spec.replicas == *replicas,
            Field::OfflineInstances(offline) => spec.offline_instances == *offline,
            Field::Resources(resources) => spec.resources == *resources,
            Field::Stop(stop) => spec.stop.unwrap_or_default() == *stop,
            Field::Restart(began) => spec.annotations.get(labels::RESTART) == Some(began),
            Field::ComponentDef(wanted) => {
                let found = spec.component_def.as_ref();
                found.is_some_and(|found| matches(wanted, found))
            }
            Field::ServiceVersion(version) => spec.service_version.as_ref() == Some(version),
            Field::Settings(wanted) => settings::of(&spec.configs) == *wanted,
        }
    }

    fn set(&self, spec: &mut ClusterComponentSpec) {
        match self.clone() {
            Field::Replicas(replicas) => spec.replicas = replicas,
            Field::OfflineInstances(offline) => spec.offline_instances = offline,
            Field::Resources(resources) => spec.resources = resources,
            Field::Stop(stop) => spec.stop = Some(stop),
            Field::Restart(began) => {
                spec.annotations.insert(labels::RESTART.to_owned(), began);
            }
            Field::ServiceVersion(version) => spec.service_version = Some(version),
            Field::ComponentDef(definition) => spec.component_def = Some(definition),
            Field::Settings(wanted) => spec.configs = configs(wanted),
        }
    }

    /// Name of the field and the value that it shall have; `None` when it shall not be there.
    fn written(&self, spec: &ClusterComponentSpec) -> (&'static str, Option<Value>) {
        match self {
            Field::Replicas(replicas) => ("replicas", Some(json!(replicas))),
            Field::OfflineInstances(offline) => ("offlineInstances", Some(json!(offline))),
            Field::Resources(resources) => ("resources", resources.as_ref().map(|r| json!(r))),
            Field::Stop(stop) => ("stop", Some(json!(stop))),
            Field::Restart(began) => {
                let mut annotations = spec.annotations.clone();
                annotations.insert(labels::RESTART.to_owned(), began.clone());
                ("annotations", Some(json!(annotations)))
            }
            Field::ServiceVersion(version) => ("serviceVersion", Some(json!(version))),
            Field::ComponentDef(definition) => ("componentDef", Some(json!(definition))),
            Field::Settings(wanted) => ("configs", Some(json!(configs(wanted.clone())))),
        }
    }
}

fn configs(settings: BTreeMap<String, String>) -> Vec<ComponentConfig> {
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

    /// Where it is and what shall be there, for a message.
    pub(super) fn told(&self, cluster: &Cluster) -> String {
        match self {
            Change::Component { component, field } => {
                let (name, value) = match find(cluster, component) {
                    Some(spec) => field.written(spec),
                    None => ("nothing", None),
                };
                let value = value.unwrap_or(Value::Null);
                format!("spec.componentSpecs[{component}] since: it has no longer {name} {value}")
            }
            Change::Service { name, wanted: None } => {
                format!("spec.services since: it has {name} again")
            }
            Change::Service { name, .. } => {
                format!("spec.services since: it has {name} no longer as it was asked for")
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
        steps.extend(change.steps(&so_far));
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
