//! What the API server has of pods, namespaces and policies, as far as rules are made of it. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use kube::core::Object;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;
/// Namespace and name.
pub(crate) type Key = (String, String);

/// A pod as it is read: the rest of it is left in the answer.
pub(crate) type ReadPod = Object<ReadSpec, ReadStatus>;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReadSpec {
    node_name: String,
    host_network: bool,
    containers: Vec<ReadContainer>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ReadContainer {
    ports: Vec<ReadPort>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadPort {
    name: String,
    container_port: u16,
    protocol: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReadStatus {
    phase: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<ReadAddress>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ReadAddress {
    ip: String,
}

/// A pod with an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) labels: Labels,
    pub(crate) node: String,
    pub(crate) address: Ipv4Addr,
    /// Numbers of its ports with a name, by protocol and name.
    pub(crate) ports: BTreeMap<(String, String), u16>,
}

impl Pod {
    /// None while it has no address, when it is the node's, and when it has ended: its address may be another's then.
    fn of(read: ReadPod) -> Option<Self> {
        let status = read.status.unwrap_or_default();
        if read.spec.host_network || ["Succeeded", "Failed"].contains(&status.phase.as_str()) {
            return None;
        }
        let address = status.pod_ips.iter().find_map(|a| a.ip.parse().ok())?;
        let ports = read.spec.containers.into_iter().flat_map(|c| c.ports);
        let named = ports.filter(|port| !port.name.is_empty());
        let named = named.map(|port| ((port.protocol, port.name), port.container_port));
        Some(Self {
            labels: read.metadata.labels.unwrap_or_default(),
            node: read.spec.node_name,
            address,
            ports: named.collect(),
        })
    }
}

/// Objects of a kind: those of the last complete list, and what has changed since.
#[derive(Debug)]
pub(crate) struct Kept<V> {
    now: BTreeMap<Key, V>,
    listed: Option<BTreeMap<Key, V>>,
    complete: bool,
}

impl<V> Default for Kept<V> {
    fn default() -> Self {
        Self {
            now: BTreeMap::new(),
            listed: None,
            complete: false,
        }
    }
}

impl<V> Kept<V> {
    fn take<K: Resource>(&mut self, event: Event<K>, of: impl FnOnce(K) -> Option<V>) {
        let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Event::Init => self.listed = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let key = key(&object);
                if let (Some(listed), Some(value)) = (&mut self.listed, of(object)) {
                    listed.insert(key, value);
                }
            }
            Event::InitDone => {
                self.now = self.listed.take().unwrap_or_default();
                self.complete = true;
            }
            Event::Apply(object) => {
                let key = key(&object);
                match of(object) {
                    Some(value) => self.now.insert(key, value),
                    None => self.now.remove(&key),
                };
            }
            Event::Delete(object) => {
                self.now.remove(&key(&object));
            }
        }
    }
}

/// A change of any of the kinds.
#[derive(Debug)]
pub(crate) enum Change {
    Pod(Event<ReadPod>),
    Namespace(Event<Namespace>),
    Policy(Event<NetworkPolicy>),
}

/// All that rules are made of.
#[derive(Debug, Default)]
pub(crate) struct State {
    pods: Kept<Pod>,
    namespaces: Kept<Labels>,
    policies: Kept<NetworkPolicySpec>,
}

impl State {
    /// Takes a change.
    pub(crate) fn take(&mut self, change: Change) {
        match change {
            Change::Pod(event) => self.pods.take(event, Pod::of),
            Change::Namespace(event) => self
                .namespaces
                .take(event, |namespace| Some(namespace.labels().clone())),
            Change::Policy(event) => self.policies.take(event, |policy| policy.spec),
        }
    }

    /// True when all kinds were listed once: half of the pods would make rules that refuse the others.
    pub(crate) fn is_complete(&self) -> bool {
        self.pods.complete && self.namespaces.complete && self.policies.complete
    }

    /// The pods.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (&Key, &Pod)> {
        self.pods.now.iter()
    }

    /// Labels of a namespace.
    pub(crate) fn namespace(&self, name: &str) -> Option<&Labels> {
        self.namespaces.now.get(&(String::new(), name.to_owned()))
    }

    /// The policies of a namespace.
    pub(crate) fn policies(&self, namespace: &str) -> impl Iterator<Item = &NetworkPolicySpec> {
        let all = self.policies.now.iter();
        let namespace = namespace.to_owned();
        all.filter(move |((of, _), _)| *of == namespace)
            .map(|(_, policy)| policy)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A state with these objects.
    pub(crate) fn state(pods: &[Value], namespaces: &[Value], policies: &[Value]) -> State {
        let mut state = State::default();
        for event in events(pods) {
            state.take(Change::Pod(event));
        }
        for event in events(namespaces) {
            state.take(Change::Namespace(event));
        }
        for event in events(policies) {
            state.take(Change::Policy(event));
        }
        state
    }

    fn events<K: serde::de::DeserializeOwned>(objects: &[Value]) -> Vec<Event<K>> {
        let objects = objects.iter().map(|object| {
            let object = serde_json::from_value(object.clone());
            Event::InitApply(object.expect("an object"))
        });
        let begin = std::iter::once(Event::Init);
        begin.chain(objects).chain([Event::InitDone]).collect()
    }

    /// A pod of a namespace, on a node.
    pub(crate) fn pod(place: (&str, &str), node: &str, address: &str, labels: Value) -> Value {
        let (namespace, name) = place;
        let ports = json!([{ "name": "clients", "containerPort": 2379, "protocol": "TCP" }]);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace, "labels": labels },
            "spec": { "nodeName": node, "containers": [{ "ports": ports }] },
            "status": { "phase": "Running", "podIPs": [{ "ip": address }] },
        })
    }

    #[test]
    fn nothing_is_complete_before_every_kind_was_listed() {
        let mut state = State::default();
        for event in events(&[pod(("a", "p"), "n", "10.0.0.1", json!({}))]) {
            state.take(Change::Pod(event));
        }
        assert!(!state.is_complete());
        assert!(super::tests::state(&[], &[], &[]).is_complete());
    }

    #[test]
    fn a_list_replaces_what_was_there_only_when_it_is_complete() {
        let one = pod(("a", "one"), "n", "10.0.0.1", json!({}));
        let two = pod(("a", "two"), "n", "10.0.0.2", json!({}));
        let mut state = state(&[one], &[], &[]);
        let mut again = events(&[two]);
        let done = again.pop().expect("the end of the list");
        for event in again {
            state.take(Change::Pod(event));
        }
        let names = |state: &State| -> Vec<String> {
            state.pods().map(|((_, name), _)| name.clone()).collect()
        };
        assert_eq!(names(&state), ["one"]);
        state.take(Change::Pod(done));
        assert_eq!(names(&state), ["two"]);
    }

    #[test]
    fn a_pod_without_an_address_of_its_own_and_one_that_has_ended_are_none() {
        let mut ended = pod(("a", "ended"), "n", "10.0.0.1", json!({}));
        ended["status"]["phase"] = json!("Succeeded");
        let mut host = pod(("a", "host"), "n", "172.18.0.2", json!({}));
        host["spec"]["hostNetwork"] = json!(true);
        let mut young = pod(("a", "young"), "n", "", json!({}));
        young["status"] = json!({ "phase": "Pending" });
        let six = pod(("a", "six"), "n", "fd00::1", json!({}));
        assert_eq!(
            state(&[ended, host, young, six], &[], &[]).pods().count(),
            0
        );
    }
}
