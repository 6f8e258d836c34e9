//! A first template that no node can run, corrected by its owner: the cluster comes up, and no pod is touched by hand.

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::checklist::Checklist;
use crate::scenario::subject::{MANAGER, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// How long is waited until what is wrong is told, and until a corrected Cluster runs.
const TOLD: Duration = timeouts::patient(Duration::from_secs(30));
const RUNS: Duration = timeouts::patient(Duration::from_secs(90));
const NAME: &str = "corrected";

/// Leaves no cluster behind.
pub(super) async fn check(subject: &Subject, list: &mut Checklist) {
    let made = make(subject).await;
    if list
        .came_about("a Cluster that asks for too much cpu is taken", made)
        .is_some()
    {
        let told = status(
            subject,
            TOLD,
            "the status to tell why no member runs",
            |all| all.to_string().contains("Insufficient cpu"),
        );
        list.came_about("what its pods wait for is in its status", told.await);
        let corrected = correct(subject).await;
        list.came_about("it can be corrected", corrected);
        let runs = status(subject, RUNS, "the corrected Cluster to run", |status| {
            status["phase"] == "Running"
        });
        list.came_about("the corrected Cluster runs", runs.await);
    }
    // What was refused is not there.
    let _ = subject
        .clusters()
        .delete(NAME, &DeleteParams::default())
        .await;
}

async fn make(subject: &Subject) -> Result<(), String> {
    let mut object = subject.etcd(None).manifest();
    object["metadata"]["name"] = json!(NAME);
    let resources = &mut object["spec"]["componentSpecs"][0]["resources"];
    for amounts in ["requests", "limits"] {
        resources[amounts]["cpu"] = json!("4096");
    }
    let object = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let made = subject
        .clusters()
        .create(&PostParams::default(), &object)
        .await;
    made.map(drop).map_err(|error| error.to_string())
}

async fn correct(subject: &Subject) -> Result<(), String> {
    let right = subject.etcd(None).manifest()["spec"]["componentSpecs"][0]["resources"].take();
    let path = "/spec/componentSpecs/0/resources";
    let edit = json!([{ "op": "add", "path": path, "value": right }]);
    let edit = serde_json::from_value(edit).map_err(|error| error.to_string())?;
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch: Patch<Value> = Patch::Json(edit);
    let patched = subject.clusters().patch(NAME, &params, &patch).await;
    patched.map(drop).map_err(|error| error.to_string())
}

/// Waits until the Cluster's status is so.
async fn status(
    subject: &Subject,
    limit: Duration,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<(), String> {
    let seen = wait_until(what.to_owned(), limit, async || {
        match subject.clusters().get(NAME).await {
            Ok(cluster) if is(&cluster.data["status"]) => Poll::Ready(()),
            Ok(cluster) => Poll::NotYet::<(), String>(cluster.data["status"].to_string()),
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    seen.await.map_err(|error| error.to_string())
}
