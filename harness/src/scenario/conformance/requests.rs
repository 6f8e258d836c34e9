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
type Bad = (&'static str, &'static str, Value);

/// One item of an operation's list: the component and something more.
fn one(extra: Value) -> Value {
    let mut item = json!({ "componentName": COMPONENT });
    if let (Some(item), Value::Object(extra)) = (item.as_object_mut(), extra) {
        item.extend(extra);
    }
    json!([item])
}

fn pod(ordinal: u32) -> String {
    format!("{CLUSTER}-{COMPONENT}-{ordinal}")
}

fn bad_sizes() -> Vec<Bad> {
    let out = |wish: Value| json!({ "scaleOut": wish });
    let less = |wish: Value| json!({ "scaleIn": wish });
    let cases = vec![
        (
            "even",
            "make it 3 or 5",
            out(json!({ "replicaChanges": 1 })),
        ),
        (
            "even-in",
            "make it 1 or 3",
            less(json!({ "replicaChanges": 1 })),
        ),
        (
            "too-many",
            "outside the 1 to 7",
            out(json!({ "replicaChanges": 6 })),
        ),
        (
            "none-left",
            "at least 1 must stay",
            less(json!({ "replicaChanges": 3 })),
        ),
        ("no-way", "either scaleOut or scaleIn", json!({})),
        (
            "unknown-out",
            "no member",
            less(json!({ "onlineInstancesToOffline": [pod(7), pod(8)] })),
        ),
    ];
    let scaling =
        |wish: Value| json!({ "type": "HorizontalScaling", "horizontalScaling": one(wish) });
    let asked = cases.into_iter();
    asked
        .map(|(name, word, wish)| (name, word, scaling(wish)))
        .collect()
}

fn bad_moves() -> Vec<Bad> {
    let switchover = |wish: Value| json!({ "type": "Switchover", "switchover": one(wish) });
    vec![
        (
            "unknown",
            "not an instance",
            switchover(json!({ "instanceName": pod(9) })),
        ),
        (
            "itself",
            "are both",
            switchover(json!({ "instanceName": pod(0), "candidateName": pod(0) })),
        ),
    ]
}

fn bad_shapes() -> Vec<Bad> {
    let resize = |wish: Value| json!({ "type": "VerticalScaling", "verticalScaling": one(wish) });
    vec![
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
            resize(json!({ "limits": { "cpu": "a lot" } })),
        ),
        (
            "request-above-limit",
            "is above limit",
            resize(json!({ "requests": { "memory": "1Ti" } })),
        ),
        (
            "unknown-version",
            "9.9.9",
            json!({ "type": "Upgrade", "upgrade": { "components": one(json!({ "serviceVersion": "9.9.9" })) } }),
        ),
        ("not-yet", "Unsupported value", json!({ "type": "Backup" })),
    ]
}

fn bad_settings() -> Vec<Bad> {
    let setting = |parameter: Value| json!({ "type": "Reconfiguring", "reconfigures": one(json!({ "parameters": [parameter] })) });
    vec![
        (
            "unknown-setting",
            "settings are",
            setting(json!({ "key": "data-dir", "value": "/x" })),
        ),
        (
            "setting-out-of-range",
            "from 10 to 10000",
            setting(json!({ "key": "heartbeat-interval", "value": "1" })),
        ),
        (
            "setting-of-no-number",
            "a whole number of bytes",
            setting(json!({ "key": "quota-backend-bytes", "value": "2Gi" })),
        ),
        (
            "too-few-heartbeats",
            "at least 5 times heartbeat-interval",
            setting(json!({ "key": "election-timeout", "value": "100" })),
        ),
        (
            "quota-above-disk",
            "more than the claim",
            setting(json!({ "key": "quota-backend-bytes", "value": "8589934592" })),
        ),
    ]
}

fn bad_services_and_rebuilds() -> Vec<Bad> {
    let service = |switch: &str, service: Value| json!({ "type": "Expose", "expose": one(json!({ "switch": switch, "services": [service] })) });
    let rebuild =
        |wish: Value| json!({ "type": "RebuildInstance", "force": true, "rebuildFrom": one(wish) });
    let instances = |ordinal| json!([{ "name": pod(ordinal) }]);
    vec![
        (
            "nothing-to-disable",
            "to disable",
            service("Disable", json!({ "name": "outside" })),
        ),
        (
            "service-of-no-kind",
            "Unsupported value",
            service(
                "Enable",
                json!({ "name": "outside", "serviceType": "ExternalName" }),
            ),
        ),
        (
            "rebuilt-unknown",
            "not a member",
            rebuild(json!({ "inPlace": true, "instances": instances(9) })),
        ),
        (
            "rebuilt-elsewhere",
            "say inPlace: true",
            rebuild(json!({ "instances": instances(0) })),
        ),
        (
            "rebuilt-from-backup",
            "backupName is not supported",
            rebuild(json!({ "inPlace": true, "backupName": "b", "instances": instances(0) })),
        ),
    ]
}

/// Asks for each, and looks that it is refused for the right reason.
pub(super) async fn bad_requests(subject: &Subject, list: &mut Checklist) {
    let all = [
        bad_sizes(),
        bad_moves(),
        bad_shapes(),
        bad_settings(),
        bad_services_and_rebuilds(),
    ];
    for (name, word, mut spec) in all.into_iter().flatten() {
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
    spec["clusterName"] = json!("no-such-cluster");
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
    let limit = timeouts::patient(timeouts::OPERATION);
    wait_until(what, limit, async || match api.get(name).await {
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
    })
    .await
    .map_err(|error| error.to_string())
}
