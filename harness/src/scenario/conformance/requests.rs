//! OpsRequests that must not be carried out: refused at admission or ended with the reason, and nothing is touched.

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::checklist::Checklist;
use crate::scenario::subject::{CLUSTER, COMPONENT, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// The kind of a request.
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "operations.kubeblocks.io",
        "v1alpha1",
        "OpsRequest",
    ))
}

/// A name, a word that the refusal must hold, and what is asked.
fn bad() -> Vec<(&'static str, &'static str, Value)> {
    let one = |extra: Value| {
        let mut item = json!({ "componentName": COMPONENT });
        if let (Some(item), Some(extra)) = (item.as_object_mut(), extra.as_object()) {
            item.extend(extra.clone());
        }
        json!([item])
    };
    let scaling =
        |wish: Value| json!({ "type": "HorizontalScaling", "horizontalScaling": one(wish) });
    let switchover = |wish: Value| json!({ "type": "Switchover", "switchover": one(wish) });
    let pod = |ordinal: u32| format!("{CLUSTER}-{COMPONENT}-{ordinal}");
    vec![
        (
            "even",
            "make it 3 or 5",
            scaling(json!({ "scaleOut": { "replicaChanges": 1 } })),
        ),
        (
            "even-in",
            "make it 1 or 3",
            scaling(json!({ "scaleIn": { "replicaChanges": 1 } })),
        ),
        (
            "too-many",
            "outside the 1 to 7",
            scaling(json!({ "scaleOut": { "replicaChanges": 6 } })),
        ),
        (
            "none-left",
            "at least 1 must stay",
            scaling(json!({ "scaleIn": { "replicaChanges": 3 } })),
        ),
        ("no-way", "either scaleOut or scaleIn", scaling(json!({}))),
        (
            "stranger-out",
            "no member",
            scaling(json!({ "scaleIn": { "onlineInstancesToOffline": [pod(7), pod(8)] } })),
        ),
        (
            "stranger",
            "not an instance",
            switchover(json!({ "instanceName": pod(9) })),
        ),
        (
            "itself",
            "are both",
            switchover(json!({ "instanceName": pod(0), "candidateName": pod(0) })),
        ),
        (
            "unknown-component",
            "does not have",
            json!({ "type": "Restart", "restart": [{ "componentName": "store" }] }),
        ),
        (
            "no-body",
            "restart goes with type Restart",
            json!({ "type": "Restart" }),
        ),
        (
            "two-bodies",
            "goes with type",
            json!({ "type": "Stop", "restart": one(json!({})) }),
        ),
        (
            "cancelled-restart",
            "can be cancelled",
            json!({ "type": "Restart", "restart": one(json!({})), "cancel": true }),
        ),
        (
            "bad-quantity",
            "limits",
            json!({ "type": "VerticalScaling", "verticalScaling": one(json!({ "limits": { "cpu": "a lot" } })) }),
        ),
        (
            "request-above-limit",
            "is above limit",
            json!({ "type": "VerticalScaling", "verticalScaling": one(json!({ "requests": { "memory": "1Ti" } })) }),
        ),
        (
            "unknown-version",
            "9.9.9",
            json!({ "type": "Upgrade", "upgrade": { "components": one(json!({ "serviceVersion": "9.9.9" })) } }),
        ),
        ("not-yet", "Unsupported value", json!({ "type": "Backup" })),
    ]
}

/// Asks for each, and looks that it is refused for the right reason.
pub(super) async fn bad_requests(subject: &Subject, list: &mut Checklist) {
    for (name, word, mut spec) in bad() {
        spec["clusterName"] = json!(CLUSTER);
        let said = refusal(subject, name, spec).await;
        if let Some(said) = list.came_about(format!("request {name} is refused"), said) {
            list.holds(
                format!("what is said of request {name} names {word:?}: {said}"),
                said.contains(word),
            );
        }
    }
    let mut spec = json!({ "type": "Restart", "restart": [{ "componentName": COMPONENT }] });
    spec["clusterName"] = json!("nobody");
    let said = refusal(subject, "no-cluster", spec).await;
    list.came_about("a request for a cluster that is not there is refused", said);
}

/// What the API server or the request's end says against it.
async fn refusal(subject: &Subject, name: &str, spec: Value) -> Result<String, String> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(subject.kube.clone(), &subject.namespace, &resource());
    let object = json!({
        "apiVersion": "operations.kubeblocks.io/v1alpha1",
        "kind": "OpsRequest",
        "metadata": { "name": name },
        "spec": spec,
    });
    let object = serde_json::from_value(object).map_err(|error| error.to_string())?;
    match api.create(&PostParams::default(), &object).await {
        Err(refused) => Ok(refused.to_string()),
        Ok(_) => {
            let (phase, said) = end(&api, name).await?;
            match phase.as_str() {
                "Failed" => Ok(said),
                other => Err(format!("it ended {other}: {said}")),
            }
        }
    }
}

/// Waits for a request's end; its phase and what its conditions say.
pub(super) async fn end(api: &Api<DynamicObject>, name: &str) -> Result<(String, String), String> {
    let what = format!("OpsRequest {name} has ended");
    wait_until(what, timeouts::OPERATION, async || {
        match api.get(name).await {
            Ok(object) => {
                let status = &object.data["status"];
                let phase = status["phase"].as_str().unwrap_or_default().to_owned();
                let ended = ["Succeed", "Failed", "Aborted", "Cancelled"];
                if ended.contains(&phase.as_str()) {
                    Poll::Ready((phase, status["conditions"].to_string()))
                } else {
                    Poll::NotYet::<_, String>(status.to_string())
                }
            }
            Err(error) => Poll::NotYet(error.to_string()),
        }
    })
    .await
    .map_err(|error| error.to_string())
}
