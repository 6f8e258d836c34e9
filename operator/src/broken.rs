//! What `kubectl describe` says of broken clusters: every message names what is wrong, where, and what to do.

use etcd_operator_api::Cluster;
use serde_json::{Value, json};

use crate::certificates::Fault;
use crate::instanceset::plan::Waiting;
use crate::{cluster, component};

/// Why a Cluster with this value at this place is refused: by its own plan, or by that of its Component.
fn refused(pointer: &str, value: Value) -> String {
    let mut manifest = json!({
        "apiVersion": "apps.kubeblocks.io/v1", "kind": "Cluster",
        "metadata": { "name": "ledger", "namespace": "books", "uid": "u-1", "generation": 4 },
        "spec": { "terminationPolicy": "Delete", "componentSpecs": [{
            "name": "store", "componentDef": "etcd", "serviceVersion": "3.6.1", "replicas": 3,
            "configs": [{ "name": "etcd", "variables": { "log-level": "info" } }],
            "volumeClaimTemplates": [{ "name": "data", "spec": {
                "storageClassName": "local", "resources": { "requests": { "storage": "20Gi" } } } }],
        }] },
    });
    *manifest.pointer_mut(pointer).expect("a field") = value;
    let cluster: Cluster = serde_json::from_value(manifest).expect("a Cluster");
    let built = cluster::tests::objects::of(&cluster, &[])
        .and_then(|(components, _)| component::tests::objects::of(&components[0], None));
    built.map(drop).expect_err("it is refused")
}

/// Message, where, what to do.
fn broken() -> Vec<(String, &'static str, &'static str)> {
    let spec = |field: &str| format!("/spec/componentSpecs/0/{field}");
    let said = |waiting: Waiting| waiting.to_string();
    vec![
        (refused(&spec("replicas"), json!(4)), "replicas", "3 or 5"),
        (
            refused(&spec("componentDef"), json!("mysql")),
            "componentDef \"mysql\"",
            "there are: etcd-3-0.1.0",
        ),
        (
            refused(&spec("serviceVersion"), json!("2.0.0")),
            "serviceVersion \"2.0.0\"",
            "there are: 3.",
        ),
        (
            refused(
                &spec("volumeClaimTemplates/0/spec/storageClassName"),
                json!("fast"),
            ),
            "volumeClaimTemplates[data].spec.storageClassName \"fast\"",
            "available: local",
        ),
        (
            refused(&spec("configs/0/variables"), json!({ "log-levle": "info" })),
            "configs[etcd].variables: \"log-levle\"",
            "settings are: ",
        ),
        (
            said(Waiting::NoNode("n9".into())),
            "schedulingPolicy.nodeName \"n9\"",
            "name another or take it out",
        ),
        (
            said(Waiting::CannotRun {
                pod: "ledger-store-1".into(),
                why: "ImagePullBackOff: no such image".into(),
            }),
            "pod ledger-store-1",
            "correct the Cluster",
        ),
        (
            said(Waiting::LeftBehind("data-ledger-store-0".into())),
            "claim data-ledger-store-0",
            "delete the claim if the data is not needed",
        ),
        (
            said(Waiting::MembersUnknown("no agent answers".into())),
            "the member list",
            "bring members back",
        ),
        (
            Fault::NoSecret {
                secret: "ledger-tls".into(),
            }
            .to_string(),
            "Secret ledger-tls",
            "make it, with the CA",
        ),
    ]
}

#[test]
fn ten_broken_clusters_say_what_is_wrong_where_and_what_to_do() {
    for (message, place, remedy) in broken() {
        let (before, after) = (message.find(place), message.find(remedy));
        assert!(
            before.is_some() && after > before,
            "{message:?} does not name {place:?} and then {remedy:?}"
        );
        // Kubernetes cuts off what an event says beyond that.
        assert!(message.len() <= 1024, "too long: {message:?}");
    }
}
