//! Pods of the clients that are not ours ([`Probe`]): on the recording client's node, whose clock is theirs, and
//! started when the etcd cluster is ready. Their logs are collected with all others.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams, PostParams};
use serde_json::{Value, json};

use crate::bench::Probe;
use crate::scenario::RunError;
use crate::scenario::subject::Subject;
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// The container that writes.
const CONTAINER: &str = "probe";
/// Where an API server and its client find keys and certificates.
const KEYS: &str = "/run/keys";
/// The API server's port, inside its pod.
const PORT: u16 = 6443;

/// Makes the pods and waits until each has written.
pub(super) async fn start(subject: &Subject, probes: &[Probe]) -> Result<(), RunError> {
    let pods: Api<Pod> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    for probe in probes {
        let image = match probe {
            Probe::KubeApiserver => Some(api_server_image(subject).await?),
            _ => None,
        };
        let object = pod(*probe, &subject.service_address(), image.as_deref());
        let object = serde_json::from_value(object)
            .map_err(|error| RunError::api("build a probe's pod", &error))?;
        let made = pods.create(&PostParams::default(), &object).await;
        made.map_err(|error| RunError::api("create a probe's pod", &error))?;
    }
    for probe in probes {
        wait_writing(&pods, &probe.pod()).await?;
    }
    Ok(())
}

/// Waits until a pod's last lines have an acknowledged write.
async fn wait_writing(pods: &Api<Pod>, pod: &str) -> Result<(), RunError> {
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        tail_lines: Some(10),
        ..LogParams::default()
    };
    let limit = timeouts::patient(timeouts::CLUSTER_RUNNING);
    let writing = wait_until(format!("{pod} to write"), limit, async || {
        match pods.logs(pod, &params).await {
            Ok(lines) if writes(&lines) => Poll::Ready(()),
            Ok(lines) => Poll::NotYet::<(), String>(last(&lines)),
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    writing
        .await
        .map_err(|error| RunError::Wait(error.to_string()))
}

fn writes(lines: &str) -> bool {
    lines.lines().any(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        matches!(words.as_slice(), ["write", _, "ok"])
    })
}

fn last(lines: &str) -> String {
    let last = lines
        .lines()
        .next_back()
        .unwrap_or("nothing is written yet");
    last.to_owned()
}

/// The image of the cluster's own API server, which its control plane has.
async fn api_server_image(subject: &Subject) -> Result<String, RunError> {
    let pods: Api<Pod> = Api::namespaced(subject.kube.clone(), "kube-system");
    let params = ListParams::default().labels("component=kube-apiserver");
    let listed = pods.list(&params).await;
    let listed = listed.map_err(|error| RunError::api("list the API servers", &error))?;
    let spec = listed.items.into_iter().find_map(|pod| pod.spec);
    let container = spec.and_then(|spec| spec.containers.into_iter().next());
    container
        .and_then(|container| container.image)
        .ok_or_else(|| {
            let why = "kube-system has no pod with the label component=kube-apiserver whose image could be used: leave \
                       kube-apiserver out of --client";
            RunError::Wait(why.to_owned())
        })
}

fn pod(probe: Probe, service: &str, api_server: Option<&str>) -> Value {
    let mut writer = container(CONTAINER, &probe.image());
    writer["args"] = json!([probe.word(), service]);
    let mut pod = json!({
        "metadata": { "name": probe.pod(), "labels": { "etcd-harness/part": "probe" } },
        "spec": {
            "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                "labelSelector": { "matchLabels": { "etcd-harness/part": "workload" } },
                "topologyKey": "kubernetes.io/hostname",
            }] } },
            "tolerations": [{ "operator": "Exists" }],
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Always",
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
        },
    });
    if probe == Probe::Jetcd {
        // Vert.x, which it is built on, wants a folder for files.
        writer["volumeMounts"] = json!([{ "name": "scratch", "mountPath": "/tmp" }]);
        pod["spec"]["volumes"] =
            json!([{ "name": "scratch", "emptyDir": { "sizeLimit": "16Mi" } }]);
    }
    let Some(image) = api_server else {
        pod["spec"]["containers"] = json!([writer]);
        return pod;
    };
    let keys = json!([{ "name": "keys", "mountPath": KEYS }]);
    let mut maker = container("keys", &probe.image());
    maker["args"] = json!(["keys", KEYS]);
    writer["args"] = json!([probe.word(), format!("https://127.0.0.1:{PORT}"), KEYS]);
    let mut server = container("kube-apiserver", image);
    server["command"] = json!(api_server_command(service));
    server["resources"] = json!({ "requests": { "cpu": "200m", "memory": "256Mi" } });
    for container in [&mut maker, &mut writer, &mut server] {
        container["volumeMounts"] = keys.clone();
    }
    pod["spec"]["initContainers"] = json!([maker]);
    pod["spec"]["containers"] = json!([writer, server]);
    pod["spec"]["volumes"] =
        json!([{ "name": "keys", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }]);
    pod
}

fn container(name: &str, image: &str) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

/// An API server that nothing else uses: its objects in etcd, one administrator, no other API server beside it.
fn api_server_command(service: &str) -> Vec<String> {
    let key = format!("{KEYS}/service-accounts.key");
    vec![
        "kube-apiserver".to_owned(),
        format!("--etcd-servers=http://{service}"),
        format!("--secure-port={PORT}"),
        format!("--cert-dir={KEYS}"),
        format!("--token-auth-file={KEYS}/tokens.csv"),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
        "--service-cluster-ip-range=10.97.0.0/24".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        // It would queue a user's writes that wait for etcd; here each is to be seen.
        "--enable-priority-and-fairness=false".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_a_pod_without_rights_beside_the_recording_client() {
        for probe in Probe::ALL {
            let image = (probe == Probe::KubeApiserver).then_some("kube-apiserver:v1");
            let object = pod(probe, "etcd.ns.svc:2379", image);
            let pod: Pod = serde_json::from_value(object.clone()).expect("a pod");
            let spec = pod.spec.expect("a spec");
            assert!(spec.affinity.is_some(), "{probe:?}");
            let containers = spec.init_containers.iter().flatten();
            for container in containers.chain(&spec.containers) {
                let security = container.security_context.as_ref().expect("a context");
                assert_eq!(security.read_only_root_filesystem, Some(true), "{probe:?}");
            }
            let text = object.to_string();
            assert!(text.contains("etcd.ns.svc:2379"), "{text}");
        }
    }

    #[test]
    fn a_probe_writes_when_one_write_was_acknowledged() {
        assert!(!writes("begin 1\nwrite 5 failed it is ok\n"));
        assert!(writes("begin 1\nwrite 5 failed no\nwrite 6 ok\n"));
    }
}
