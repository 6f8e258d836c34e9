//! IO out: removes a voter's pod by an eviction. What a plain deletion does not do: the API server takes the vote off
//! the disruption budget before the pod goes, so that no other eviction is let through until the budget is counted
//! again.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::Api;
use kube::core::Status;

use super::calls::{post, tolerate_absent};
use super::error::Error;

/// The API server's reason when a budget does not allow it now.
const CAUSE: &str = "DisruptionBudget";
/// What the API server answers when it cannot evict a pod at all.
const SEVERAL: &str = "more than one PodDisruptionBudget";

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    /// The pod goes, or is gone.
    Done,
    /// A user has put a second budget over the pod: Kubernetes then refuses every eviction, so no drain can come in
    /// between, and a plain deletion races with none.
    Impossible,
}

/// Evicts this incarnation of a pod.
///
/// # Errors
/// When the budget does not allow it now, or the API server does not take it.
pub(super) async fn evict(pods: &Api<Pod>, name: &str, uid: &str) -> Result<Evicted, Error> {
    // No resourceVersion: it is compared after the budget was used, and a mere change of the pod's status would leave
    // the budget used for two minutes with nothing evicted. Whether the pod may be stopped was weighed by what etcd
    // says.
    let preconditions = Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    };
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(preconditions),
            propagation_policy: Some("Background".to_owned()),
            ..DeleteOptions::default()
        }),
    };
    // Not `Api::evict`: kube 5.0 sends `delete_options`, which the API server does not know.
    let answer: kube::Result<Status> = pods
        .create_subresource("eviction", name, &post(), &eviction)
        .await;
    let status = match answer {
        // A refusal may come as the object of an answer that is good otherwise.
        Ok(status) if status.is_failure() => status,
        Err(kube::Error::Api(status)) => *status,
        other => {
            return other
                .map(|_| Evicted::Done)
                .map_err(|source| Error::write(format!("evict pod {name}"), source));
        }
    };
    if status.message.contains(SEVERAL) {
        return Ok(Evicted::Impossible);
    }
    if let Some(why) = held_by_budget(&status) {
        let pod = name.to_owned();
        return Err(Error::Budget { pod, why });
    }
    let failed = Err(kube::Error::Api(Box::new(status)));
    tolerate_absent(failed, || format!("evict pod {name}")).map(|()| Evicted::Done)
}

/// Why the budget does not allow it; `None` for every other failure: a server that is busy answers 429, too.
fn held_by_budget(status: &Status) -> Option<String> {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    let cause = causes.find(|cause| cause.reason == CAUSE)?;
    (status.code == 429).then(|| cause.message.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::{failure, server};

    /// What comes of an eviction that is answered so, and what was asked.
    async fn evicted(answer: (u16, Value)) -> (Result<Evicted, Error>, Value) {
        let (context, asked) = server(move |_| answer.clone());
        let pods = Api::namespaced(context.client.clone(), "ns");
        let came = evict(&pods, "db-1", "u-1").await;
        let asked = asked.lock().expect("no panic");
        assert_eq!(asked.len(), 1, "{asked:?}");
        let (line, body) = &asked[0];
        assert!(
            line.starts_with("POST /api/v1/namespaces/ns/pods/db-1/eviction"),
            "{line}"
        );
        (came, body.clone())
    }

    fn busy(causes: &Value) -> (u16, Value) {
        let mut answer = failure(429, "TooManyRequests", "Cannot evict pod");
        answer.1["details"] = json!({ "causes": causes });
        answer
    }

    #[tokio::test]
    async fn the_incarnation_goes_with_the_request() {
        let done =
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201 });
        let (came, body) = evicted((201, done)).await;
        assert_eq!(came.expect("evicted"), Evicted::Done);
        assert_eq!(
            body["deleteOptions"]["preconditions"],
            json!({ "uid": "u-1" })
        );
        assert_eq!(body["metadata"]["name"], "db-1");
        assert_eq!(
            (&body["kind"], &body["apiVersion"]),
            (&json!("Eviction"), &json!("policy/v1"))
        );
        let gone = failure(404, "NotFound", "pods \"db-1\" not found");
        assert_eq!(evicted(gone).await.0.expect("gone"), Evicted::Done);
    }

    #[tokio::test]
    async fn a_budget_that_is_used_up_is_told_apart_from_a_busy_server() {
        let needs = "The disruption budget db needs 2 healthy pods and has 2 currently";
        let held = busy(&json!([{ "reason": "DisruptionBudget", "message": needs }]));
        match evicted(held).await.0 {
            Err(Error::Budget { pod, why }) => {
                assert_eq!((pod.as_str(), why.as_str()), ("db-1", needs))
            }
            other => panic!("{other:?}"),
        }
        for other in [
            busy(&json!([])),
            failure(403, "Forbidden", "no"),
            failure(500, "", "oh"),
        ] {
            let came = evicted(other).await.0;
            assert!(matches!(came, Err(Error::Write { .. })), "{came:?}");
        }
        let other_pod = evicted(failure(409, "Conflict", "the UID in the precondition"))
            .await
            .0;
        assert!(other_pod.expect_err("another pod").is_conflict());
    }

    #[tokio::test]
    async fn a_pod_that_nobody_can_evict_is_deleted() {
        let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        let within = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": text, "code": 500 });
        for answer in [(201, within), failure(500, "InternalError", text)] {
            assert_eq!(evicted(answer).await.0.expect("known"), Evicted::Impossible);
        }
    }
}
