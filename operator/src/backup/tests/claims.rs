//! The repository's claim: whose it is, how many nodes mount it, and pods on a node that is off.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::archives::{archive, decided_of, full, kept};
use super::*;
use crate::backup::keeper;
use crate::backup::observe::is_kept_by;
use crate::backup::part::REPOSITORY_CLAIM;
use crate::backup::{beside, claim};

/// What a Job in a claim that one node mounts is made of.
fn on_claim() -> (job::Frame, keeper::Keep) {
    let spec = json!({ "storageProviderRef": "pvc", "pvReclaimPolicy": "Retain", "volumeCapacity": "1Gi", "config": {} });
    let repo = json!({ "metadata": { "name": "s3-repo" }, "spec": spec });
    let mut base = full("f", 7);
    base.status.as_mut().expect("a status").path = Some("demo/etcd-cluster-cu/etcd/f".into());
    let seen = Seen {
        repo: Some(Ok(serde_json::from_value(repo).expect("a repository"))),
        ..holding(vec![base])
    };
    let decision = decided_of(&archive(), &seen, 1);
    let (frame, keep) = kept(&decision);
    (frame.clone(), keep.clone())
}

fn used(claim: &Value) -> Result<bool, String> {
    let (frame, keep) = on_claim();
    let claim: PersistentVolumeClaim = serde_json::from_value(claim.clone()).expect("a claim");
    let used = claim::used(&frame, &claim)?;
    let spec = keeper::keep(&used, None, &keep).spec.expect("a spec");
    let pod = spec.template.spec.expect("a pod");
    Ok(pod.affinity.is_some())
}

#[test]
fn only_a_claim_of_one_node_ties_pods_to_it() {
    let named = |spec: Value, status: Value| json!({ "metadata": { "name": "backup-repo-s3-repo" }, "spec": spec, "status": status });
    let one = json!({ "accessModes": ["ReadWriteOnce"] });
    let many = json!({ "accessModes": ["ReadWriteMany"] });
    let both = json!({ "accessModes": ["ReadWriteOnce", "ReadWriteMany"] });
    assert_eq!(used(&named(one.clone(), json!({}))), Ok(true));
    assert_eq!(used(&named(one.clone(), one.clone())), Ok(true));
    // Made by hand, or bound to a volume of NFS.
    assert_eq!(used(&named(many, json!({}))), Ok(false));
    assert_eq!(used(&named(one, both)), Ok(false));
}

#[test]
fn a_claim_that_is_anothers_is_named_and_not_used() {
    let named = |metadata: Value| {
        let mut claim =
            json!({ "metadata": metadata, "spec": { "accessModes": ["ReadWriteOnce"] } });
        claim["metadata"]["name"] = json!("backup-repo-s3-repo");
        used(&claim)
    };
    let owner = |controls: bool| {
        json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "u",
            "controller": controls }] })
    };
    let told = named(owner(true)).expect_err("refused");
    assert!(
        told.contains("demo/backup-repo-s3-repo belongs to Pod web-0"),
        "{told}"
    );
    let told = named(json!({ "labels": { labels::POD_NAME: "db-etcd-0" } })).expect_err("refused");
    assert!(told.contains("the volume of member db-etcd-0"), "{told}");
    assert_eq!(named(owner(false)), Ok(true));
    assert_eq!(named(json!({ "labels": { "team": "a" } })), Ok(true));
}

#[tokio::test]
async fn a_claim_that_the_api_server_refuses_is_told_and_waited_for() {
    let (frame, _) = on_claim();
    let provided = async |code: u16, reason: &'static str| {
        let (context, _) = server(move |line| match line.starts_with("GET") {
            true => failure(404, "NotFound", "none"),
            false => failure(code, reason, "exceeded quota: storage"),
        });
        claim::provide(&context.client, &frame, true).await
    };
    let refused = provided(403, "Forbidden").await.expect("an answer");
    let told = refused.expect_err("refused");
    assert!(
        told.contains("claim demo/backup-repo-s3-repo") && told.contains("exceeded quota: storage"),
        "{told}"
    );
    let there = provided(409, "AlreadyExists").await.expect("an answer");
    assert_eq!(there, Ok(frame.clone()));
    let busy = provided(500, "InternalError").await;
    busy.expect_err("nothing is known");
}

#[tokio::test]
async fn pods_of_a_node_that_is_off_hold_no_other_back() {
    let pod = |name: &str, deleted: Option<u64>, scheduled: &str| {
        let deleted = deleted.map(|ago| Time(Timestamp::now() - Duration::from_secs(ago)));
        json!({ "metadata": { "name": name, "namespace": "demo", "uid": name, "deletionTimestamp": deleted,
                "labels": { REPOSITORY_CLAIM: "backup-repo-s3-repo" } },
            "status": { "conditions": [{ "type": "PodScheduled", "status": scheduled }] } })
    };
    let read = |pod: &Value| -> Pod { serde_json::from_value(pod.clone()).expect("a pod") };
    let waiting = read(&pod("new", None, "False"));
    let claim = beside::waits(&[read(&pod("a", None, "True")), waiting.clone()]);
    assert_eq!(claim.as_deref(), Some("backup-repo-s3-repo"));
    let free = read(&json!({ "metadata": { "name": "free" }, "status": waiting.status }));
    assert_eq!(beside::waits(&[free]), None, "it waits for something else");

    let pods = [
        pod("runs", None, "True"),
        pod("ends", Some(10), "True"),
        pod("off", Some(600), "True"),
    ];
    let (context, asked) = server(move |line| match line.starts_with("GET") {
        true => (200, json!({ "metadata": {}, "items": pods })),
        false => (200, json!({ "metadata": { "name": "off" } })),
    });
    beside::discount(&context.client, "demo", "backup-repo-s3-repo").await;
    let asked = asked.lock().expect("no panic");
    let [(list, _), (written, body)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert!(
        list.contains("repository-claim%3Dbackup-repo-s3-repo"),
        "{list}"
    );
    assert!(
        written.starts_with("PATCH") && written.contains("/pods/off?"),
        "{written}"
    );
    assert_eq!(
        body["metadata"],
        json!({ "uid": "off", "labels": { REPOSITORY_CLAIM: null } })
    );
}

#[test]
fn a_pod_is_an_archives_by_the_replica_set_that_controls_it() {
    let kept = |kind: &str, name: &str, controls: bool| {
        let owner = json!({ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": controls });
        let pod = json!({ "metadata": { "name": "p", "ownerReferences": [owner] } });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        is_kept_by(&pod, "archive-pitr-87654321")
    };
    assert!(kept("ReplicaSet", "archive-pitr-87654321-6f9cd5b7c4", true));
    assert!(!kept(
        "ReplicaSet",
        "archive-pitr-87654321-6f9cd5b7c4",
        false
    ));
    assert!(!kept("Job", "archive-pitr-87654321-6f9cd5b7c4", true));
    for other in [
        "archive-pitr-87654321",
        "archive-pitr-87654321-",
        "archive-pitr-87654321-b-6f9cd5b7c4",
    ] {
        assert!(!kept("ReplicaSet", other, true), "{other}");
    }
    let bare: Pod = serde_json::from_value(json!({ "metadata": { "name": "p" } })).expect("a pod");
    assert!(!is_kept_by(&bare, "archive-pitr-87654321"));
}
