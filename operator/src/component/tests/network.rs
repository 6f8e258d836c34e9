//! Who may reach the members' ports.

use serde_json::{Value, json};

use super::*;
use crate::component::network::{policy, reach};

fn bound(asked: Option<&str>) -> Option<Value> {
    defined(asked, &shipped(), &json!([]))
}

/// The policy where the definition's services and the component's overrides are these.
fn defined(asked: Option<&str>, observed: &Observed, overrides: &Value) -> Option<Value> {
    let mut component = component();
    component.spec.services = serde_json::from_value(overrides.clone()).expect("overrides");
    let annotations = component.annotations_mut();
    annotations.extend(asked.map(|asked| (labels::NETWORK_POLICY.to_owned(), asked.to_owned())));
    let reach = reach(&component).expect("known");
    let plan = plan(&component, observed, "cluster.local").expect("plan");
    assert_eq!(plan.reach, reach);
    let policy = policy(&component, reach, &plan.outside, "kb-system")?;
    Some(serde_json::to_value(policy).expect("JSON"))
}

/// A definition with one more service.
fn declaring(spec: &Value) -> Observed {
    let mut observed = shipped();
    let definition = observed.definition.as_mut().expect("a definition");
    let service = json!({ "name": "more", "serviceName": "more", "spec": spec });
    let service = serde_json::from_value(service).expect("a service");
    definition.spec.services.push(service);
    observed
}

/// What is open to all.
fn everywhere(policy: &Value) -> Vec<String> {
    let rules = policy["spec"]["ingress"].as_array().expect("rules");
    let open = rules.iter().filter(|rule| rule["from"].is_null());
    let ports = open.flat_map(|rule| rule["ports"].as_array().expect("ports"));
    ports
        .map(|port| {
            format!(
                "{}/{}",
                port["port"],
                port["protocol"].as_str().unwrap_or("-")
            )
        })
        .collect()
}

fn ports(rule: &Value) -> Vec<u64> {
    let ports = rule["ports"].as_array().expect("ports");
    ports
        .iter()
        .map(|port| port["port"].as_u64().expect("a port"))
        .collect()
}

#[test]
fn peers_and_agents_are_reached_by_members_and_the_operator_alone() {
    for asked in [None, Some("namespace"), Some("open")] {
        let policy = bound(asked).expect("a policy");
        let members = json!({ "matchLabels": {
            "app.kubernetes.io/managed-by": "kubeblocks",
            "app.kubernetes.io/instance": "ledger",
            "apps.kubeblocks.io/component-name": "store",
        } });
        assert_eq!(policy["metadata"]["name"], "ledger-store");
        assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], "u-2");
        assert_eq!(policy["spec"]["podSelector"], members);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
        let rules = policy["spec"]["ingress"].as_array().expect("rules");
        let from = |port| {
            let mut of_port = rules.iter().filter(|rule| ports(rule).contains(&port));
            let rule = of_port.next().expect("a rule");
            (
                rule["from"].clone(),
                of_port.next().map(|next| next["from"].clone()),
            )
        };
        let everywhere = Value::Null;
        let clients = match asked {
            Some("open") => everywhere.clone(),
            _ => json!([{ "podSelector": {} }]),
        };
        assert_eq!(from(2379), (clients, None));
        assert_eq!(from(9187), (everywhere, None));
        // The others are anyone's to give a pod.
        let mut kept = members;
        kept["matchLabels"]["workloads.kubeblocks.io/managed-by"] = json!("InstanceSet");
        let members = json!([{ "podSelector": kept }]);
        assert_eq!(from(2380), (members.clone(), None));
        let operator = json!({ "matchLabels": { "kubernetes.io/metadata.name": "kb-system" } });
        let operator = json!([{ "namespaceSelector": operator }]);
        assert_eq!(from(5001), (members, Some(operator)));
    }
}

#[test]
fn an_owner_lets_clients_in_by_policies_of_his_own_or_has_none_of_ours() {
    let policy = bound(Some("members")).expect("a policy");
    let rules = policy["spec"]["ingress"].as_array().expect("rules");
    assert!(
        rules.iter().all(|rule| rule["from"].is_array()),
        "nothing is open to all"
    );
    assert_eq!(ports(&rules[0]), [2379, 2380, 5001]);
    assert_eq!(ports(&rules[1]), [2379], "backups");
    assert_eq!(bound(Some("none")), None);
    let mut component = component();
    let other = (labels::NETWORK_POLICY.to_owned(), "closed".to_owned());
    component.annotations_mut().extend([other]);
    let told = refused(&component, &shipped());
    assert!(told.contains(r#""closed" is none of open"#), "{told}");
}

#[test]
fn services_of_a_definition_that_lead_outside_open_their_ports_and_no_others() {
    let outside = [
        json!({ "type": "NodePort", "ports": [{ "port": 80, "targetPort": "client" }] }),
        json!({ "type": "LoadBalancer", "ports": [{ "port": 2379 }] }),
        json!({ "externalIPs": ["192.0.2.1"], "ports": [{ "port": 9, "targetPort": 2379, "protocol": "TCP" }] }),
    ];
    for spec in outside {
        let observed = declaring(&spec);
        let open = |asked| everywhere(&defined(asked, &observed, &json!([])).expect("a policy"));
        assert_eq!(open(None), ["9187/TCP", "2379/TCP"], "{spec}");
        assert_eq!(open(Some("open")), ["2379/TCP", "9187/TCP"], "{spec}");
        assert_eq!(open(Some("namespace")), ["9187/TCP"], "{spec}");
        assert!(open(Some("members")).is_empty(), "{spec}");
    }
    let other = json!({ "type": "NodePort", "ports": [
        { "name": "a", "port": 53, "targetPort": 5353, "protocol": "UDP" },
        { "name": "b", "port": 54, "targetPort": "unknown" },
    ] });
    let open = defined(None, &declaring(&other), &json!([])).expect("a policy");
    let open = everywhere(&open);
    assert_eq!(open, ["9187/TCP", "5353/UDP", "\"unknown\"/TCP"]);
}

#[test]
fn services_open_neither_peers_nor_agents_and_none_that_stays_inside_opens_anything() {
    let inner = json!({ "type": "NodePort", "ports": [
        { "name": "a", "port": 2380 },
        { "name": "b", "port": 1, "targetPort": "peer" },
        { "name": "c", "port": 2, "targetPort": 5001 },
        { "name": "d", "port": 3, "targetPort": "http" },
    ] });
    let open = defined(None, &declaring(&inner), &json!([])).expect("a policy");
    assert_eq!(everywhere(&open), ["9187/TCP"]);
    let inside = json!({ "type": "ClusterIP", "ports": [{ "port": 2379 }] });
    let open = defined(None, &declaring(&inside), &json!([])).expect("a policy");
    assert_eq!(everywhere(&open), ["9187/TCP"]);
    // The component's word on the type counts, not the definition's.
    let node_port = json!({ "type": "NodePort", "ports": [{ "port": 2379 }] });
    let chosen = json!([{ "name": "more", "serviceType": "ClusterIP" }]);
    let open = defined(None, &declaring(&node_port), &chosen).expect("a policy");
    assert_eq!(everywhere(&open), ["9187/TCP"]);
}
