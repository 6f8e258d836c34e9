//! What tables say, for a namespace with three members and a few pods around them.

use serde_json::{Value, json};

use super::*;
use crate::state::tests::{pod, state};

fn member(name: &str, node: &str, address: &str) -> Value {
    pod(("a", name), node, address, json!({ "app": "etcd" }))
}

fn policy(spec: Value) -> Value {
    json!({ "metadata": { "name": "p", "namespace": "a" }, "spec": spec })
}

fn named(name: &str, mut policy: Value) -> Value {
    policy["metadata"]["name"] = json!(name);
    policy
}

fn namespaces() -> Vec<Value> {
    ["a", "b", "c"]
        .map(|name| json!({ "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } } }))
        .to_vec()
}

/// Three members of which two are on this node, a client beside them and one of another namespace.
fn pods() -> Vec<Value> {
    vec![
        member("m0", "here", "10.0.0.10"),
        member("m1", "here", "10.0.0.11"),
        member("m2", "there", "10.0.1.12"),
        pod(
            ("a", "client"),
            "there",
            "10.0.1.20",
            json!({ "app": "client" }),
        ),
        pod(
            ("b", "stranger"),
            "here",
            "10.0.0.30",
            json!({ "app": "etcd" }),
        ),
    ]
}

fn table(policies: &[Value]) -> String {
    ruleset(&state(&pods(), &namespaces(), policies), "here")
}

/// Lines of the chain that a map leads to from an address.
fn chain(table: &str, way: &str, address: &str) -> Option<Vec<String>> {
    let jump = format!("{address} : jump {way}_");
    let (_, rest) = table.split_once(&jump)?;
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let (_, body) = table.split_once(&format!("chain {way}_{number} {{\n"))?;
    let lines = body.lines().take_while(|line| line.trim() != "}");
    Some(lines.map(|line| line.trim().to_owned()).collect())
}

fn as_documented() -> Value {
    let members = json!({ "podSelector": { "matchLabels": { "app": "etcd" } } });
    let operators =
        json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "b" } } });
    policy(json!({
        "podSelector": { "matchLabels": { "app": "etcd" } }, "policyTypes": ["Ingress"],
        "ingress": [
            { "ports": [{ "port": 2379, "protocol": "TCP" }] },
            { "from": [members], "ports": [{ "port": 2380, "protocol": "TCP" }] },
            { "from": [operators], "ports": [{ "port": 5001, "protocol": "TCP" }] },
        ],
    }))
}

#[test]
fn without_a_policy_nothing_is_closed_and_no_packet_is_looked_at() {
    let table = table(&[]);
    assert!(!table.contains("hook"), "{table}");
    assert!(table.contains("delete table ip pod_policies"));
    let elsewhere = policy(json!({ "podSelector": { "matchLabels": { "app": "client" } } }));
    assert!(!super::tests::table(&[elsewhere]).contains("hook"));
}

#[test]
fn who_is_selected_on_this_node_lets_in_what_the_rules_name_and_nothing_else() {
    let table = table(&[as_documented()]);
    let rules = chain(&table, "in", "10.0.0.10").expect("a member is closed");
    let members = "ip saddr { 10.0.0.10, 10.0.0.11, 10.0.1.12 }";
    assert_eq!(
        rules,
        [
            &format!("{members} tcp dport 2380 return"),
            "ip saddr { 10.0.0.30 } tcp dport 5001 return",
            "tcp dport 2379 return",
            "goto refuse_in",
        ]
    );
    assert_eq!(chain(&table, "in", "10.0.0.11"), Some(rules));
    for open in ["10.0.1.12", "10.0.1.20", "10.0.0.30"] {
        assert_eq!(chain(&table, "in", open), None, "{open}");
    }
    assert_eq!(chain(&table, "out", "10.0.0.10"), None);
}

#[test]
fn policies_add_up() {
    let more = policy(json!({
        "podSelector": {}, "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": "client" } } }] }],
    }));
    let both = table(&[as_documented(), named("q", more.clone())]);
    let rules = chain(&both, "in", "10.0.0.10").expect("closed");
    assert_eq!(rules.len(), 5);
    assert!(rules.contains(&"ip saddr { 10.0.1.20 } return".to_owned()));
    let one = chain(&table(&[more]), "in", "10.0.0.10").expect("closed");
    assert_eq!(one, ["ip saddr { 10.0.1.20 } return", "goto refuse_in"]);
}

#[test]
fn a_policy_without_rules_lets_nothing_through_either_way() {
    let deny = policy(json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
    let table = table(&[deny]);
    assert_eq!(
        chain(&table, "in", "10.0.0.10").expect("closed"),
        ["goto refuse_in"]
    );
    assert_eq!(
        chain(&table, "out", "10.0.0.10").expect("closed"),
        ["goto refuse_out"]
    );
    assert_eq!(chain(&table, "in", "10.0.0.30"), None, "another namespace");
}

#[test]
fn a_pod_on_this_node_speaks_to_itself_and_the_node_to_its_pods() {
    let deny = policy(json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
    let table = table(&[deny]);
    assert!(table.contains("10.0.0.10 . 10.0.0.10"), "{table}");
    assert!(
        !table.contains("hook output"),
        "probes of the node's own: {table}"
    );
}

#[test]
fn outward_a_peer_is_where_it_goes_to_and_a_ports_name_is_the_peers() {
    let out = policy(json!({
        "podSelector": {}, "policyTypes": ["Egress"],
        "egress": [
            { "to": [{ "podSelector": { "matchLabels": { "app": "etcd" } } }],
              "ports": [{ "port": "clients", "protocol": "TCP" }] },
            { "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }] },
        ],
    }));
    let rules = chain(&table(&[out]), "out", "10.0.0.10").expect("closed");
    assert_eq!(
        rules[..2],
        [
            "ip daddr { 10.0.0.10, 10.0.0.11, 10.0.1.12 } tcp dport 2379 return",
            "tcp dport 53 return"
        ]
    );
    assert_eq!(rules[2..], ["udp dport 53 return", "goto refuse_out"]);
    let named = policy(json!({
        "podSelector": {}, "policyTypes": ["Egress"],
        "egress": [{ "ports": [{ "port": "clients", "protocol": "TCP" }] }],
    }));
    let rules = chain(&table(&[named]), "out", "10.0.0.10").expect("closed");
    let all = "10.0.0.10, 10.0.0.11, 10.0.0.30, 10.0.1.12, 10.0.1.20";
    assert_eq!(
        rules,
        [
            &format!("ip daddr {{ {all} }} tcp dport 2379 return"),
            "goto refuse_out"
        ]
    );
}

#[test]
fn a_port_that_no_pod_has_by_this_name_lets_no_one_in() {
    let unknown = policy(json!({
        "podSelector": {}, "ingress": [{ "ports": [{ "port": "nothing", "protocol": "TCP" }] }],
    }));
    let rules = chain(&table(&[unknown]), "in", "10.0.0.10").expect("closed");
    assert_eq!(rules, ["goto refuse_in"]);
}

#[test]
fn blocks_have_exceptions_and_ports_may_be_ranges_or_all_of_a_protocol() {
    let block = policy(json!({
        "podSelector": {}, "ingress": [{
            "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"] } }, { "ipBlock": { "cidr": "fd00::/8" } }],
            "ports": [{ "port": 80, "endPort": 90, "protocol": "TCP" }, { "protocol": "UDP" }],
        }],
    }));
    let rules = chain(&table(&[block]), "in", "10.0.0.10").expect("closed");
    let who = "ip saddr 10.0.0.0/8 ip saddr != 10.9.0.0/16";
    assert_eq!(
        rules,
        [
            &format!("{who} meta l4proto udp return"),
            &format!("{who} tcp dport 80-90 return"),
            "goto refuse_in",
        ]
    );
}

#[test]
fn selectors_of_namespaces_and_pods_must_both_hold() {
    let both = policy(json!({
        "podSelector": {}, "ingress": [{ "from": [{
            "namespaceSelector": { "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["b", "c"] }] },
            "podSelector": { "matchLabels": { "app": "etcd" } },
        }] }],
    }));
    let rules = chain(&table(&[both]), "in", "10.0.0.10").expect("closed");
    assert_eq!(rules[0], "ip saddr { 10.0.0.30 } return");
}

#[test]
fn what_is_no_address_never_gets_into_the_text() {
    for text in [
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/8 accept; drop",
        "a/8",
        "/",
        "",
    ] {
        assert_eq!(network(text), None, "{text}");
    }
    assert_eq!(network("10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
}

#[test]
fn a_role_that_moves_changes_nothing_and_a_new_address_does() {
    let before = table(&[as_documented()]);
    let mut all = pods();
    all[0]["metadata"]["labels"]["kubeblocks.io/role"] = json!("leader");
    let moved = ruleset(&state(&all, &namespaces(), &[as_documented()]), "here");
    assert_eq!(before, moved);
    all[2]["status"]["podIPs"][0]["ip"] = json!("10.0.1.99");
    assert_ne!(
        before,
        ruleset(&state(&all, &namespaces(), &[as_documented()]), "here")
    );
}
