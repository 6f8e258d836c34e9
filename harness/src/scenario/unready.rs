//! Whether all members are ready, and why one is not, in one line: who reads a failed run may have no cluster to look
//! at any more.

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::ResourceExt;

use crate::cluster::NodeState;

/// True when a pod is ready and not about to go.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Says what is missing until all members are ready and labelled.
pub(super) fn whole(pods: &[Pod], members: u32) -> Result<(), String> {
    let role = |pod: &Pod| pod.labels().get(labels::ROLE).cloned();
    let ready = |pod: &&Pod| is_ready(pod);
    let count = pods.iter().filter(ready).count();
    let with = |name: &str| {
        pods.iter()
            .filter(|pod| role(pod).as_deref() == Some(name))
            .count()
    };
    let (leaders, followers) = (with("leader"), with("follower"));
    let wanted = members as usize;
    if (pods.len(), count, leaders, followers) == (wanted, wanted, 1, wanted - 1) {
        return Ok(());
    }
    let without: Vec<String> = pods.iter().filter(|pod| !ready(pod)).map(told).collect();
    Err(format!(
        "{} of {wanted} pods, {count} ready, {leaders} leader, {followers} follower; not ready: [{}]",
        pods.len(),
        without.join(", ")
    ))
}

/// A pod's name, its node, the conditions that are not true, and what its containers wait for or ended by.
pub(super) fn told(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let mut told = match node {
        Some(node) => vec![format!("on {node}")],
        None => vec!["on no node".to_owned()],
    };
    if let Some(due) = &pod.metadata.deletion_timestamp {
        let grace = pod.metadata.deletion_grace_period_seconds;
        let grace = grace.map_or_else(String::new, |s| format!(", with {s} s of grace"));
        told.push(format!("being deleted, due at {}{grace}", due.0));
    }
    let status = pod.status.as_ref();
    let conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
    told.extend(conditions.filter(|c| c.status != "True").map(|condition| {
        let reason = condition.reason.as_deref().unwrap_or("no reason");
        let message = condition.message.as_deref().unwrap_or_default();
        format!("{}: {reason} {message}", condition.type_)
            .trim_end()
            .to_owned()
    }));
    let containers = status.iter().flat_map(|s| {
        let first = s.init_container_statuses.iter().flatten();
        first.chain(s.container_statuses.iter().flatten())
    });
    told.extend(containers.filter_map(|container| {
        let state = halted(container.state.as_ref()?)?;
        let (name, count) = (&container.name, container.restart_count);
        Some(format!("{name} {state}, {count} restarts"))
    }));
    format!("{} ({})", pod.name_any(), told.join("; "))
}

/// The nodes that are not well, in words behind others; empty where all are. A pod on one that is not ready cannot go.
pub(super) fn nodes(states: &[NodeState]) -> String {
    let told: Vec<String> = states.iter().filter_map(node).collect();
    match told.as_slice() {
        [] => String::new(),
        told => format!("; nodes: {}", told.join(", ")),
    }
}

fn node(state: &NodeState) -> Option<String> {
    let silent = (state.ready != "True").then(|| format!("Ready={}", state.ready));
    let cordoned = state.cordoned.then(|| "cordoned".to_owned());
    let out = state.out_of_service.then(|| "out of service".to_owned());
    let wrong: Vec<String> = [silent, cordoned, out].into_iter().flatten().collect();
    (!wrong.is_empty()).then(|| format!("{} ({})", state.name, wrong.join(", ")))
}

/// What a container that does not run is in; `None` for one that runs or has done its work.
fn halted(state: &ContainerState) -> Option<String> {
    if let Some(waiting) = &state.waiting {
        return Some(format!(
            "waits: {}",
            waiting.reason.as_deref().unwrap_or("no reason")
        ));
    }
    let ended = state.terminated.as_ref().filter(|end| end.exit_code != 0)?;
    Some(format!("ended with {}", ended.exit_code))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_is_not_ready_is_told_with_what_it_waits_for() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "spec": {"nodeName": "worker", "containers": []},
            "status": {
                "conditions": [
                    {"type": "Initialized", "status": "True"},
                    {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "unready: [etcd]"},
                ],
                "initContainerStatuses": [state("install", &json!({"terminated": {"exitCode": 0}}))],
                "containerStatuses": [
                    state("etcd", &json!({"waiting": {"reason": "CrashLoopBackOff"}})),
                    state("kbagent", &json!({"running": {}})),
                    state("metrics-exporter", &json!({"terminated": {"exitCode": 137}})),
                ],
            },
        }))
        .expect("a pod");
        assert!(!is_ready(&pod));
        assert_eq!(
            told(&pod),
            "a (on worker; Ready: ContainersNotReady unready: [etcd]; etcd waits: CrashLoopBackOff, 3 restarts; \
             metrics-exporter ended with 137, 3 restarts)"
        );
    }

    #[test]
    fn a_pod_that_does_not_go_says_since_when_it_should_be_gone() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:01Z", "deletionGracePeriodSeconds": 1},
            "spec": {"nodeName": "worker", "containers": []},
        }))
        .expect("a pod");
        assert_eq!(
            told(&pod),
            "a (on worker; being deleted, due at 2026-01-01T00:00:01Z, with 1 s of grace)"
        );
    }

    #[test]
    fn nodes_that_are_not_well_are_told() {
        let node = |name: &str, ready: &str, cordoned, out_of_service| NodeState {
            name: name.to_owned(),
            uid: String::new(),
            ready: ready.to_owned(),
            cordoned,
            out_of_service,
            version: String::new(),
            boot_id: String::new(),
        };
        let well = node("w1", "True", false, false);
        assert_eq!(nodes(std::slice::from_ref(&well)), "");
        let silent = node("w2", "Unknown", false, true);
        let states = [well, silent, node("w3", "True", true, false)];
        assert_eq!(
            nodes(&states),
            "; nodes: w2 (Ready=Unknown, out of service), w3 (cordoned)"
        );
    }

    fn state(name: &str, state: &serde_json::Value) -> serde_json::Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": state})
    }

    #[test]
    fn a_pod_without_a_node_says_so() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "spec": {"containers": []},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
        }))
        .expect("a pod");
        assert_eq!(told(&pod), "a (on no node; PodScheduled: Unschedulable)");
    }

    fn pod(name: &str, role: Option<&str>, ready: bool) -> Pod {
        let mut object = json!({
            "metadata": {"name": name, "labels": {}},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        if let Some(role) = role {
            object["metadata"]["labels"][labels::ROLE] = json!(role);
        }
        serde_json::from_value(object).expect("a pod")
    }

    #[test]
    fn whole_is_all_ready_and_one_leader() {
        let mut pods = vec![
            pod("a", Some("leader"), true),
            pod("b", Some("follower"), true),
            pod("c", Some("follower"), true),
        ];
        assert_eq!(whole(&pods, 3), Ok(()));
        assert!(whole(&pods, 5).is_err());
        pods[1] = pod("b", Some("leader"), true);
        assert!(
            whole(&pods, 3)
                .expect_err("two leaders")
                .contains("2 leader")
        );
        pods[1] = pod("b", Some("follower"), false);
        assert!(
            whole(&pods, 3)
                .expect_err("not ready")
                .contains("[b (on no node;")
        );
    }
}
