//! An edit that another client's write came before is tried again; one that the API server refuses is not. And what a
//! request is done to: the Cluster that it was made for.

use etcd_operator_api::condition::ConditionType;
use etcd_operator_api::{OpsPhase, TerminationPolicy};
use serde_json::json;

use super::super::cluster_edit::{Answer, Mode, edit};
use super::super::decide::decide;
use super::super::edit::{Change, Field};
use super::super::observe::observe;
use super::{at, cluster, message, phase, request, seen, set};
use crate::fake_api::{failure, server};

/// What comes of an edit that is answered with `code`, when the Cluster is read again in this version.
async fn answer(code: u16, message: &'static str, version: &'static str) -> Answer {
    let (context, _) = server(move |line| match line.starts_with("PATCH") {
        true if code == 409 => failure(code, "Conflict", message),
        true => failure(code, "Invalid", message),
        false => {
            let metadata = json!({ "name": "db", "namespace": "ns", "resourceVersion": version });
            let body = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata });
            (200, body)
        }
    });
    let stop = Change::Component {
        component: "etcd".to_owned(),
        field: Field::Stop(Some(true)),
    };
    let edited = edit(&cluster(3, "Running", 4), &[stop], &context, Mode::Write).await;
    edited.expect("an answer")
}

#[tokio::test]
async fn a_conflict_is_told_from_a_refusal() {
    let failed_test = "the server rejected our request due to an error in our request";
    let outdated = [(422, "8"), (409, "7"), (409, "8"), (403, "8")];
    for (code, version) in outdated {
        assert_eq!(answer(code, failed_test, version).await, Answer::Outdated);
    }
    for code in [400, 403, 422] {
        let told = Answer::Refused("spec.stop: no".to_owned());
        assert_eq!(answer(code, "spec.stop: no", "7").await, told, "{code}");
    }
}

#[tokio::test]
async fn an_edit_that_is_there_already_asks_nothing() {
    let (context, asked) = server(|_| failure(500, "InternalError", "not expected"));
    let done = edit(&cluster(3, "Running", 4), &[], &context, Mode::Write).await;
    assert_eq!(done.expect("an answer"), Answer::Taken(Some(4)));
    assert!(asked.lock().expect("no panic").is_empty());
}

/// What comes of a request that waits and has a Cluster with this UID as its owner.
async fn owned_by(uid: &str) -> (Option<OpsPhase>, String) {
    let mut waits = request("a", 0, "{type: Stop}");
    let owner = json!([{ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Cluster", "name": "db", "uid": uid }]);
    waits.metadata.owner_references = serde_json::from_value(owner).expect("an owner");
    let list =
        |kind: &str| json!({ "apiVersion": "v1", "kind": kind, "metadata": {}, "items": [] });
    let (context, _) = server(move |line| match line {
        line if line.contains("/opsrequests") => (200, list("OpsRequestList")),
        line if line.contains("/pods") => (200, list("PodList")),
        line if line.contains("/instancesets") => failure(404, "NotFound", "not found"),
        _ => (200, json!(cluster(3, "Running", 4))),
    });
    let mut seen = observe(&context, &waits, &[]).await.expect("seen");
    seen.rehearsal = Some(Ok(()));
    let decision = decide(&waits, &seen, &at(1));
    let told = message(&decision, ConditionType::Validated);
    (phase(&decision), told)
}

#[tokio::test]
async fn what_was_asked_of_a_cluster_is_not_done_to_the_next_one_of_its_name() {
    assert_eq!(owned_by("c").await.0, Some(OpsPhase::Creating));
    let (phase, told) = owned_by("earlier").await;
    assert_eq!(phase, Some(OpsPhase::Failed));
    assert!(
        told.contains("another one than the request was made for"),
        "{told}"
    );
}

#[test]
fn a_cluster_that_is_deleted_takes_requests_only_where_its_policy_holds_it() {
    let stop = request("a", 0, "{type: Stop}");
    let after = |policy: TerminationPolicy| {
        let mut deleted = cluster(3, "Running", 4);
        deleted.metadata.deletion_timestamp = Some(at(0));
        deleted.spec.termination_policy = policy;
        let decision = decide(&stop, &seen(deleted, set(3, 3, 0)), &at(1));
        (
            phase(&decision),
            message(&decision, ConditionType::Validated),
        )
    };
    let (begun, _) = after(TerminationPolicy::DoNotTerminate);
    assert_eq!(begun, Some(OpsPhase::Creating));
    for policy in [TerminationPolicy::Delete, TerminationPolicy::WipeOut] {
        let told = (
            Some(OpsPhase::Failed),
            "cluster db is being deleted".to_owned(),
        );
        assert_eq!(after(policy), told);
    }
}
