//! Members that are rebuilt on nodes that the request names.

use std::sync::{Arc, Mutex};

use etcd_operator_api::condition::ConditionType;
use etcd_operator_api::{InstanceSet, OpsPhase, labels};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use serde_json::{Value, json};

use super::super::claims;
use super::super::decide::{Act, decide};
use super::super::observed::Seen;
use super::{at, cluster, message, phase, request, seen, set};
use crate::fake_api::{Asked, server};

/// A rebuild of members, each with its node.
fn rebuild(targets: &[(&str, &str)]) -> String {
    let each = targets
        .iter()
        .map(|(pod, node)| format!("{{name: {pod}, targetNodeName: {node}}}"));
    let all: Vec<String> = each.collect();
    format!(
        "{{type: RebuildInstance, force: true, rebuildFrom: [{{componentName: etcd, inPlace: true, instances: [{}]}}]}}",
        all.join(", ")
    )
}

fn node(name: &str) -> Node {
    let node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "zone": format!("of-{name}") } },
        "spec": {},
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    serde_json::from_value(node).expect("a node")
}

fn pod(ordinal: usize, node: &str) -> (String, Pod) {
    let name = format!("db-etcd-{ordinal}");
    let pod = json!({
        "metadata": { "name": name, "namespace": "ns", "labels": { "app": "db" } },
        "spec": { "nodeName": node, "containers": [] },
    });
    (name, serde_json::from_value(pod).expect("a pod"))
}

/// Three members on n0, n1 and n2; n3 is free.
fn placed(template: &Value) -> Seen {
    let mut set: InstanceSet = set(3, 3, 0);
    set.spec.template = serde_json::from_value(json!({ "spec": template })).expect("a template");
    let claim = json!([{ "name": "data", "spec": { "storageClassName": "disks",
        "resources": { "requests": { "storage": "2Gi" } } } }]);
    set.spec.volume_claim_templates = serde_json::from_value(claim).expect("claims");
    set.metadata.namespace = Some("ns".to_owned());
    let mut seen = seen(cluster(3, "Running", 4), set);
    let claims = (0..3).map(|n| (format!("data-db-etcd-{n}"), format!("c{n}")));
    seen.claims = claims.collect();
    seen.pods = (0..3).map(|n| pod(n, &format!("n{n}"))).collect();
    let nodes = (0..4).map(|n| format!("n{n}"));
    seen.places.nodes = nodes.map(|name| (name.clone(), node(&name))).collect();
    seen.places.classes = vec![class(&json!({}))];
    seen
}

fn class(change: &Value) -> k8s_openapi::api::storage::v1::StorageClass {
    let mut class = json!({ "metadata": { "name": "disks" }, "provisioner": "csi",
        "volumeBindingMode": "WaitForFirstConsumer" });
    for (key, value) in change.as_object().expect("fields") {
        class[key] = value.clone();
    }
    serde_json::from_value(class).expect("a class")
}

/// A template that keeps members apart.
fn apart(topology: &str, selector: &Value) -> Value {
    let term = json!({ "topologyKey": topology, "labelSelector": selector });
    let rule = json!({ "requiredDuringSchedulingIgnoredDuringExecution": [term] });
    json!({ "affinity": { "podAntiAffinity": rule }, "containers": [] })
}

fn plain() -> Value {
    json!({ "containers": [] })
}

/// What the request is refused with, if it is.
fn refusal(targets: &[(&str, &str)], seen: &Seen) -> Option<String> {
    let decision = decide(&request("a", 0, &rebuild(targets)), seen, &at(1));
    let told = message(&decision, ConditionType::Validated);
    match phase(&decision) {
        Some(OpsPhase::Failed) => Some(told),
        Some(OpsPhase::Creating) => None,
        other => panic!("{other:?}: {told}"),
    }
}

#[track_caller]
fn refused(targets: &[(&str, &str)], seen: &Seen, words: &[&str]) {
    let told = refusal(targets, seen).expect("refused");
    let field = format!(
        "rebuildFrom[etcd].instances[{}].targetNodeName",
        targets[0].0
    );
    assert!(told.starts_with(&field), "{told}");
    for word in words {
        assert!(told.contains(word), "{told}");
    }
}

const FREE: &[(&str, &str)] = &[("db-etcd-1", "n3")];

#[test]
fn a_node_that_cannot_take_the_member_is_refused_with_the_field() {
    let seen = placed(&plain());
    assert_eq!(refusal(FREE, &seen), None);
    refused(&[("db-etcd-1", "n9")], &seen, &["\"n9\" is not there"]);
    let with = |change: &dyn Fn(&mut Node)| {
        let mut seen = seen.clone();
        change(seen.places.nodes.get_mut("n3").expect("the node"));
        seen
    };
    let cordoned = with(&|node| node.spec.get_or_insert_default().unschedulable = Some(true));
    refused(FREE, &cordoned, &["\"n3\" is cordoned", "kubectl uncordon"]);
    let toleration = json!([{ "key": "node.kubernetes.io/unschedulable", "operator": "Exists" }]);
    let mut tolerant = placed(&json!({ "containers": [], "tolerations": toleration }));
    tolerant.places = cordoned.places;
    assert_eq!(refusal(FREE, &tolerant), None);
    let down = with(&|node| node.status = None);
    refused(FREE, &down, &["is not ready"]);
    let mut elsewhere = placed(&json!({ "containers": [], "nodeSelector": { "zone": "of-n1" } }));
    refused(FREE, &elsewhere, &["no label zone=of-n1", "nodeSelector"]);
    let labels = elsewhere.places.nodes.get_mut("n3").expect("the node");
    let labels = labels.metadata.labels.get_or_insert_default();
    labels.insert("zone".to_owned(), "of-n1".to_owned());
    assert_eq!(refusal(FREE, &elsewhere), None);
}

#[test]
fn members_that_must_be_apart_are_not_put_together() {
    let own = json!({ "matchLabels": { "app": "db" } });
    let others = json!({ "matchLabels": { "app": "other" } });
    let host = placed(&apart("kubernetes.io/hostname", &own));
    assert_eq!(refusal(FREE, &host), None);
    // Its own pod is gone when the new one comes.
    assert_eq!(refusal(&[("db-etcd-1", "n1")], &host), None);
    refused(
        &[("db-etcd-1", "n2")],
        &host,
        &["db-etcd-2", "podAntiAffinity"],
    );
    let unrelated = placed(&apart("kubernetes.io/hostname", &others));
    assert_eq!(refusal(&[("db-etcd-1", "n2")], &unrelated), None);
    assert_eq!(refusal(&[("db-etcd-1", "n2")], &placed(&plain())), None);

    // Two of one request; and two that would take each other's place, of which none can be the first.
    refused(
        &[("db-etcd-1", "n3"), ("db-etcd-2", "n3")],
        &host,
        &["db-etcd-2"],
    );
    refused(
        &[("db-etcd-1", "n2"), ("db-etcd-2", "n1")],
        &host,
        &["db-etcd-2"],
    );

    let mut zone = placed(&apart("zone", &own));
    assert_eq!(refusal(FREE, &zone), None);
    let labels = zone.places.nodes.get_mut("n3").expect("the node");
    let labels = labels.metadata.labels.get_or_insert_default();
    labels.insert("zone".to_owned(), "of-n0".to_owned());
    refused(FREE, &zone, &["same zone as db-etcd-0"]);
}

/// A volume of the class on a node, and the claim that it is for.
fn volume(node: &str, phase: &str, size: &str, claim: Option<&str>) -> PersistentVolume {
    let hosts = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] });
    let volume = json!({ "metadata": {}, "status": { "phase": phase }, "spec": {
        "storageClassName": "disks", "capacity": { "storage": size },
        "claimRef": claim.map(|claim| json!({ "name": claim, "namespace": "ns" })),
        "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [hosts] }] } } } });
    serde_json::from_value(volume).expect("a volume")
}

#[test]
fn a_node_without_a_volume_for_the_member_is_refused() {
    let with = |change: &Value, volumes: Vec<_>| {
        let mut seen = placed(&plain());
        seen.places.classes = vec![class(change)];
        seen.places.volumes = volumes;
        seen
    };
    let by_hand = json!({ "provisioner": "kubernetes.io/no-provisioner" });
    let free = volume("n3", "Available", "2Gi", None);
    assert_eq!(refusal(FREE, &with(&by_hand, vec![free])), None);
    for other in [
        volume("n2", "Available", "2Gi", None),
        volume("n3", "Bound", "2Gi", Some("other")),
        volume("n3", "Available", "1Gi", None),
    ] {
        refused(
            FREE,
            &with(&by_hand, vec![other]),
            &["free volumes", "data-db-etcd-1"],
        );
    }
    let one = with(&by_hand, vec![volume("n3", "Available", "2Gi", None)]);
    let both = [("db-etcd-1", "n3"), ("db-etcd-2", "n3")];
    refused(&both, &one, &["free volumes"]);

    let zones = json!({ "allowedTopologies": [{ "matchLabelExpressions": [{ "key": "zone", "values": ["of-n1"] }] }] });
    refused(FREE, &with(&zones, vec![]), &["allowedTopologies", "disks"]);
    let immediate = json!({ "volumeBindingMode": "Immediate" });
    let own = |node| vec![volume(node, "Bound", "2Gi", Some("data-db-etcd-1"))];
    refused(
        FREE,
        &with(&immediate, own("n1")),
        &["Immediate", "WaitForFirstConsumer"],
    );
    assert_eq!(refusal(FREE, &with(&immediate, own("n3"))), None);
    assert_eq!(refusal(FREE, &with(&json!({}), own("n1"))), None);
}

#[test]
fn each_claim_of_a_member_wants_a_volume_made_by_hand_of_its_own() {
    let with = |sizes: &[(&str, &str)], volumes: Vec<PersistentVolume>| {
        let mut seen = placed(&plain());
        let by_hand = json!({ "provisioner": "kubernetes.io/no-provisioner" });
        seen.places.classes = vec![class(&by_hand)];
        seen.places.volumes = volumes;
        let templates = sizes.iter().map(|(name, size)| {
            json!({ "name": name, "spec": { "storageClassName": "disks",
                "resources": { "requests": { "storage": size } } } })
        });
        let templates = json!(templates.collect::<Vec<_>>());
        let set = seen.sets.get_mut("etcd").expect("a set");
        set.spec.volume_claim_templates = serde_json::from_value(templates).expect("claims");
        seen
    };
    let two = [("data", "2Gi"), ("log", "1Gi")];
    let free = |size| volume("n3", "Available", size, None);
    let claims = &["free volumes"];
    refused(FREE, &with(&two, vec![free("2Gi")]), claims);
    refused(FREE, &with(&two, vec![free("1Gi"), free("1Gi")]), claims);
    let enough = with(&two, vec![free("1Gi"), free("2Gi")]);
    assert_eq!(refusal(FREE, &enough), None);

    // Kept for a claim: its own, and another one.
    let kept = |claim| vec![volume("n3", "Available", "2Gi", Some(claim))];
    let one = [("data", "2Gi")];
    assert_eq!(refusal(FREE, &with(&one, kept("data-db-etcd-1"))), None);
    refused(FREE, &with(&one, kept("data-db-etcd-2")), claims);
}

#[test]
fn a_volume_of_an_earlier_claim_of_the_name_says_nothing_of_the_present_one() {
    let with = |volumes: Vec<PersistentVolume>| {
        let mut seen = placed(&plain());
        seen.places.classes = vec![class(&json!({ "volumeBindingMode": "Immediate" }))];
        seen.places.volumes = volumes;
        seen
    };
    let own = |node, phase| volume(node, phase, "2Gi", Some("data-db-etcd-1"));
    let reached = with(vec![own("n1", "Released"), own("n3", "Bound")]);
    assert_eq!(refusal(FREE, &reached), None);
    let not_reached = with(vec![own("n3", "Released"), own("n1", "Bound")]);
    refused(FREE, &not_reached, &["Immediate", "data-db-etcd-1"]);
}

#[test]
fn a_member_that_is_named_twice_is_refused() {
    let twice = [("db-etcd-1", "n3"), ("db-etcd-1", "n1")];
    let told = refusal(&twice, &placed(&plain())).expect("refused");
    assert!(told.contains("\"db-etcd-1\" twice"), "{told}");
}

#[test]
fn it_is_done_when_the_new_member_s_pod_is_on_that_node() {
    let mut request = request("a", 0, &rebuild(FREE));
    let mut seen = placed(&plain());
    request.status = Some(decide(&request, &seen, &at(1)).status);
    let begun = decide(&request, &seen, &at(2));
    assert_eq!(begun.act, Act::Rebuild);
    let last = &begun.status.last_configuration.components["etcd"];
    assert_eq!(last.rebuilt_nodes["data-db-etcd-1"], "n3");
    request.status = Some(begun.status);
    let set = seen.sets.get_mut("etcd").expect("a set");
    let members = &mut set.status.get_or_insert_default().members;
    members[1].member_id = "77".to_owned();
    let elsewhere = decide(&request, &seen, &at(3));
    assert_eq!(phase(&elsewhere), Some(OpsPhase::Running));
    let details = &elsewhere.status.components["etcd"].progress_details;
    let told = details[0].message.clone().unwrap_or_default();
    assert_eq!(told, "its pod is on n1, not on n3");
    seen.pods.extend([pod(1, "n3")]);
    assert_eq!(
        phase(&decide(&request, &seen, &at(4))),
        Some(OpsPhase::Succeed)
    );
}

#[tokio::test]
async fn the_mark_names_the_node_in_the_same_write() {
    let targets = [("db-etcd-1", "n3"), ("db-etcd-2", "''")];
    let mut request = request("a", 0, &rebuild(&targets));
    let seen = placed(&plain());
    let recorded = decide(&request, &seen, &at(1)).status;
    request.status = Some(recorded.clone());
    let (context, asked): (_, Arc<Mutex<Vec<Asked>>>) = server(|_| {
        let metadata = json!({ "name": "data", "namespace": "ns" });
        let object = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata });
        (200, object)
    });
    let marked = claims::mark(&context, &request, &recorded.last_configuration).await;
    marked.expect("marked");
    let asked = asked.lock().expect("no panic");
    let bodies: Vec<Value> = asked.iter().map(|(_, body)| json!(body)).collect();
    let body = |uid: &str, node: Option<&str>| {
        let marks = json!({ labels::REBUILD: "a", labels::REBUILD_NODE: node });
        json!({ "metadata": { "uid": uid, "annotations": marks } })
    };
    assert_eq!(bodies, [body("c1", Some("n3")), body("c2", None)]);
}
