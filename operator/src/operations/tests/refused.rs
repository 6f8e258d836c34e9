//! What Kubernetes refuses only when it is really made: the request takes its edit back and fails with Kubernetes'
//! words.

use std::collections::BTreeMap;

use etcd_operator_api::condition::ConditionType;
use etcd_operator_api::{Cluster, OpsPhase, OpsRequest};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::super::decide::{Act, decide};
use super::super::edit;
use super::{EXPOSE, SCALE_OUT, at, begun, cluster, message, phase, seen, set};
use crate::controller::apply_if_different;
use crate::fake_api::{failure, server};

const TAKEN: &str =
    "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated";

/// A request that has edited its Cluster, which has generation 5 since.
fn edited(spec: &str) -> (OpsRequest, Cluster) {
    let (mut request, mut edited, _) = begun(spec);
    request
        .status
        .as_mut()
        .expect("recorded")
        .cluster_generation = Some(5);
    edited.metadata.generation = Some(5);
    (request, edited)
}

fn refusing(object: &str) -> BTreeMap<String, String> {
    [(object.to_owned(), TAKEN.to_owned())].into()
}

/// The Cluster as its status describes generation `seen`, with this object refused.
fn with_refused(mut cluster: Cluster, seen: i64, object: &str, component: bool) -> Cluster {
    let status = cluster.status.as_mut().expect("a status");
    status.observed_generation = Some(seen);
    let of_component = status.components.get_mut("etcd").expect("a component");
    match component {
        true => of_component.refused_objects = refusing(object),
        false => status.refused_objects = refusing(object),
    }
    cluster
}

/// The end of a request whose Cluster shows a refusal; every decision is recorded and every edit is made.
fn to_its_end(request: &mut OpsRequest, cluster: &mut Cluster) -> (Option<OpsPhase>, String) {
    let mut edits = 0;
    for second in 3..9 {
        let decision = decide(request, &seen(cluster.clone(), set(3, 3, 0)), &at(second));
        if let Act::Edit(back) = &decision.act {
            *cluster = edit::prospective(cluster, back);
            edits += 1;
        }
        request.status = Some(decision.status.clone());
        if phase(&decision).is_some_and(OpsPhase::is_ended) {
            assert!(edits <= 1, "{edits} edits");
            return (phase(&decision), message(&decision, ConditionType::Failed));
        }
    }
    (Some(OpsPhase::Running), String::new())
}

#[test]
fn a_service_whose_port_is_taken_goes_from_the_spec_and_the_request_fails() {
    let (mut request, edited) = edited(EXPOSE);
    let mut cluster_now = with_refused(edited, 5, "Service/db-etcd-outside", false);
    assert_eq!(cluster_now.spec.services.len(), 1);
    let (end, told) = to_its_end(&mut request, &mut cluster_now);
    assert_eq!(end, Some(OpsPhase::Failed));
    assert!(told.contains(TAKEN), "{told}");
    assert!(told.contains("taken back"), "{told}");
    assert_eq!(cluster_now.spec, cluster(3, "Running", 4).spec);
}

#[test]
fn a_refusal_that_is_not_of_this_edit_changes_nothing() {
    let table = [
        ("told before the edit", 4, "Service/db-etcd-outside"),
        ("another service", 5, "Service/db-etcd-other"),
    ];
    for (why, seen, object) in table {
        let (mut request, edited) = edited(EXPOSE);
        let mut cluster = with_refused(edited.clone(), seen, object, false);
        let (end, _) = to_its_end(&mut request, &mut cluster);
        assert_eq!(end, Some(OpsPhase::Running), "{why}");
        assert_eq!(cluster.spec, edited.spec, "{why}");
    }
    let (mut request, edited) = edited(SCALE_OUT);
    let mut cluster = with_refused(edited.clone(), 5, "Service/db-etcd-outside", false);
    let (end, _) = to_its_end(&mut request, &mut cluster);
    assert_eq!(
        end,
        Some(OpsPhase::Running),
        "a scaling needs no such service"
    );
    assert_eq!(cluster.spec, edited.spec);
}

#[test]
fn every_edit_can_be_taken_back_to_what_was_there() {
    let table = [
        SCALE_OUT,
        "{type: Restart, restart: [{componentName: etcd}]}",
        "{type: Stop}",
        "{type: VerticalScaling, verticalScaling: [{componentName: etcd, limits: {cpu: '2'}}]}",
        "{type: Upgrade, upgrade: {components: [{componentName: etcd, serviceVersion: 3.6.16}]}}",
        "{type: Reconfiguring, reconfigures: [{componentName: etcd, parameters: [{key: metrics, value: extensive}]}]}",
    ];
    for spec in table {
        for (object, component) in [("InstanceSet/db-etcd", true), ("Component/db-etcd", false)] {
            let (mut request, edited) = edited(spec);
            let mut cluster_now = with_refused(edited, 5, object, component);
            let (end, told) = to_its_end(&mut request, &mut cluster_now);
            assert_eq!(end, Some(OpsPhase::Failed), "{spec}");
            assert!(told.contains(object), "{told}");
            assert_eq!(cluster_now.spec, cluster(3, "Running", 4).spec, "{spec}");
        }
    }
}

#[test]
fn what_was_edited_since_stays_and_is_named() {
    let (mut request, edited) = edited(EXPOSE);
    let cluster = with_refused(edited, 5, "Service/db-etcd-outside", false);
    let decision = decide(&request, &seen(cluster.clone(), set(3, 3, 0)), &at(3));
    assert_eq!(decision.act, Act::Record, "on record first");
    request.status = Some(decision.status);
    let mut mended = cluster;
    let owners = json!([{ "name": "outside", "spec": { "type": "ClusterIP" } }]);
    mended.spec.services = serde_json::from_value(owners).expect("services");
    let kept = mended.spec.clone();
    let (end, told) = to_its_end(&mut request, &mut mended);
    assert_eq!(end, Some(OpsPhase::Failed));
    assert!(told.contains("spec.services[outside] was edited"), "{told}");
    assert_eq!(mended.spec, kept);
}

#[tokio::test]
async fn what_may_be_answered_otherwise_next_time_is_no_refusal() {
    let terminating = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403,
        "reason": "Forbidden", "message": "being terminated",
        "details": { "causes": [{ "reason": "NamespaceTerminating" }] } });
    let table = [
        (failure(422, "Invalid", TAKEN), true),
        (failure(403, "Forbidden", "denied by a policy"), true),
        ((403, terminating), false),
        (failure(409, "Conflict", "modified"), false),
        (failure(429, "TooManyRequests", "later"), false),
        (
            failure(500, "InternalError", "failed calling webhook"),
            false,
        ),
        (failure(504, "Timeout", "timeout"), false),
    ];
    let service = json!({ "metadata": { "name": "db-out", "namespace": "ns" } });
    let service: Service = serde_json::from_value(service).expect("a service");
    for (answer, refused) in table {
        let told = answer.1["message"].as_str().expect("a message").to_owned();
        let (context, _) = server(move |line| match line.starts_with("GET") {
            true => failure(404, "NotFound", "not found"),
            false => answer.clone(),
        });
        let error = apply_if_different(&context.client, &service).await;
        let refusal = error.expect_err("an error").refusal();
        let wanted = refused.then(|| ("Service/db-out".to_owned(), told.clone()));
        assert_eq!(refusal, wanted, "{told}");
    }
}
