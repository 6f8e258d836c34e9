//! What deleting a Cluster does, by its `terminationPolicy`. Leaves no cluster behind.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use super::checklist::Checklist;
use super::seats::unmoved;
use crate::scenario::subject::{CLUSTER, MANAGER, Seat, Subject, pod_selector};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// How long is waited until a refusal is reported, or a deletion done.
const DONE: Duration = timeouts::patient(Duration::from_secs(60));

/// Held back, then deleted. `seats` are the pods of the cluster that runs, where they are known.
pub(super) async fn check(subject: &Subject, seats: Option<&[Seat]>, list: &mut Checklist) {
    let held = policy(subject, "DoNotTerminate").await;
    if list
        .came_about("terminationPolicy can be set to DoNotTerminate", held)
        .is_none()
    {
        return;
    }
    let deleted = subject
        .clusters()
        .delete(CLUSTER, &DeleteParams::default())
        .await;
    list.came_about(
        "a Cluster that is held back can be asked to go",
        deleted.map(drop).map_err(|error| error.to_string()),
    );
    let told = wait_until(
        "a condition to say why the Cluster stays",
        DONE,
        async || match subject.clusters().get(CLUSTER).await {
            Ok(cluster) => {
                let conditions = cluster.data["status"]["conditions"].to_string();
                if conditions.contains("TerminationRefused") {
                    Poll::Ready(())
                } else {
                    Poll::NotYet::<(), String>(conditions)
                }
            }
            Err(error) => Poll::NotYet(error.to_string()),
        },
    );
    list.came_about(
        "DoNotTerminate is told as the reason",
        told.await.map_err(|error| error.to_string()),
    );
    unmoved("pods while DoNotTerminate holds", subject, seats, list).await;

    let let_go = policy(subject, "Delete").await;
    list.came_about("terminationPolicy can be set to Delete", let_go);
    let gone = wait_until(
        "Cluster, pods and claims to be gone",
        DONE,
        async || match remains(subject).await {
            Ok(remains) if remains.is_empty() => Poll::Ready(()),
            Ok(remains) => Poll::NotYet::<(), String>(format!("there is {remains}")),
            Err(error) => Poll::NotYet(error),
        },
    );
    list.came_about(
        "Delete takes pods and claims along",
        gone.await.map_err(|error| error.to_string()),
    );
}

async fn policy(subject: &Subject, policy: &str) -> Result<(), String> {
    let merge = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "spec": { "terminationPolicy": policy } }));
    let patched = subject.clusters().patch(CLUSTER, &merge, &patch).await;
    patched.map(drop).map_err(|error| error.to_string())
}

/// What is left, in words; nothing when all is gone.
async fn remains(subject: &Subject) -> Result<String, String> {
    let cluster = subject.clusters().get_opt(CLUSTER).await;
    let cluster = cluster.map_err(|error| error.to_string())?;
    let pods = subject.pods().await?.len();
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(subject.kube.clone(), &subject.namespace);
    let claims = claims
        .list(&ListParams::default().labels(&pod_selector()))
        .await;
    let claims = claims.map_err(|error| error.to_string())?.items.len();
    if cluster.is_none() && pods + claims == 0 {
        return Ok(String::new());
    }
    let word = if cluster.is_some() {
        "the Cluster, "
    } else {
        ""
    };
    Ok(format!("{word}{pods} pods, {claims} claims"))
}
