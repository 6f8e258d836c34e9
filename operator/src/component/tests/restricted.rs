//! The pod as it is made, by the rules of Pod Security `restricted` (and so of `baseline`), of Kubernetes 1.33.

use serde_json::{Value, json};

use super::{component, planned};
use crate::instanceset::desired::Desired;
use crate::instanceset::plan::pods::{Purpose, build};

fn made() -> Value {
    let its = planned(&component()).instance_set;
    let desired = Desired::read(&its, "cluster.local").expect("it is read");
    let pod = build(&desired, "ledger-store-0", &Purpose::default());
    serde_json::to_value(pod.spec).expect("a pod")
}

fn list<'a>(of: &'a Value, field: &str) -> Vec<&'a Value> {
    of[field].as_array().into_iter().flatten().collect()
}

/// What the standard refuses, one line each.
fn refused(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[field] == true {
            found.push(format!("{field} is set"));
        }
    }
    let volumes = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in list(pod, "volumes") {
        if !volumes.iter().any(|kind| !volume[kind].is_null()) {
            found.push(format!(
                "volume {} is of a kind that is refused",
                volume["name"]
            ));
        }
    }
    let whole = &pod["securityContext"];
    if !list(whole, "sysctls").is_empty() {
        found.push("sysctls are set".into());
    }
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    for container in containers.iter().flat_map(|kind| list(pod, kind)) {
        let name = container["name"].as_str().unwrap_or_default();
        found.extend(of_container(whole, container).map(|what| format!("{name}: {what}")));
    }
    found
}

fn of_container<'a>(
    whole: &Value,
    container: &'a Value,
) -> impl Iterator<Item = &'static str> + use<'a> {
    let own = &container["securityContext"];
    // The container's own value wins over the pod's.
    let either = |field: &str| {
        if own[field].is_null() {
            whole[field].clone()
        } else {
            own[field].clone()
        }
    };
    let adds = list(&own["capabilities"], "add");
    let drops = list(&own["capabilities"], "drop");
    let ports = list(container, "ports");
    let rules = [
        (own["privileged"] == true, "it is privileged"),
        (
            own["allowPrivilegeEscalation"] != false,
            "privilege escalation is not off",
        ),
        (either("runAsNonRoot") != true, "runAsNonRoot is not set"),
        (either("runAsUser") == 0, "it runs as root"),
        (
            !drops.contains(&&json!("ALL")),
            "capabilities are not dropped",
        ),
        (
            adds.iter().any(|name| **name != "NET_BIND_SERVICE"),
            "a capability is added",
        ),
        (
            !["RuntimeDefault", "Localhost"]
                .iter()
                .any(|kind| either("seccompProfile")["type"] == *kind),
            "there is no seccomp profile",
        ),
        (
            !matches!(own["procMount"].as_str(), None | Some("Default")),
            "procMount is set",
        ),
        (
            ports
                .iter()
                .any(|port| !matches!(port["hostPort"].as_i64(), None | Some(0))),
            "it takes a port of its node",
        ),
    ];
    rules
        .into_iter()
        .filter(|(broken, _)| *broken)
        .map(|(_, what)| what)
}

#[test]
fn a_members_pod_passes_restricted() {
    let pod = made();
    assert_eq!(list(&pod, "containers").len(), 3);
    assert_eq!(refused(&pod), Vec::<String>::new());
}

#[test]
fn each_rule_of_restricted_is_seen() {
    let spoiled: [(&str, Value); 10] = [
        ("/hostNetwork", json!(true)),
        (
            "/volumes/0",
            json!({"name": "x", "hostPath": {"path": "/"}}),
        ),
        (
            "/containers/0/securityContext/allowPrivilegeEscalation",
            json!(true),
        ),
        (
            "/containers/0/securityContext/capabilities",
            json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        ),
        (
            "/containers/0/securityContext/capabilities",
            json!({"drop": ["NET_RAW"]}),
        ),
        ("/containers/0/securityContext", json!({})),
        ("/containers/0/ports/0/hostPort", json!(5001)),
        ("/securityContext/runAsNonRoot", json!(false)),
        ("/securityContext/runAsUser", json!(0)),
        (
            "/securityContext/seccompProfile",
            json!({"type": "Unconfined"}),
        ),
    ];
    for (place, value) in spoiled {
        let mut pod = made();
        let (parent, field) = place.rsplit_once('/').expect("a place");
        match pod.pointer_mut(parent).expect("its parent") {
            Value::Array(all) => all[0] = value,
            other => other[field] = value,
        }
        assert!(!refused(&pod).is_empty(), "{place}");
    }
}
