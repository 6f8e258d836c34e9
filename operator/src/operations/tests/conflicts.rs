//! An edit that another client's write came before is tried again; one that the API server refuses is not.

use serde_json::json;

use super::super::cluster_edit::{Answer, Mode, edit};
use super::super::edit::{Change, Field};
use super::cluster;
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
