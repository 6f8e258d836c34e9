//! Who may reach the members when the Cluster does not say.

use super::*;

fn told(change: impl FnOnce(&mut Cluster)) -> Option<String> {
    let mut cluster = manifest();
    change(&mut cluster);
    let plan = planned(&cluster);
    let annotations = plan.components[0].annotations();
    annotations.get(labels::NETWORK_POLICY).cloned()
}

fn inside(cluster: &mut Cluster) {
    cluster.spec.services.clear();
}

#[test]
fn a_component_in_plain_text_is_its_namespaces_own() {
    assert_eq!(told(inside), None);
}

#[test]
fn certificates_and_services_that_lead_outside_open_it() {
    assert_eq!(told(|_| ()).as_deref(), Some("open"), "a NodePort");
    let balanced = |cluster: &mut Cluster| {
        inside(cluster);
        let peer = serde_json::json!([{ "name": "peer", "serviceType": "LoadBalancer", "podService": true }]);
        let peer = serde_json::from_value(peer).expect("an override");
        cluster.spec.component_specs[0].services = peer;
    };
    assert_eq!(told(balanced).as_deref(), Some("open"));
    let encrypted = |cluster: &mut Cluster| {
        inside(cluster);
        let component = &mut cluster.spec.component_specs[0];
        component.tls = Some(true);
        let issuer = serde_json::json!({ "name": "KubeBlocks" });
        component.issuer = Some(serde_json::from_value(issuer).expect("an issuer"));
    };
    assert_eq!(told(encrypted).as_deref(), Some("open"));
}

#[test]
fn what_the_cluster_says_is_kept() {
    let asked = |cluster: &mut Cluster| {
        let asked = (labels::NETWORK_POLICY.to_owned(), "members".to_owned());
        cluster.annotations_mut().extend([asked]);
    };
    assert_eq!(told(asked).as_deref(), Some("members"));
}
