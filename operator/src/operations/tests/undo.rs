//! A cancelled request gives back what it has changed itself, and nothing that was edited since.

use etcd_operator_api::condition::ConditionType;
use etcd_operator_api::{Cluster, OpsPhase};
use serde_json::{Value, json};

use super::super::decide::{Act, decide};
use super::super::edit;
use super::{SCALE_OUT, at, begun, message, phase, seen, set};

const RESIZE: &str = "{type: VerticalScaling, verticalScaling: [{componentName: etcd, limits: {cpu: '2'}, requests: {cpu: '1'}}]}";

fn resources(cluster: &Cluster) -> Value {
    serde_json::to_value(&cluster.spec.component_specs[0].resources).expect("resources")
}

#[test]
fn a_size_that_was_edited_after_the_cancel_stays_and_is_named() {
    let (mut request, edited, _) = begun(SCALE_OUT);
    request.spec.cancel = Some(true);
    let cancelled = decide(&request, &seen(edited.clone(), set(5, 3, 1)), &at(3));
    let Act::Edit(back) = &cancelled.act else {
        panic!("no edit: {cancelled:?}")
    };
    let mut owned = edit::prospective(&edited, back);
    request.status = Some(cancelled.status);
    for replicas in [7, 5] {
        owned.spec.component_specs[0].replicas = replicas;
        let decision = decide(&request, &seen(owned.clone(), set(5, 3, 1)), &at(4));
        assert_eq!(decision.act, Act::Record, "{replicas}");
        assert_eq!(phase(&decision), Some(OpsPhase::Cancelled), "{replicas}");
        let told = message(&decision, ConditionType::Cancelled);
        assert!(told.contains("edited since"), "{replicas}: {told}");
        assert!(told.contains("replicas"), "{replicas}: {told}");
    }
}

#[test]
fn a_size_that_was_edited_before_the_cancel_stays() {
    let (mut request, mut edited, _) = begun(SCALE_OUT);
    request.spec.cancel = Some(true);
    edited.spec.component_specs[0].replicas = 7;
    let decision = decide(&request, &seen(edited, set(7, 3, 1)), &at(3));
    assert_eq!(decision.act, Act::Edit(Vec::new()));
    assert_eq!(phase(&decision), Some(OpsPhase::Cancelling));
}

#[test]
fn resources_that_the_request_did_not_name_keep_what_was_edited() {
    let (mut request, mut edited, _) = begun(RESIZE);
    let status = request.status.as_mut().expect("recorded");
    status.cluster_generation = Some(5);
    let limits = json!({ "cpu": "2", "memory": "4Gi" });
    edited.spec.component_specs[0].resources =
        serde_json::from_value(json!({ "limits": limits, "requests": { "cpu": "1" } }))
            .expect("resources");
    let going_on = decide(&request, &seen(edited.clone(), set(3, 3, 0)), &at(3));
    assert_eq!(phase(&going_on), Some(OpsPhase::Running));
    request.spec.cancel = Some(true);
    let decision = decide(&request, &seen(edited.clone(), set(3, 3, 0)), &at(4));
    let Act::Edit(back) = &decision.act else {
        panic!("no edit: {decision:?}")
    };
    let restored = edit::prospective(&edited, back);
    let former = json!({ "limits": { "cpu": "1", "memory": "4Gi" } });
    assert_eq!(resources(&restored), former);
    // The patch that is sent says the same.
    let steps = edit::patch(&edited, &edit::missing(&edited, back));
    let wanted =
        json!({ "op": "add", "path": "/spec/componentSpecs/0/resources", "value": former });
    assert_eq!(steps.as_array().map(Vec::len), Some(2), "{steps}");
    assert_eq!(steps[1], wanted);
}
