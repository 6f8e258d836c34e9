//! `Succeed` is evidence: each type of operation is done when what it is for was seen, and says what is lacking before.

use etcd_operator_api::{InstanceSet, Opaque, OpsPhase, OpsRequest};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::super::decide::decide;
use super::super::observed::Seen;
use super::{at, begun, cluster, request, seen, set};

/// A pod of the component, as it is when it was made for `uid`.
pub(super) fn pod(ordinal: usize, uid: &str, etcd: &Value) -> (String, Pod) {
    let name = format!("db-etcd-{ordinal}");
    let object = json!({
        "metadata": { "name": name, "uid": format!("{uid}{ordinal}") },
        "spec": { "containers": [{ "name": "sidecar" }, { "name": "kbagent" }, etcd] },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    (name, serde_json::from_value(object).expect("a pod"))
}

fn with_pods(mut seen: Seen, uid: &str, etcd: &Value) -> Seen {
    seen.pods = (0..3).map(|ordinal| pod(ordinal, uid, etcd)).collect();
    let template = json!({ "spec": { "containers": [{ "name": "kbagent" }, etcd] } });
    if let Some(set) = seen.sets.get_mut("etcd") {
        set.spec.template = Opaque(template);
    }
    seen
}

/// Where the request stands, and what is missing for the first pod that is not done.
fn told(request: &OpsRequest, seen: &Seen) -> (OpsPhase, String) {
    let decision = decide(request, seen, &at(9));
    let components = decision.status.components.values();
    let mut details = components.flat_map(|component| &component.progress_details);
    let lacks = details.find_map(|detail| detail.message.clone());
    let phase = decision.status.phase.expect("a phase");
    (phase, lacks.unwrap_or_default())
}

/// A request that is under way in a cluster that has settled after its edit, so far as the InstanceSet can tell.
fn settled(spec: &str) -> (OpsRequest, Seen) {
    let (request, edited, _) = begun(spec);
    (request, seen(edited, set(3, 3, 0)))
}

fn lacks((phase, lacks): (OpsPhase, String), word: &str) {
    assert_eq!(phase, OpsPhase::Running, "{lacks}");
    assert!(lacks.contains(word), "{lacks}");
}

#[test]
fn a_restart_is_done_when_every_pod_is_another_one() {
    let spec = "{type: Restart, restart: [{componentName: etcd}]}";
    let etcd = json!({ "name": "etcd" });
    let mut request = request("a", 0, spec);
    let seen = with_pods(seen(cluster(3, "Running", 4), set(3, 3, 0)), "old", &etcd);
    for second in 1..3 {
        request.status = Some(decide(&request, &seen, &at(second)).status);
    }
    let last = request.status.as_ref().map(|s| &s.last_configuration);
    let last = &last.expect("recorded").components["etcd"];
    assert_eq!(last.pods["db-etcd-1"], "old1");
    let began = request
        .status
        .as_ref()
        .and_then(|s| s.start_timestamp.clone());
    let began = began.expect("begun").0.to_string();
    let mut seen = seen;
    for spec in seen
        .cluster
        .iter_mut()
        .flat_map(|c| &mut c.spec.component_specs)
    {
        let mark = etcd_operator_api::labels::RESTART.to_owned();
        spec.annotations.insert(mark, began.clone());
    }
    lacks(told(&request, &seen), "still the pod that was there");
    let mut seen = with_pods(seen, "new", &etcd);
    assert_eq!(told(&request, &seen).0, OpsPhase::Succeed);
    seen.pods.remove("db-etcd-2");
    lacks(told(&request, &seen), "not seen yet");
}

#[test]
fn an_upgrade_is_done_when_every_member_says_the_version() {
    let spec =
        "{type: Upgrade, upgrade: {components: [{componentName: etcd, serviceVersion: 3.6.99}]}}";
    let (request, mut seen) = settled(spec);
    lacks(told(&request, &seen), "not said its version");
    let mut say = |versions: [&str; 3]| {
        let status = seen
            .sets
            .get_mut("etcd")
            .and_then(|set: &mut InstanceSet| set.status.as_mut());
        for (member, version) in status.expect("a status").members.iter_mut().zip(versions) {
            member.version = Some(version.to_owned());
        }
        told(&request, &seen)
    };
    lacks(
        say(["3.6.99", "3.6.1", "3.6.99"]),
        "runs etcd 3.6.1, not 3.6.99",
    );
    assert_eq!(say(["3.6.99"; 3]).0, OpsPhase::Succeed);
    let named = spec.replace("3.6.99", "3.6.99-2");
    let (request, edited, _) = begun(&named);
    seen.cluster = Some(edited);
    assert_eq!(told(&request, &seen).0, OpsPhase::Succeed);
}

#[test]
fn an_upgrade_without_a_version_is_done_when_every_member_says_the_one_that_was_resolved() {
    let spec = "{type: Upgrade, upgrade: {components: [{componentName: etcd, componentDefinitionName: etcd-9, serviceVersion: ''}]}}";
    let (request, mut seen) = settled(spec);
    lacks(told(&request, &seen), "not resolved yet");
    // The owner's spec names no version.
    let cluster = seen.cluster.as_mut().expect("a cluster");
    cluster.spec.component_specs[0].service_version = None;
    let status = cluster.status.get_or_insert_default();
    let component = status.components.get_mut("etcd").expect("told");
    component.service_version = Some("3.6.99".to_owned());
    lacks(told(&request, &seen), "not said its version");
    let mut say = |version: &str| {
        let set = seen.sets.get_mut("etcd").expect("a set");
        for member in &mut set.status.get_or_insert_default().members {
            member.version = Some(version.to_owned());
        }
        told(&request, &seen)
    };
    lacks(say("3.6.1"), "runs etcd 3.6.1, not 3.6.99");
    assert_eq!(say("3.6.99").0, OpsPhase::Succeed);
}

#[test]
fn resources_are_changed_when_every_pod_has_them() {
    let spec =
        "{type: VerticalScaling, verticalScaling: [{componentName: etcd, limits: {cpu: 2000m}}]}";
    let (request, seen) = settled(spec);
    let with = |limits: Value| {
        let etcd = json!({ "name": "etcd", "resources": { "limits": limits } });
        told(&request, &with_pods(seen.clone(), "p", &etcd))
    };
    lacks(with(json!({ "cpu": "1" })), "limits.cpu is 1, not 2000m");
    lacks(with(json!({})), "limits.cpu is none");
    // The API server writes 2000m as 2.
    assert_eq!(
        with(json!({ "cpu": "2", "memory": "1Gi" })).0,
        OpsPhase::Succeed
    );
}

#[test]
fn settings_are_changed_when_every_etcd_runs_with_them() {
    let spec = "{type: Reconfiguring, reconfigures: [{componentName: etcd, parameters: [{key: snapshot-count, value: '5000'}, {key: metrics}]}]}";
    let (request, seen) = settled(spec);
    let with = |template: &[&str], args: &[&str]| {
        let etcd = |args: &[&str]| json!({ "name": "etcd", "args": args });
        let mut seen = with_pods(seen.clone(), "p", &etcd(template));
        seen.pods = (0..3)
            .map(|ordinal| pod(ordinal, "p", &etcd(args)))
            .collect();
        told(&request, &seen)
    };
    let wanted: &[&str] = &["--snapshot-count=5000", "--metrics=extensive"];
    lacks(
        with(wanted, &["--metrics=extensive"]),
        "snapshot-count unset, not 5000",
    );
    lacks(
        with(wanted, &["--snapshot-count=5000", "--metrics=basic"]),
        "metrics basic, not extensive",
    );
    lacks(
        with(&["--snapshot-count=1"], &["--snapshot-count=1"]),
        "snapshot-count 1, not 5000",
    );
    assert_eq!(with(wanted, wanted).0, OpsPhase::Succeed);
    let older: &[&str] = &["--experimental-snapshot-count=5000"];
    assert_eq!(with(older, older).0, OpsPhase::Succeed);
}

#[test]
fn an_agents_setting_is_changed_when_every_agent_has_it() {
    for (key, name) in etcd_operator_api::settings::OF_THE_AGENT {
        an_agents_setting_is_changed(key, name);
    }
}

fn an_agents_setting_is_changed(key: &str, name: &str) {
    let spec = format!(
        "{{type: Reconfiguring, reconfigures: [{{componentName: etcd, parameters: [{{key: {key}, value: 'false'}}]}}]}}"
    );
    let (request, seen) = settled(&spec);
    let etcd = json!({ "name": "etcd", "args": ["--snapshot-count=1"] });
    let variable = |value: &str| json!([{ "name": name, "value": value }]);
    let with = |agents: [Option<&str>; 3]| {
        let mut seen = with_pods(seen.clone(), "p", &etcd);
        let told_agent = |spec: &mut k8s_openapi::api::core::v1::PodSpec, value: &str| {
            let agent = spec.containers.iter_mut().find(|c| c.name == "kbagent");
            let env = serde_json::from_value(variable(value)).expect("variables");
            agent.expect("the agent").env = env;
        };
        for (pod, value) in seen.pods.values_mut().zip(agents) {
            if let (Some(spec), Some(value)) = (pod.spec.as_mut(), value) {
                told_agent(spec, value);
            }
        }
        let template = json!({ "spec": { "containers": [{ "name": "kbagent", "env": variable("false") }, etcd] } });
        seen.sets.get_mut("etcd").expect("a set").spec.template = Opaque(template);
        told(&request, &seen)
    };
    let off = Some("false");
    lacks(with([off, None, off]), &format!("{key} unset, not false"));
    lacks(
        with([off, off, Some("true")]),
        &format!("{key} true, not false"),
    );
    assert_eq!(with([off; 3]).0, OpsPhase::Succeed);
}

#[test]
fn a_cluster_is_stopped_when_no_pod_is_there_and_started_when_all_are_ready() {
    let etcd = json!({ "name": "etcd" });
    let (request, mut edited, _) = begun("{type: Stop}");
    let said = edited
        .status
        .get_or_insert_default()
        .components
        .values_mut();
    said.for_each(|said| said.phase = Some(etcd_operator_api::ComponentPhase::Stopped));
    let mut stopped = set(0, 0, 0);
    let status = stopped.status.get_or_insert_default();
    status.members = set(3, 3, 0).status.expect("a status").members;
    let gone = seen(edited, stopped);
    let there = with_pods(gone.clone(), "p", &etcd);
    lacks(told(&request, &there), "still there");
    assert_eq!(told(&request, &gone).0, OpsPhase::Succeed);

    let (request, seen) = settled("{type: Start}");
    let mut ready = with_pods(seen, "p", &etcd);
    assert_eq!(told(&request, &ready).0, OpsPhase::Succeed);
    let pod = ready.pods.get_mut("db-etcd-1").expect("a pod");
    pod.status.get_or_insert_default().conditions = None;
    lacks(told(&request, &ready), "not ready yet");
}
