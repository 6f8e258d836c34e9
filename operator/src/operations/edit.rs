//! PURE: changes of a Cluster's spec: whether it has them, what it would be with them, the patch that makes them.

use etcd_operator_api::quantity::Resources;
use etcd_operator_api::{Cluster, ClusterComponentSpec, labels};
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
}

/// One field of one component.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) component: String,
    pub(super) field: Field,
}

impl Field {
    /// Whether the component has it so.
    pub(super) fn holds(&self, spec: &ClusterComponentSpec) -> bool {
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
        }
    }

    /// The field and its value, for a message.
    pub(super) fn told(&self, spec: &ClusterComponentSpec) -> String {
        let (field, value) = self.written(spec);
        format!("{field} {}", value.unwrap_or(Value::Null))
    }
}

/// The changes that the Cluster does not have yet.
pub(super) fn missing<'a>(cluster: &Cluster, changes: &'a [Change]) -> Vec<&'a Change> {
    let lacks = |change: &&Change| {
        let spec = component(cluster, &change.component);
        !spec.is_some_and(|spec| change.field.holds(spec))
    };
    changes.iter().filter(lacks).collect()
}

/// The Cluster as it would be.
pub(super) fn prospective(cluster: &Cluster, changes: &[Change]) -> Cluster {
    let mut next = cluster.clone();
    for change in changes {
        let mut specs = next.spec.component_specs.iter_mut();
        if let Some(spec) = specs.find(|spec| spec.name == change.component) {
            change.field.set(spec);
        }
    }
    next
}

/// The edit as a JSON patch of exactly this version of the Cluster.
pub(super) fn patch(cluster: &Cluster, changes: &[&Change]) -> Value {
    let version = json!(cluster.metadata.resource_version);
    let mut steps =
        vec![json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version })];
    for change in changes {
        let mut specs = cluster.spec.component_specs.iter().enumerate();
        let Some((at, spec)) = specs.find(|(_, spec)| spec.name == change.component) else {
            continue;
        };
        let (field, value) = change.field.written(spec);
        let path = format!("/spec/componentSpecs/{at}/{field}");
        steps.push(match value {
            Some(value) => json!({ "op": "add", "path": path, "value": value }),
            None => json!({ "op": "remove", "path": path }),
        });
    }
    Value::Array(steps)
}

/// The component of a name.
pub(super) fn component<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a ClusterComponentSpec> {
    cluster
        .spec
        .component_specs
        .iter()
        .find(|spec| spec.name == name)
}
