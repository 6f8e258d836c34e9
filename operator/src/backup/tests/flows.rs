//! What backups' pods need where a namespace denies by default.

use kbagent_protocol::ARCHIVE_PORT;

use super::*;

const SAMPLE: &str = include_str!("../../../../deploy/samples/default-deny.yaml");

#[test]
fn the_sample_of_a_namespace_that_denies_by_default_lets_the_operator_ask_archives() {
    let policies = SAMPLE.split("\n---\n");
    let mut policies = policies.map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    let is_theirs = |policy: &Value| {
        let selected = &policy["spec"]["podSelector"]["matchExpressions"][0];
        selected["key"] == labels::BACKUP_UID
    };
    let policy = policies.find(is_theirs).expect("a policy of their pods");
    let asked = &policy["spec"]["ingress"][0];
    let wanted = json!([{ "port": ARCHIVE_PORT, "protocol": "TCP" }]);
    assert_eq!(asked["ports"], wanted);
    let from = &asked["from"][0]["namespaceSelector"]["matchLabels"];
    assert_eq!(from["kubernetes.io/metadata.name"], "kb-system");
}
