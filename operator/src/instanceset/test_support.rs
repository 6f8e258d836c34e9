//! What tests of observing share: the sources of a fake API server, and volumes of nodes.

use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher;
use serde_json::{Value, json};

use super::observe::Sources;
use super::rehearse::Rehearsals;
use crate::controller::Context;
use crate::roles::MemberStore;

/// What [`Sources`] borrow.
pub(super) struct FakeSources {
    context: Context,
    views: MemberStore,
    nodes: Store<Node>,
    rehearsals: Rehearsals,
}

impl FakeSources {
    /// Of this API server and no agents; the watch knows these nodes.
    pub(super) fn new(context: Context, known: &[Value]) -> Self {
        let (nodes, mut writer) = reflector::store();
        for node in known {
            let node = serde_json::from_value(node.clone()).expect("a node");
            writer.apply_watcher_event(&watcher::Event::Apply(node));
        }
        FakeSources {
            context,
            views: MemberStore::default(),
            nodes,
            rehearsals: Rehearsals::default(),
        }
    }

    pub(super) fn sources(&self) -> Sources<'_> {
        Sources {
            client: &self.context.client,
            agents: &self.context.agents,
            views: &self.views,
            nodes: &self.nodes,
            rehearsals: &self.rehearsals,
        }
    }
}

/// The volume v, which can be mounted on nodes whose label has this value.
pub(super) fn volume_on(label: &str, value: &str) -> Value {
    let term =
        json!({ "matchExpressions": [{ "key": label, "operator": "In", "values": [value] }] });
    json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v" },
        "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [term] } } } })
}
