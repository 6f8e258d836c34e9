//! For tests: a look at a cluster of three members, of which one lags and one has no pod, and an API server.

use etcd_operator_api::{OpsRequest, labels};
use k8s_openapi::api::core::v1::Pod;
use kbagent_protocol::{EtcdState, Id, MemberStatus, MemberView};
use kube::Config;
use serde_json::{Value, json};

use crate::fake_api::{Answer, Asked, serve};
use crate::look::Seen;

fn pod(n: u32) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": format!("db-etcd-{n}"), "labels": { labels::WORKLOAD_INSTANCE: "db-etcd" } },
        "spec": { "nodeName": format!("n{n}"), "containers": [{ "name": "etcd" }, { "name": "kbagent" }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": format!("data-db-etcd-{n}") } }] },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    }))
    .expect("a pod")
}

fn status(n: u64, applied: u64) -> MemberStatus {
    MemberStatus {
        member_id: Id(0x10 + n),
        cluster_id: Id(7),
        leader_id: Some(Id(0x10)),
        leader: Some("db-etcd-0".into()),
        term: 3,
        revision: 0,
        raft_index: 120,
        applied_index: applied,
        is_learner: false,
        version: "3.6.16".into(),
        db_size_bytes: 25_000,
        db_size_in_use_bytes: 9_000,
        db_quota_bytes: Some(50_000),
        format: Default::default(),
        alarms: if n == 1 {
            vec!["NOSPACE".into()]
        } else {
            Vec::new()
        },
    }
}

fn view(n: u64, applied: u64) -> MemberView {
    MemberView {
        instance: format!("db-etcd-{n}"),
        pod_uid: "u".into(),
        agent_incarnation: 1,
        sequence: 1,
        etcd: EtcdState::Running,
        status: Some(status(n, applied)),
        status_age_ms: Some(1),
        under_way: None,
        care: Default::default(),
        campaign: None,
        standing: None,
        file_system_bytes: None,
        accounts: None,
        v2_store: None,
    }
}

pub(crate) fn seen() -> Seen {
    let claim = json!({ "metadata": { "name": "data-db-etcd-0" },
        "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } } });
    let slice = json!({ "metadata": { "name": "s", "labels": { labels::SERVICE_NAME: "db-etcd" } },
        "addressType": "IPv4", "endpoints": [{ "addresses": ["1"], "targetRef": { "name": "db-etcd-0" } }] });
    let set = json!({ "metadata": { "name": "db-etcd", "labels": { labels::COMPONENT_NAME: "etcd" } },
        "spec": { "replicas": 3, "selector": {}, "template": {} },
        "status": { "readyReplicas": 3, "clusterID": "7",
            "members": [{ "podName": "db-etcd-0", "memberID": "10" }, { "podName": "db-etcd-1", "memberID": "11" },
                { "podName": "db-etcd-2", "memberID": "12" }],
            "waitingOn": [{ "reason": "CatchingUp", "message": "db-etcd-1 has applied 100 of 120" }] } });
    let cluster = json!({ "metadata": { "name": "db", "namespace": "ns" },
        "spec": { "terminationPolicy": "Delete", "componentSpecs": [] },
        "status": { "phase": "Updating" } });
    Seen {
        cluster: serde_json::from_value(cluster).expect("a cluster"),
        sets: vec![serde_json::from_value(set).expect("a set")],
        components: Vec::new(),
        pods: vec![pod(0), pod(1)],
        claims: vec![serde_json::from_value(claim).expect("a claim")],
        slices: vec![serde_json::from_value(slice).expect("a slice")],
        requests: Vec::new(),
        views: [
            ("db-etcd-0".to_owned(), Ok(view(0, 120))),
            ("db-etcd-1".to_owned(), Ok(view(1, 100))),
        ]
        .into(),
    }
}

/// An OpsRequest `r` with this status.
pub(crate) fn ops(status: &Value) -> OpsRequest {
    serde_json::from_value(json!({ "metadata": { "name": "r", "namespace": "ns" },
        "spec": { "clusterName": "db", "type": "Restart", "restart": [{ "componentName": "etcd" }] },
        "status": status }))
    .expect("a request")
}

/// An API server as [`serve`] makes one.
pub(crate) fn server(
    answer: impl FnMut(&str, &Value) -> Answer + Send + 'static,
) -> (Config, Asked) {
    // The one TLS provider of the workspace; another call would only have chosen the same.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let (url, asked) = serve(answer);
    (Config::new(url.parse().expect("a URL")), asked)
}
