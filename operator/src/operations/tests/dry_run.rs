//! The API server is asked before anything is touched.

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::super::cluster_edit::{Answer, Mode, edit};
use super::super::edit::{Change, Field};
use super::cluster;
use crate::controller::rehearse;
use crate::fake_api::{failure, server};

/// What is said of a service when `live` is there already, and the API server answers the dry run with `answer`.
async fn said(live: Option<Value>, answer: (u16, Value)) -> (Option<String>, Vec<String>) {
    let owner = json!({ "apiVersion": "v1", "kind": "Cluster", "name": "db", "uid": "c", "controller": true });
    let metadata = json!({ "name": "db-out", "namespace": "ns", "ownerReferences": [owner] });
    let service: Service =
        serde_json::from_value(json!({ "metadata": metadata })).expect("a service");
    let (context, asked) = server(move |line| match (line.starts_with("GET"), &live) {
        (true, Some(metadata)) => {
            let meta = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata" });
            let mut body = meta;
            body["metadata"] = metadata.clone();
            (200, body)
        }
        (true, None) => failure(404, "NotFound", "not found"),
        (false, _) => answer.clone(),
    });
    let said = rehearse(&context.client, &service).await.expect("asked");
    let asked = asked.lock().expect("no panic");
    (said, asked.iter().map(|(line, _)| line.clone()).collect())
}

#[tokio::test]
async fn a_service_that_kubernetes_refuses_is_told_with_its_words() {
    let refused =
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range";
    let (said_of_it, asked) = said(None, failure(422, "Invalid", refused)).await;
    assert_eq!(said_of_it.as_deref(), Some(refused));
    assert!(asked[1].starts_with("PATCH"), "{asked:?}");
    assert!(asked[1].contains("dryRun=All"), "{asked:?}");
    let unknown = failure(
        400,
        "BadRequest",
        "admission webhook \"w\" does not support dry run",
    );
    assert_eq!(said(None, unknown).await.0, None);
    let fine = json!({ "metadata": { "name": "db-out", "namespace": "ns" } });
    assert_eq!(said(None, (200, fine)).await.0, None);
}

#[tokio::test]
async fn a_service_of_another_owner_is_not_taken_over() {
    let plain = json!({ "name": "db-out", "namespace": "ns" });
    let (said_of_it, asked) = said(Some(plain), (200, json!({}))).await;
    assert!(said_of_it.expect("refused").contains("another owner"));
    assert_eq!(asked.len(), 1, "nothing is written, not even for show");
}

#[tokio::test]
async fn an_edit_is_asked_about_before_it_is_made() {
    for (mode, dry) in [(Mode::DryRun, true), (Mode::Write, false)] {
        let (context, asked) = server(|_| (200, json!(cluster(3, "Running", 5))));
        let stop = Change::Component {
            component: "etcd".to_owned(),
            field: Field::Stop(Some(true)),
        };
        let answer = edit(&cluster(3, "Running", 4), &[stop], &context, mode).await;
        assert_eq!(answer.expect("an answer"), Answer::Taken(Some(5)));
        let asked = asked.lock().expect("no panic");
        assert_eq!(asked[0].0.contains("dryRun=All"), dry, "{}", asked[0].0);
    }
}
