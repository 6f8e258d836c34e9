//! Who may reach the members' ports.

use serde_json::{Value, json};

use super::*;
use crate::component::network::{policy, reach};

fn bound(asked: Option<&str>) -> Option<Value> {
    let mut component = component();
    let annotations = component.annotations_mut();
    annotations.extend(asked.map(|asked| (labels::NETWORK_POLICY.to_owned(), asked.to_owned())));
    let reach = reach(&component).expect("known");
    assert_eq!(planned(&component).reach, reach);
    let policy = policy(&component, reach, "kb-system")?;
    Some(serde_json::to_value(policy).expect("JSON"))
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
        let members = json!([{ "podSelector": members }]);
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
