//! Amounts of cpu and memory of a pod that runs: how they are given, and what has become of them.

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use etcd_operator_api::quantity::amount;
use k8s_openapi::api::core::v1::{Pod, PodCondition, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tracing::info;

use super::calls::tolerate_absent;
use super::error::Error;
use super::names as keys;
use super::observed::Resize;

type Amounts = [(String, ResourceRequirements)];

/// Gives them to one incarnation of a pod and records the revision on it. Where the API server refuses (another quality
/// of service, a lower limit, a server or a Role without the subresource), the refusal is recorded: the pod is then
/// recreated.
pub(super) async fn resize(
    pods: &Api<Pod>,
    (name, uid): (&str, &str),
    amounts: &Amounts,
    revision: &str,
) -> Result<(), Error> {
    let params = PatchParams::default();
    let body = Patch::Strategic(body(uid, amounts));
    let given = pods.patch_subresource("resize", name, &params, &body).await;
    let mark = match given {
        Ok(_) => {
            json!({ "labels": { labels::REVISION: revision }, "annotations": { keys::RESIZED: revision } })
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 422) => {
            let why = &status.message;
            info!(
                pod = name,
                why, "not changed in place, so it will be recreated"
            );
            json!({ "annotations": { keys::RESIZE_REFUSED: revision } })
        }
        Err(source) => return Err(Error::write(format!("resize pod {name}"), source)),
    };
    let mut metadata = mark;
    metadata["uid"] = uid.into();
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let marked = pods.patch_metadata(name, &params, &patch).await.map(drop);
    tolerate_absent(marked, || format!("label pod {name}"))
}

fn body(uid: &str, amounts: &Amounts) -> Value {
    let containers: Vec<Value> = amounts
        .iter()
        .map(|(name, resources)| json!({ "name": name, "resources": resources }))
        .collect();
    // Without their order a strategic merge puts those of the patch first, which a resize may not.
    let order: Vec<Value> = amounts
        .iter()
        .map(|(name, _)| json!({ "name": name }))
        .collect();
    json!({ "metadata": { "uid": uid },
        "spec": { "$setElementOrder/containers": order, "containers": containers } })
}

/// What has become of the amounts that a pod was given.
pub(super) fn seen(pod: &Pod) -> Resize {
    if !pod.annotations().contains_key(keys::RESIZED) {
        return Resize::Settled;
    }
    let conditions = || {
        pod.status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
    };
    let on = |kind: &str| conditions().find(|c| c.type_ == kind && c.status == "True");
    let text = |condition: &PodCondition, or: &str| {
        let said = condition.message.clone().filter(|said| !said.is_empty());
        said.unwrap_or_else(|| or.to_owned())
    };
    if let Some(pending) = on("PodResizePending") {
        let why = text(pending, "its node has not enough");
        return match pending.reason.as_deref() {
            Some("Infeasible") => Resize::Impossible(why),
            _ => Resize::UnderWay(why),
        };
    }
    if let Some(applied) = on("PodResizeInProgress") {
        return Resize::UnderWay(text(applied, "it is being applied"));
    }
    match differs(pod) {
        Some(container) => {
            Resize::UnderWay(format!("container {container} still has the former ones"))
        }
        None => Resize::Settled,
    }
}

/// A container whose kubelet reports other amounts than the pod's spec. One that reports none is not known to differ.
fn differs(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let other = spec.containers.iter().find(|container| {
        let status = statuses.iter().find(|status| status.name == container.name);
        let has = status.and_then(|status| status.resources.as_ref());
        match (&container.resources, has) {
            (Some(wanted), Some(has)) => {
                lacks(wanted.limits.as_ref(), has.limits.as_ref())
                    || lacks(wanted.requests.as_ref(), has.requests.as_ref())
            }
            _ => false,
        }
    })?;
    Some(other.name.clone())
}

fn lacks(
    wanted: Option<&BTreeMap<String, Quantity>>,
    has: Option<&BTreeMap<String, Quantity>>,
) -> bool {
    let Some(has) = has else {
        return false;
    };
    wanted.into_iter().flatten().any(|(name, wanted)| {
        let has = has.get(name);
        has.is_some_and(|has| amount(has) != amount(wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::{failure, server};

    fn pod(conditions: &Value, cpu: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "annotations": { keys::RESIZED: "r2" } },
            "spec": { "containers": [{ "name": "etcd", "resources": { "limits": { "cpu": "2" } } }] },
            "status": { "conditions": conditions,
                "containerStatuses": [{ "name": "etcd", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "resources": { "limits": { "cpu": cpu } } }] },
        }))
        .expect("a pod")
    }

    fn condition(kind: &str, reason: &str, message: &str) -> Value {
        json!([{ "type": kind, "status": "True", "reason": reason, "message": message }])
    }

    #[test]
    fn amounts_have_arrived_when_the_kubelet_reports_them_and_nothing_is_pending() {
        let none = json!([]);
        assert_eq!(seen(&pod(&none, "2000m")), Resize::Settled);
        let former = seen(&pod(&none, "1"));
        assert!(
            matches!(&former, Resize::UnderWay(why) if why.contains("etcd")),
            "{former:?}"
        );
        let deferred = condition("PodResizePending", "Deferred", "node is full");
        assert_eq!(
            seen(&pod(&deferred, "2")),
            Resize::UnderWay("node is full".into())
        );
        let never = condition("PodResizePending", "Infeasible", "node has 1 cpu");
        assert_eq!(
            seen(&pod(&never, "2")),
            Resize::Impossible("node has 1 cpu".into())
        );
        let applied = condition("PodResizeInProgress", "", "");
        assert!(matches!(seen(&pod(&applied, "2")), Resize::UnderWay(_)));
    }

    #[test]
    fn a_pod_that_was_never_resized_is_not_compared() {
        let mut made = pod(&json!([]), "1");
        made.metadata.annotations = None;
        assert_eq!(seen(&made), Resize::Settled);
    }

    /// What is asked, in order, when the subresource answers so.
    async fn asked(code: u16) -> (Result<(), Error>, Vec<(String, Value)>) {
        let answer = move |line: &str| match (code, line.contains("/resize")) {
            (200, _) | (_, false) => (
                200,
                json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "db-1" } }),
            ),
            (code, true) => failure(code, "", "no"),
        };
        let (context, asked) = server(move |line| answer(line));
        let pods = Api::namespaced(context.client.clone(), "ns");
        let cpu = BTreeMap::from([("cpu".to_owned(), Quantity("2".to_owned()))]);
        let limits = ResourceRequirements {
            limits: Some(cpu),
            ..ResourceRequirements::default()
        };
        let amounts = [("etcd".to_owned(), limits)];
        let came = resize(&pods, ("db-1", "u-1"), &amounts, "r2").await;
        let asked = asked.lock().expect("no panic").clone();
        (came, asked)
    }

    #[tokio::test]
    async fn the_revision_is_recorded_when_the_amounts_were_taken_and_a_refusal_when_not() {
        let (came, asked) = asked(200).await;
        came.expect("given");
        assert!(
            asked[0]
                .0
                .starts_with("PATCH /api/v1/namespaces/ns/pods/db-1/resize"),
            "{asked:?}"
        );
        let cpu = &asked[0].1["spec"]["containers"][0]["resources"]["limits"]["cpu"];
        assert_eq!(
            (cpu, &asked[0].1["metadata"]["uid"]),
            (&json!("2"), &json!("u-1"))
        );
        let order = &asked[0].1["spec"]["$setElementOrder/containers"];
        assert_eq!(order, &json!([{ "name": "etcd" }]));
        assert_eq!(asked[1].1["metadata"]["labels"][labels::REVISION], "r2");
        assert_eq!(asked[1].1["metadata"]["annotations"][keys::RESIZED], "r2");
    }

    #[tokio::test]
    async fn a_refusal_is_recorded_and_a_busy_server_is_asked_again() {
        for code in [403, 404, 422] {
            let (came, asked) = asked(code).await;
            came.expect("recorded");
            let metadata = &asked[1].1["metadata"];
            assert_eq!(metadata["annotations"][keys::RESIZE_REFUSED], "r2");
            assert_eq!(metadata["labels"], Value::Null);
        }
        let (came, asked) = asked(500).await;
        assert!(came.is_err() && asked.len() == 1, "{asked:?}");
    }
}
