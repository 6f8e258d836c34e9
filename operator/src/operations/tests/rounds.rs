//! Rounds of a request as they are carried out: what an API server is asked that refuses or knows nothing.

use etcd_operator_api::{OpsRequest, labels};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::super::finalizer::{gives_up, left, stand_in};
use super::super::reconcile::reconcile_request;
use super::{SCALE_OUT, at, request};
use crate::fake_api::{Asked, failure, server};

#[tokio::test]
async fn what_may_not_be_read_is_told_in_the_status_until_the_end() {
    let mut object = json!({ "metadata": { "name": "a", "namespace": "ns", "uid": "a" },
        "spec": { "clusterName": "db", "type": "Restart", "restart": [{ "componentName": "etcd" }] } });
    let written = |object: &Value| {
        let request: OpsRequest = serde_json::from_value(object.clone()).expect("a request");
        let object = object.clone();
        let (context, asked) = server(move |line| match line.contains("/clusters/db") {
            true => failure(403, "Forbidden", "it is not permitted"),
            false => (200, object.clone()),
        });
        async move {
            let result = Box::pin(reconcile_request(&request, &context, &[])).await;
            let asked = asked.lock().expect("no panic");
            let mut written = asked.iter().filter(|(line, _)| line.starts_with("PATCH"));
            (result.is_err(), written.next().cloned())
        }
    };
    for phase in [json!(null), json!("Running"), json!("Cancelling")] {
        object["status"] = json!({ "phase": phase });
        let (is_refused, told) = written(&object).await;
        let (line, body) = told.expect("a status");
        assert!(
            is_refused && line.contains("/opsrequests/a/status"),
            "{line}"
        );
        let told = &body["status"]["conditions"][0];
        assert_eq!(told["type"], "WaitForProgressing");
        let text = told["message"].to_string();
        assert!(text.contains("it is not permitted"), "{text}");
    }
    object["status"] = json!({ "phase": "Succeed" });
    assert_eq!(written(&object).await, (false, None));
}

#[tokio::test]
async fn one_that_has_ended_reads_itself_alone_and_goes_when_its_time_is_over() {
    for (since, goes) in [(61, true), (0, false)] {
        let ended = Timestamp::now().as_second() - since;
        let ended = Timestamp::from_second(ended).expect("in range").to_string();
        let object = json!({ "metadata": { "name": "a", "namespace": "ns", "uid": "a" },
            "spec": { "clusterName": "db", "type": "Restart", "restart": [{ "componentName": "etcd" }],
                "ttlSecondsAfterSucceed": 60 },
            "status": { "phase": "Succeed", "completionTimestamp": ended } });
        let request: OpsRequest = serde_json::from_value(object.clone()).expect("a request");
        let (context, asked) = server(move |line| match line.contains("/opsrequests/a") {
            true => (200, object.clone()),
            false => failure(403, "Forbidden", "it is not permitted"),
        });
        let round = Box::pin(reconcile_request(&request, &context, &[])).await;
        round.expect("a round");
        let asked = asked.lock().expect("no panic");
        let verbs: Vec<&str> = asked
            .iter()
            .filter_map(|(line, _)| line.split(' ').next())
            .collect();
        let wanted: &[&str] = match goes {
            true => &["GET", "DELETE"],
            false => &["GET"],
        };
        assert_eq!(verbs, wanted, "{asked:?}");
    }
}

/// A rebuild that is in this phase, of a member whose claim has its mark or none; what a round of it writes.
async fn rebuild(phase: &str, metadata: Value, marked: bool) -> Vec<Asked> {
    let mut object = json!({ "metadata": { "name": "a", "namespace": "ns", "uid": "a", "resourceVersion": "3" },
        "spec": { "clusterName": "db", "type": "RebuildInstance", "rebuildFrom": [
            { "componentName": "etcd", "instances": [{ "name": "db-etcd-0" }] }] },
        "status": { "phase": phase } });
    for (field, value) in metadata.as_object().into_iter().flatten() {
        object["metadata"][field] = value.clone();
    }
    let request: OpsRequest = serde_json::from_value(object.clone()).expect("a request");
    let (context, asked) = server(move |line| {
        if line.contains("/clusters/db") {
            return failure(404, "NotFound", "it is gone");
        }
        if line.contains("/persistentvolumeclaims") {
            let mut claim = json!({ "metadata": { "name": "data-db-etcd-0", "namespace": "ns", "uid": "u",
                "resourceVersion": "5" } });
            if marked {
                claim["metadata"]["annotations"] = json!({ labels::REBUILD: "a" });
            }
            return match line.starts_with("GET") {
                true => (200, json!({ "metadata": {}, "items": [claim] })),
                false => (200, claim),
            };
        }
        (200, object.clone())
    });
    let round = Box::pin(reconcile_request(&request, &context, &[]));
    round.await.expect("a round");
    let asked = asked.lock().expect("no panic");
    let written = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
    written.cloned().collect()
}

#[tokio::test]
async fn one_that_is_deleted_takes_its_marks_along() {
    let leaving = json!({ "finalizers": [labels::OPS_REQUEST_FINALIZER],
        "deletionTimestamp": "2026-01-01T00:00:00Z" });
    let written = rebuild("Running", leaving.clone(), true).await;
    let [(line, body)] = &written[..] else {
        panic!("{written:?}")
    };
    assert!(line.contains("/persistentvolumeclaims/data-db-etcd-0"));
    let marks = &body["metadata"]["annotations"];
    assert_eq!(marks.get(labels::REBUILD), Some(&json!(null)), "{body}");
    let written = rebuild("Running", leaving, false).await;
    let [(line, body)] = &written[..] else {
        panic!("{written:?}")
    };
    assert!(line.contains("/opsrequests/a?"), "{line}");
    assert_eq!(body["metadata"]["finalizers"], json!([]), "{body}");
}

#[tokio::test]
async fn one_that_asks_by_marks_is_held_while_it_is_under_way() {
    let finalizers = |written: &[Asked]| written[0].1["metadata"]["finalizers"].clone();
    for phase in ["Creating", "Running"] {
        let written = rebuild(phase, json!({}), false).await;
        assert_eq!(written.len(), 1, "it is held first: {written:?}");
        let wanted = json!([labels::OPS_REQUEST_FINALIZER]);
        assert_eq!(finalizers(&written), wanted);
    }
    let held = json!({ "finalizers": [labels::OPS_REQUEST_FINALIZER] });
    let written = rebuild("Succeed", held, false).await;
    assert_eq!(finalizers(&written), json!([]));
}

/// A defragmentation that is deleted since so many seconds, of an InstanceSet that carries what it asks for; what a
/// round of it writes. The Cluster and the InstanceSet cannot be read in full.
async fn leaving(since: i64, refuses: bool) -> (bool, Vec<Asked>) {
    let deleted = Timestamp::now().as_second() - since;
    let deleted = Timestamp::from_second(deleted)
        .expect("in range")
        .to_string();
    let object = json!({ "metadata": { "name": "a", "namespace": "ns", "uid": "a", "resourceVersion": "3",
            "finalizers": [labels::OPS_REQUEST_FINALIZER], "deletionTimestamp": deleted },
        "spec": { "clusterName": "db", "type": "Custom", "custom": { "opsDefinitionName": "etcd-defragmentation",
            "components": [{ "componentName": "etcd" }] } },
        "status": { "phase": "Running" } });
    let request: OpsRequest = serde_json::from_value(object.clone()).expect("a request");
    let (context, asked) = server(move |line| {
        let carried = json!({ labels::DEFRAGMENT: r#"{"token":"a","pods":[]}"# });
        let meta = json!({ "name": "db-etcd", "namespace": "ns", "annotations": carried });
        match (line.contains("/instancesets"), line.starts_with("GET")) {
            (true, true) if line.contains("/instancesets?") => (
                200,
                json!({ "metadata": {}, "items": [{ "metadata": meta }] }),
            ),
            (true, false) if refuses => failure(403, "Forbidden", "a policy refuses it"),
            (true, _) => (
                200,
                json!({ "metadata": meta, "spec": { "replicas": "three" } }),
            ),
            (false, _) if line.contains("/clusters/") => (
                200,
                json!({ "metadata": { "name": "db" }, "spec": { "componentSpecs": 5 } }),
            ),
            (false, _) => (200, object.clone()),
        }
    });
    let round = Box::pin(reconcile_request(&request, &context, &[])).await;
    let asked = asked.lock().expect("no panic");
    let written = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
    (round.is_ok(), written.cloned().collect())
}

#[tokio::test]
async fn one_that_is_deleted_goes_although_its_cluster_cannot_be_read() {
    let (done, written) = leaving(0, false).await;
    let [(line, body)] = &written[..] else {
        panic!("{written:?}")
    };
    assert!(done && line.contains("/instancesets/db-etcd?"), "{line}");
    let annotations = &body["metadata"]["annotations"];
    assert_eq!(annotations.get(labels::DEFRAGMENT), Some(&json!(null)));
}

#[tokio::test]
async fn one_that_may_not_take_back_what_it_asked_for_says_so_and_goes_after_a_while() {
    let released = |written: &[Asked]| {
        let mut finalizers = written
            .iter()
            .map(|(_, body)| &body["metadata"]["finalizers"]);
        finalizers.any(|finalizers| *finalizers == json!([]))
    };
    let (done, written) = leaving(10, true).await;
    assert!(!done && !released(&written), "{written:?}");
    let told = |written: &[Asked], part: &str| {
        let mut told = written.iter().filter(|(line, _)| line.contains(part));
        told.next()
            .map(|(_, body)| body.to_string())
            .unwrap_or_default()
    };
    let status = told(&written, "/opsrequests/a/status");
    assert!(status.contains("a policy refuses it"), "{status}");
    let (done, written) = leaving(301, true).await;
    assert!(done && released(&written), "{written:?}");
    let event = told(&written, "/events");
    for part in ["NotTakenBack", labels::DEFRAGMENT, "db-etcd", "a policy"] {
        assert!(event.contains(part), "{event}");
    }
}

/// What a round writes of a request that cannot be read and is being deleted; claim and InstanceSet have these
/// annotations.
async fn unread(claim: Value, set: Value) -> Vec<Asked> {
    let object = json!({ "metadata": { "name": "a", "namespace": "ns", "uid": "a", "resourceVersion": "3",
            "finalizers": [labels::OPS_REQUEST_FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "clusterName": 5, "type": "Custom" } });
    let metadata = serde_json::from_value(object["metadata"].clone()).expect("metadata");
    let request = stand_in(&metadata).expect("it is being deleted");
    let (context, asked) = server(move |line| {
        let named = |name: &str, annotations: &Value| {
            let object = json!({ "metadata": { "name": name, "namespace": "ns", "resourceVersion": "5",
                "annotations": annotations } });
            match line.starts_with("GET") {
                true => (200, json!({ "metadata": {}, "items": [object] })),
                false => (200, object),
            }
        };
        match line {
            line if line.contains("/persistentvolumeclaims") => named("data-db-etcd-0", &claim),
            line if line.contains("/instancesets") => named("db-etcd", &set),
            _ => (200, object.clone()),
        }
    });
    let round = Box::pin(reconcile_request(&request, &context, &[])).await;
    round.expect("a round");
    let asked = asked.lock().expect("no panic");
    let written = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
    written.cloned().collect()
}

#[tokio::test]
async fn one_that_is_deleted_and_cannot_be_read_takes_back_what_has_its_uid_and_goes() {
    let (mark, recover, defragment) = (labels::REBUILD, labels::RECOVER, labels::DEFRAGMENT);
    let by = |uid: &str| {
        [
            json!({ mark: uid }),
            json!({ recover: json!({ "token": uid, "request": uid }).to_string() }),
            json!({ defragment: json!({ "token": uid, "pods": [] }).to_string() }),
        ]
    };
    let [marked, recovering, defragmenting] = by("a");
    let [other_mark, other_set, _] = by("b");
    for (claim, set, place, annotation) in [
        (marked, json!({}), "/persistentvolumeclaims/", mark),
        (json!({}), recovering, "/instancesets/", recover),
        (json!({}), defragmenting, "/instancesets/", defragment),
    ] {
        let written = unread(claim, set).await;
        let [(line, body)] = &written[..] else {
            panic!("{written:?}")
        };
        assert!(line.contains(place), "{line}");
        let annotations = &body["metadata"]["annotations"];
        assert_eq!(annotations.get(annotation), Some(&json!(null)), "{body}");
    }
    let written = unread(other_mark, other_set).await;
    let [(line, body)] = &written[..] else {
        panic!("{written:?}")
    };
    assert!(line.contains("/opsrequests/a?"), "{line}");
    assert_eq!(body["metadata"]["finalizers"], json!([]), "{body}");
    assert_eq!(stand_in(&request("a", 0, SCALE_OUT).metadata), None);
}

#[test]
fn one_that_is_deleted_waits_five_minutes_for_a_refusal_and_an_hour_for_an_answer() {
    let mut leaves = request("a", 0, SCALE_OUT);
    assert!(!gives_up(&leaves, true, &at(9999)), "it stays");
    leaves.metadata.deletion_timestamp = Some(at(0));
    for (is_refused, limit) in [(true, 300), (false, 3600)] {
        assert!(!gives_up(&leaves, is_refused, &at(limit - 1)));
        assert!(gives_up(&leaves, is_refused, &at(limit)));
    }
}

#[test]
fn what_to_do_is_told_before_an_answer_that_may_be_cut() {
    let rebuild = "{type: RebuildInstance, rebuildFrom: [{componentName: etcd, instances: [{name: db-etcd-0}]}]}";
    let text = left(&request("a", 0, rebuild), None, &"x".repeat(2000));
    let begins = &text[..300];
    assert!(
        begins.contains(labels::REBUILD) && begins.contains("claims of Cluster db"),
        "{begins}"
    );
    let unread =
        json!({ "uid": "u", "labels": { labels::INSTANCE: "db" }, "deletionTimestamp": at(0) });
    let unread = serde_json::from_value(unread).expect("metadata");
    let unread = stand_in(&unread).expect("it is being deleted");
    let text = left(&unread, None, "it is not permitted");
    for part in [
        labels::REBUILD,
        labels::RECOVER,
        labels::DEFRAGMENT,
        "UID u",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
