//! From a user's request to its end, as a table of what is seen and what is decided.

mod conflicts;
mod defragmenting;
mod dry_run;
mod ends;
mod exposing;
pub(crate) mod lives;
mod placing;
mod proof;

mod queueing;
mod recovering;
mod refused;
mod rounds;
mod undo;
mod volumes;

use std::collections::BTreeMap;

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::{Cluster, InstanceSet, OpsPhase, OpsRequest, settings};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::decide::{Act, Decision, decide};
use super::edit;
use super::observed::{Seen, ServiceSeen};

const SCALE_OUT: &str = "{type: HorizontalScaling, horizontalScaling: [{componentName: etcd, scaleOut: {replicaChanges: 2}}]}";

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(1_800_000_000 + second).expect("in range"))
}

fn request(name: &str, made: i64, spec: &str) -> OpsRequest {
    let mut spec: Value = serde_saphyr::from_str(spec).expect("a spec");
    spec["clusterName"] = json!("db");
    let object = json!({
        "metadata": { "name": name, "namespace": "ns", "uid": name, "generation": 1, "creationTimestamp": at(made) },
        "spec": spec,
    });
    serde_json::from_value(object).expect("a request")
}

/// A cluster of so many members that is in this phase and shows this generation.
fn cluster(members: i32, phase: &str, generation: i64) -> Cluster {
    let component_phase = if phase == "Stopped" {
        "Stopped"
    } else {
        "Running"
    };
    let object = json!({
        "metadata": { "name": "db", "namespace": "ns", "uid": "c", "generation": generation, "resourceVersion": "7" },
        "spec": { "terminationPolicy": "Delete", "componentSpecs": [
            { "name": "etcd", "replicas": members, "serviceVersion": "3.6.1", "tls": true, "issuer": {}, "resources": { "limits": { "cpu": "1", "memory": "1Gi" } },
              "volumeClaimTemplates": [{ "name": "data", "spec": { "resources": { "requests": { "storage": "20Gi" } } } }] },
        ] },
        "status": { "phase": phase, "observedGeneration": generation, "conditions": [
            { "type": "ProvisioningStarted", "status": "True", "reason": "r", "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z" },
            { "type": "ApplyResources", "status": "True", "reason": "r", "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z" },
        ], "components": { "etcd": {
            "phase": component_phase, "observedGeneration": generation, "upToDate": true } } },
    });
    serde_json::from_value(object).expect("a cluster")
}

/// Its InstanceSet: wants `wanted` members and has `voters` of them, the last `learners` without a vote.
fn set(wanted: usize, voters: usize, learners: usize) -> InstanceSet {
    let pod = |n: usize| format!("db-etcd-{n}");
    let revisions =
        |count: usize| -> BTreeMap<String, &str> { (0..count).map(|n| (pod(n), "r1")).collect() };
    let roles: Vec<_> = (0..voters)
        .map(|n| json!({ "podName": pod(n), "role": { "name": "follower" } }))
        .collect();
    let members: Vec<_> = (0..voters + learners)
        .map(|n| json!({ "podName": pod(n), "memberID": format!("{n}"), "isLearner": n >= voters }))
        .collect();
    let object = json!({
        "metadata": { "name": "db-etcd", "namespace": "ns", "generation": 3 },
        "spec": { "replicas": wanted, "selector": {}, "template": {} },
        "status": { "observedGeneration": 3, "replicas": voters + learners, "members": members, "membersStatus": roles,
            "currentRevisions": revisions(voters + learners), "updateRevisions": revisions(wanted) },
    });
    serde_json::from_value(object).expect("an InstanceSet")
}

fn seen(cluster: Cluster, set: InstanceSet) -> Seen {
    Seen {
        cluster: Some(cluster),
        sets: [("etcd".to_owned(), set)].into(),
        rehearsal: Some(Ok(())),
        ..Seen::default()
    }
}

fn message(decision: &Decision, kind: ConditionType) -> String {
    let found = condition::find(&decision.status.conditions, kind);
    found.map(|c| c.message.clone()).unwrap_or_default()
}

fn phase(decision: &Decision) -> Option<OpsPhase> {
    decision.status.phase
}

/// Admission and the first edit of a request in a cluster of three.
fn begun(spec: &str) -> (OpsRequest, Cluster, Decision) {
    let mut request = request("a", 0, spec);
    let before = cluster(3, "Running", 4);
    let seen = seen(before.clone(), set(3, 3, 0));
    let admitted = decide(&request, &seen, &at(1));
    assert_eq!(phase(&admitted), Some(OpsPhase::Creating), "{admitted:?}");
    request.status = Some(admitted.status);
    let decision = decide(&request, &seen, &at(2));
    assert_eq!(phase(&decision), Some(OpsPhase::Running), "{decision:?}");
    let Act::Edit(changes) = &decision.act else {
        panic!("no edit: {decision:?}")
    };
    let edited = edit::prospective(&before, changes);
    request.status = Some(decision.status.clone());
    (request, edited, decision)
}

#[test]
fn scaling_out_ends_when_every_new_member_votes_and_not_before() {
    let (mut request, mut edited, _) = begun(SCALE_OUT);
    assert_eq!(edited.spec.component_specs[0].replicas, 5);
    let status = request.status.as_mut().expect("recorded");
    status.cluster_generation = Some(5);
    // The Cluster's status still describes the spec before the edit.
    let stale = decide(&request, &seen(edited.clone(), set(3, 3, 0)), &at(3));
    assert_eq!(phase(&stale), Some(OpsPhase::Running));
    let said = edited
        .status
        .as_mut()
        .and_then(|s| s.components.get_mut("etcd"));
    said.expect("a component").observed_generation = Some(5);
    let progress = |voters, learners| {
        let seen = seen(edited.clone(), set(5, voters, learners));
        let decision = decide(&request, &seen, &at(4));
        let text = decision.status.progress.clone().unwrap_or_default();
        (phase(&decision).expect("a phase"), text)
    };
    assert_eq!(progress(3, 0), (OpsPhase::Running, "0/2".into()));
    assert_eq!(progress(4, 1), (OpsPhase::Running, "1/2".into()));
    assert_eq!(progress(5, 0), (OpsPhase::Succeed, "2/2".into()));
}

#[test]
fn a_spec_that_is_refused_after_the_edit_is_no_success() {
    let (mut request, edited, _) = begun("{type: Restart, restart: [{componentName: etcd}]}");
    request
        .status
        .as_mut()
        .expect("recorded")
        .cluster_generation = Some(5);
    let end = |provisioning: &str, applied: &str| {
        let mut edited = edited.clone();
        if let Some(told) = edited.status.as_mut() {
            told.conditions[0].status = provisioning.to_owned();
            told.conditions[1].status = applied.to_owned();
            for component in told.components.values_mut() {
                component.observed_generation = Some(5);
            }
        }
        let mut seen = seen(edited, set(3, 3, 0));
        seen.pods = (0..3)
            .map(|ordinal| proof::pod(ordinal, "new", &json!({ "name": "etcd" })))
            .collect();
        phase(&decide(&request, &seen, &at(60)))
    };
    assert_eq!(end("False", "True"), Some(OpsPhase::Running));
    assert_eq!(end("True", "True"), Some(OpsPhase::Succeed));
    // Of the Cluster's own objects these are its services: one that Kubernetes refuses is nothing to a restart.
    assert_eq!(end("True", "False"), Some(OpsPhase::Succeed));
}

#[test]
fn an_even_target_is_refused_with_its_odd_neighbours_and_nothing_is_touched() {
    let one_more = SCALE_OUT.replace('2', "1");
    let request = request("a", 0, &one_more);
    let decision = decide(
        &request,
        &seen(cluster(3, "Running", 4), set(3, 3, 0)),
        &at(1),
    );
    assert_eq!(phase(&decision), Some(OpsPhase::Failed));
    assert_eq!(decision.act, Act::Record);
    let told = message(&decision, ConditionType::Validated);
    assert!(told.contains("4 is even: make it 3 or 5"), "{told}");
}

#[test]
fn what_contradicts_the_cluster_is_refused_by_name() {
    let table = [
        (
            "{type: Restart, restart: [{componentName: store}]}",
            "\"store\", which cluster db does not have: etcd",
        ),
        (
            "{type: Restart, restart: [{componentName: etcd}, {componentName: etcd}]}",
            "twice",
        ),
        (
            "{type: HorizontalScaling, horizontalScaling: [{componentName: etcd, scaleIn: {replicaChanges: 3}}]}",
            "at least 1 must stay",
        ),
        (
            "{type: HorizontalScaling, horizontalScaling: [{componentName: etcd, scaleIn: {onlineInstancesToOffline: [db-etcd-7, db-etcd-1]}}]}",
            "\"db-etcd-7\", which is no member",
        ),
        (
            "{type: HorizontalScaling, horizontalScaling: [{componentName: etcd, scaleOut: {offlineInstancesToOnline: [db-etcd-7, db-etcd-8]}}]}",
            "not one of offlineInstances",
        ),
        (
            "{type: Switchover, switchover: [{componentName: etcd, instanceName: db-etcd-9}]}",
            "\"db-etcd-9\" is not an instance",
        ),
        (
            "{type: Switchover, switchover: [{componentName: etcd, instanceName: db-etcd-1, candidateName: db-etcd-1}]}",
            "both \"db-etcd-1\"",
        ),
        (
            "{type: Upgrade, upgrade: {components: [{componentName: etcd, serviceVersion: ''}]}}",
            "upgrade.components[etcd]: say serviceVersion",
        ),
    ];
    for (spec, why) in table {
        let request = request("a", 0, spec);
        let decision = decide(
            &request,
            &seen(cluster(3, "Running", 4), set(3, 3, 0)),
            &at(1),
        );
        assert_eq!(phase(&decision), Some(OpsPhase::Failed), "{spec}");
        let told = message(&decision, ConditionType::Validated);
        assert!(told.contains(why), "{spec}: {told}");
    }
}

#[test]
fn what_the_planners_would_refuse_is_refused_before_the_edit() {
    let request = request("a", 0, SCALE_OUT);
    let mut seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
    seen.rehearsal = Some(Err("spec.componentSpecs[etcd].replicas 5 is outside".into()));
    let decision = decide(&request, &seen, &at(1));
    assert_eq!(phase(&decision), Some(OpsPhase::Failed));
    assert!(message(&decision, ConditionType::Validated).contains("outside"));
}

#[test]
fn a_phase_that_does_not_fit_is_waited_for_as_long_as_the_request_says() {
    let seen = seen(cluster(3, "Updating", 4), set(3, 3, 0));
    let at_once = decide(&request("a", 0, SCALE_OUT), &seen, &at(1));
    assert_eq!(phase(&at_once), Some(OpsPhase::Failed));
    let patient = SCALE_OUT.replace("{type", "{preConditionDeadlineSeconds: 30, type");
    let patient = request("a", 0, &patient);
    assert_eq!(
        phase(&decide(&patient, &seen, &at(29))),
        Some(OpsPhase::Pending)
    );
    assert_eq!(
        phase(&decide(&patient, &seen, &at(31))),
        Some(OpsPhase::Failed)
    );
    let forced = request("a", 0, &SCALE_OUT.replace("{type", "{force: true, type"));
    assert_eq!(
        phase(&decide(&forced, &seen, &at(1))),
        Some(OpsPhase::Creating)
    );
}

#[test]
fn requests_take_their_turn_unless_forced() {
    let (first, ..) = begun(SCALE_OUT);
    let mut seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
    seen.requests = vec![first, request("b", 5, SCALE_OUT)];
    let restart = "{type: Restart, restart: [{componentName: etcd}]}";
    let second = decide(&request("c", 6, restart), &seen, &at(7));
    assert_eq!(phase(&second), Some(OpsPhase::Pending));
    let told = message(&second, ConditionType::WaitForProgressing);
    assert_eq!(told, "waits for OpsRequest b");
    let forced = request("c", 6, &restart.replace("{type", "{force: true, type"));
    assert_eq!(
        phase(&decide(&forced, &seen, &at(7))),
        Some(OpsPhase::Creating)
    );
    for other in &mut seen.requests {
        other.status.get_or_insert_default().phase = Some(OpsPhase::Succeed);
    }
    let free = decide(&request("c", 6, restart), &seen, &at(8));
    assert_eq!(phase(&free), Some(OpsPhase::Creating));
}

#[test]
fn a_cancelled_scaling_goes_back_to_what_was_there() {
    let (mut request, edited, _) = begun(SCALE_OUT);
    request.spec.cancel = Some(true);
    let decision = decide(&request, &seen(edited.clone(), set(5, 3, 1)), &at(3));
    assert_eq!(phase(&decision), Some(OpsPhase::Cancelling));
    let Act::Edit(changes) = &decision.act else {
        panic!("no edit: {decision:?}")
    };
    let back = edit::prospective(&edited, changes);
    assert_eq!(back.spec, cluster(3, "Running", 4).spec);
    request.status = Some(decision.status);
    let on_its_way = decide(&request, &seen(back.clone(), set(3, 3, 1)), &at(4));
    assert_eq!(phase(&on_its_way), Some(OpsPhase::Cancelling));
    let done = decide(&request, &seen(back, set(3, 3, 0)), &at(5));
    assert_eq!(phase(&done), Some(OpsPhase::Cancelled));
}

#[test]
fn somebody_elses_edit_of_the_same_field_ends_the_request_and_is_left_alone() {
    let (request, ..) = begun(SCALE_OUT);
    let other = cluster(1, "Running", 6);
    let decision = decide(&request, &seen(other, set(1, 1, 0)), &at(9));
    assert_eq!(phase(&decision), Some(OpsPhase::Aborted));
    assert_eq!(decision.act, Act::Record);
    let told = message(&decision, ConditionType::Aborted);
    assert!(told.contains("no longer replicas 5"), "{told}");
}

#[test]
fn a_cluster_that_changed_between_record_and_edit_is_read_anew() {
    let mut request = request("a", 0, SCALE_OUT);
    let seen_before = seen(cluster(3, "Running", 4), set(3, 3, 0));
    request.status = Some(decide(&request, &seen_before, &at(1)).status);
    let changed = seen(cluster(1, "Running", 5), set(1, 1, 0));
    let decision = decide(&request, &changed, &at(2));
    assert_eq!(phase(&decision), Some(OpsPhase::Pending));
    assert_eq!(decision.act, Act::Record);
}

#[test]
fn resources_that_are_not_named_stay() {
    let spec = "{type: VerticalScaling, verticalScaling: [{componentName: etcd, limits: {cpu: '2'}, requests: {cpu: '1'}}]}";
    let (_, edited, _) = begun(spec);
    let resources = edited.spec.component_specs[0].resources.clone();
    let resources = serde_json::to_value(resources).expect("resources");
    assert_eq!(
        resources,
        json!({ "limits": { "cpu": "2", "memory": "1Gi" }, "requests": { "cpu": "1" } })
    );
}

#[test]
fn a_patch_is_of_the_version_that_was_read() {
    let (_, _, decision) = begun("{type: Stop}");
    let Act::Edit(changes) = &decision.act else {
        panic!("no edit: {decision:?}")
    };
    let before = cluster(3, "Running", 4);
    let patch = edit::patch(&before, &edit::missing(&before, changes));
    assert_eq!(
        patch,
        json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": "7" },
            { "op": "add", "path": "/spec/componentSpecs/0/stop", "value": true },
        ])
    );
}

#[test]
fn an_ended_request_goes_when_its_time_to_live_is_over() {
    let mut ended = request(
        "a",
        0,
        &SCALE_OUT.replace("{type", "{ttlSecondsAfterSucceed: 60, type"),
    );
    let status = ended.status.get_or_insert_default();
    status.phase = Some(OpsPhase::Succeed);
    status.completion_timestamp = Some(at(10));
    let seen = Seen::default();
    assert_eq!(decide(&ended, &seen, &at(69)).act, Act::Record);
    assert_eq!(decide(&ended, &seen, &at(70)).act, Act::Delete);
    ended.status.get_or_insert_default().phase = Some(OpsPhase::Failed);
    assert_eq!(decide(&ended, &seen, &at(9999)).act, Act::Record);
}

#[test]
fn settings_are_merged_into_those_that_were_there_and_taken_back_one_by_one() {
    let spec = "{type: Reconfiguring, reconfigures: [{componentName: etcd, parameters: [{key: snapshot-count, value: '5000'}]}]}";
    let (_, edited, _) = begun(spec);
    let settings = |cluster: &Cluster| settings::of(&cluster.spec.component_specs[0].configs);
    let wanted = [("snapshot-count".to_owned(), "5000".to_owned())].into();
    assert_eq!(settings(&edited), wanted);

    let back = "{type: Reconfiguring, reconfigures: [{componentName: etcd, parameters: [{key: snapshot-count}, {key: metrics, value: basic}]}]}";
    let mut request = request("b", 0, back);
    let seen = seen(edited.clone(), set(3, 3, 0));
    for second in 1..2 {
        request.status = Some(decide(&request, &seen, &at(second)).status);
    }
    let Act::Edit(changes) = decide(&request, &seen, &at(3)).act else {
        panic!("no edit")
    };
    let next = edit::prospective(&edited, &changes);
    let wanted = [("metrics".to_owned(), "basic".to_owned())].into();
    assert_eq!(settings(&next), wanted);
    let patch = edit::patch(&edited, &edit::missing(&edited, &changes));
    let configs = json!([{ "name": "etcd", "variables": { "metrics": "basic" } }]);
    assert_eq!(
        patch[1],
        json!({ "op": "add", "path": "/spec/componentSpecs/0/configs", "value": configs })
    );
}

const EXPOSE: &str = "{type: Expose, expose: [{componentName: etcd, switch: Enable, services: [{name: outside, serviceType: NodePort}]}]}";

/// The service as it is there: with a port on every node or without, leading to so many.
fn service(node_port: Option<i32>, serving: usize) -> ServiceSeen {
    let port = json!({ "port": 2379, "nodePort": node_port });
    let object = json!({ "metadata": {}, "spec": { "type": "NodePort", "ports": [port] } });
    ServiceSeen {
        service: serde_json::from_value(object).expect("a service"),
        serving,
    }
}

#[test]
fn a_service_is_there_when_it_has_its_address_and_leads_to_somebody() {
    let (mut request, mut edited, _) = begun(EXPOSE);
    let wanted = edit::service(&edited, "outside")
        .cloned()
        .expect("in the spec");
    assert_eq!(wanted.service_name.as_deref(), Some("etcd-outside"));
    assert_eq!(wanted.role_selector.as_deref(), Some("leader"));
    request.status.get_or_insert_default().cluster_generation = Some(5);
    let told = |seen: &Seen, edited: &Cluster| {
        let seen = Seen {
            cluster: Some(edited.clone()),
            ..seen.clone()
        };
        phase(&decide(&request, &seen, &at(9)))
    };
    let with = |service: Option<ServiceSeen>| Seen {
        services: service
            .map(|s| ("db-etcd-outside".to_owned(), s))
            .into_iter()
            .collect(),
        ..Seen::default()
    };
    let ready = with(Some(service(Some(30000), 1)));
    let running = Some(OpsPhase::Running);
    assert_eq!(
        told(&ready, &edited),
        running,
        "the edit is not yet carried out"
    );
    edited.status.get_or_insert_default().observed_generation = Some(5);
    assert_eq!(told(&with(None), &edited), running);
    assert_eq!(told(&with(Some(service(None, 1))), &edited), running);
    assert_eq!(told(&with(Some(service(Some(30000), 0))), &edited), running);
    assert_eq!(told(&ready, &edited), Some(OpsPhase::Succeed));
}

#[test]
fn services_of_others_are_left_alone() {
    let refusal = |spec: &str, cluster: &Cluster| {
        let seen = seen(cluster.clone(), set(3, 3, 0));
        message(
            &decide(&request("a", 0, spec), &seen, &at(1)),
            ConditionType::Validated,
        )
    };
    let mut taken = cluster(3, "Running", 4);
    taken.spec.services =
        vec![serde_json::from_value(json!({ "name": "outside" })).expect("a service")];
    assert!(refusal(EXPOSE, &taken).contains("has another \"outside\" already"));
    let disable = EXPOSE.replace("Enable", "Disable");
    let none = refusal(&disable, &cluster(3, "Running", 4));
    assert!(none.contains("no \"outside\" to disable"), "{none}");
    let long = EXPOSE.replace("outside", "as-long-as-a-name-can-be");
    assert!(refusal(&long, &cluster(3, "Running", 4)).contains("longer than 25"));

    // Services touch no member: such a request waits for no other.
    let (scaling, ..) = begun(SCALE_OUT);
    let mut beside = seen(cluster(3, "Running", 4), set(3, 3, 0));
    beside.requests = vec![scaling];
    let decision = decide(&request("b", 5, EXPOSE), &beside, &at(6));
    assert_eq!(phase(&decision), Some(OpsPhase::Creating));
}

const REBUILD: &str = "{type: RebuildInstance, force: true, rebuildFrom: [{componentName: etcd, inPlace: true, instances: [{name: db-etcd-1}]}]}";

#[test]
fn a_member_is_rebuilt_when_another_one_of_its_name_votes() {
    let mut with_claims = set(3, 3, 0);
    with_claims.spec.volume_claim_templates =
        vec![serde_json::from_value(json!({ "name": "data", "spec": {} })).expect("a template")];
    let mut before = seen(cluster(3, "Running", 4), with_claims.clone());
    before.claims = [("data-db-etcd-1".to_owned(), "c1".to_owned())].into();
    let mut request = request("a", 0, REBUILD);
    request.status = Some(decide(&request, &before, &at(1)).status);
    let decision = decide(&request, &before, &at(2));
    assert_eq!(
        (phase(&decision), &decision.act),
        (Some(OpsPhase::Running), &Act::Rebuild)
    );
    let last = &decision.status.last_configuration.components["etcd"];
    assert_eq!(last.rebuilt_claims["data-db-etcd-1"], "c1");
    assert_eq!(last.rebuilt_members["db-etcd-1"], "1");
    request.status = Some(decision.status);

    let told = |change: &dyn Fn(&mut InstanceSet)| {
        let mut now = with_claims.clone();
        change(&mut now);
        let seen = seen(cluster(3, "Running", 4), now);
        phase(&decide(&request, &seen, &at(9)))
    };
    let member = |set: &mut InstanceSet, id: &str, is_learner| {
        let status = set.status.get_or_insert_default();
        status.members[1].member_id = id.to_owned();
        status.members[1].is_learner = is_learner;
    };
    let running = Some(OpsPhase::Running);
    assert_eq!(told(&|_| {}), running, "it is the old one still");
    assert_eq!(
        told(&|set| member(set, "77", true)),
        running,
        "it has no vote yet"
    );
    assert_eq!(
        told(&|set| member(set, "77", false)),
        Some(OpsPhase::Succeed)
    );
}

#[test]
fn what_cannot_be_rebuilt_is_refused_by_name() {
    let refusal = |spec: &str, set: InstanceSet, claims: &[&str]| {
        let mut seen = seen(cluster(3, "Running", 4), set);
        seen.claims = claims
            .iter()
            .map(|name| (name.to_string(), "c".to_owned()))
            .collect();
        message(
            &decide(&request("a", 0, spec), &seen, &at(1)),
            ConditionType::Validated,
        )
    };
    let stranger = REBUILD.replace("db-etcd-1", "db-etcd-9");
    assert!(refusal(&stranger, set(3, 3, 0), &[]).contains("\"db-etcd-9\" is not a member"));
    let first = REBUILD.replace("db-etcd-1", "db-etcd-0");
    assert!(refusal(&first, set(1, 1, 0), &["data-db-etcd-0"]).contains("no other member"));
    assert!(refusal(REBUILD, set(3, 3, 0), &[]).contains("replaced without being asked"));
    let unforced = REBUILD.replace("force: true, ", "");
    assert!(refusal(&unforced, set(3, 3, 0), &[]).contains("set force: true"));
}
