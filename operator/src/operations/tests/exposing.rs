//! What contradicts itself is refused, and a service that goes is known by its own name.

use etcd_operator_api::OpsPhase;
use etcd_operator_api::condition::ConditionType;
use serde_json::json;

use super::super::decide::decide;
use super::super::observed::{Seen, ServiceSeen};
use super::{EXPOSE, at, cluster, message, phase, request, seen, set};

#[test]
fn what_is_named_twice_is_refused() {
    let table = [
        (
            "{type: Expose, expose: [{componentName: etcd, switch: Enable, services: [{name: two, serviceType: NodePort}, {name: two}]}]}",
            "service \"two\" twice",
        ),
        (
            "{type: Reconfiguring, reconfigures: [{componentName: etcd, parameters: [{key: metrics, value: basic}, {key: log-level, value: warn}, {key: metrics, value: extensive}]}]}",
            "\"metrics\" twice",
        ),
    ];
    for (spec, why) in table {
        let decision = decide(
            &request("a", 0, spec),
            &seen(cluster(3, "Running", 4), set(3, 3, 0)),
            &at(1),
        );
        assert_eq!(phase(&decision), Some(OpsPhase::Failed), "{spec}");
        let told = message(&decision, ConditionType::Validated);
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn what_leads_outside_without_tls_takes_the_owners_word() {
    let mut plain = cluster(3, "Running", 4);
    plain.spec.component_specs[0].tls = None;
    plain.spec.component_specs[0].issuer = None;
    let told = |kind: &str, more: &str, of: &etcd_operator_api::Cluster| {
        let spec = format!(
            "{{type: Expose, {more}expose: [{{componentName: etcd, switch: Enable, services: [{{name: door, serviceType: {kind}}}]}}]}}"
        );
        let decision = decide(
            &request("a", 0, &spec),
            &seen(of.clone(), set(3, 3, 0)),
            &at(1),
        );
        let failed = phase(&decision) == Some(OpsPhase::Failed);
        failed.then(|| message(&decision, ConditionType::Validated))
    };
    for kind in ["NodePort", "LoadBalancer"] {
        let why = told(kind, "", &plain).expect("refused");
        assert!(why.contains(kind) && why.contains("force: true"), "{why}");
        assert_eq!(told(kind, "force: true, ", &plain), None);
        assert_eq!(told(kind, "", &cluster(3, "Running", 4)), None);
    }
    assert_eq!(told("ClusterIP", "", &plain), None);
}

#[test]
fn a_service_that_goes_is_known_by_the_name_that_its_owner_gave_it() {
    let mut before = cluster(3, "Running", 4);
    let services = json!([{ "name": "outside", "serviceName": "door" }]);
    before.spec.services = serde_json::from_value(services).expect("services");
    let mut request = request("a", 0, &EXPOSE.replace("Enable", "Disable"));
    let admitted = decide(&request, &seen(before.clone(), set(3, 3, 0)), &at(1));
    let last = &admitted.status.last_configuration.components["etcd"];
    assert_eq!(last.service_objects["outside"], "db-door");
    request.status = Some(admitted.status);
    request.status = Some(decide(&request, &seen(before.clone(), set(3, 3, 0)), &at(2)).status);
    before.spec.services.clear();
    let told = |services: &[&str]| {
        let there = services.iter();
        let seen = Seen {
            services: there
                .map(|name| ((*name).to_owned(), ServiceSeen::default()))
                .collect(),
            ..seen(before.clone(), set(3, 3, 0))
        };
        phase(&decide(&request, &seen, &at(3)))
    };
    assert_eq!(told(&["db-door"]), Some(OpsPhase::Running));
    assert_eq!(told(&[]), Some(OpsPhase::Succeed));
}

#[test]
fn a_service_of_another_component_is_not_taken_away() {
    let disable = request("a", 0, &EXPOSE.replace("Enable", "Disable"));
    let after = |selector: Option<&str>| {
        let mut before = cluster(3, "Running", 4);
        let services = json!([{ "name": "outside", "componentSelector": selector }]);
        before.spec.services = serde_json::from_value(services).expect("services");
        decide(&disable, &seen(before, set(3, 3, 0)), &at(1))
    };
    for selector in [None, Some(""), Some("etcd")] {
        let begun = phase(&after(selector));
        assert_eq!(begun, Some(OpsPhase::Creating), "{selector:?}");
    }
    let refused = after(Some("other"));
    assert_eq!(phase(&refused), Some(OpsPhase::Failed));
    let told = message(&refused, ConditionType::Validated);
    assert!(told.contains("leads to component \"other\""), "{told}");
}
