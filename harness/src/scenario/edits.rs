//! What owners do without an OpsRequest: an edit of the Cluster, and what the operator says to it.

use etcd_operator_api::InstanceSet;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::scenario::RunError;
use crate::scenario::subject::{CLUSTER, MANAGER, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Name of the claim template.
pub(super) const DATA: &str = "data";

/// Sets a field of the spec of the only claim template; `what` says it in words.
pub(super) async fn set_claim(
    subject: &Subject,
    field: &str,
    value: &str,
    what: &str,
) -> Result<(), RunError> {
    let path = format!("/spec/componentSpecs/0/volumeClaimTemplates/0/spec/{field}");
    let edit = json!([{ "op": "add", "path": path, "value": value }]);
    let edit = serde_json::from_value(edit).map_err(|e| RunError::Wait(e.to_string()))?;
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let edit: Patch<Value> = Patch::Json(edit);
    let edited = subject.clusters().patch(CLUSTER, &params, &edit).await;
    edited
        .map(drop)
        .map_err(|error| RunError::api(what, &error))
}

/// Waits until the operator says that it waits for this reason, with this in its message; what it says.
pub(super) async fn said(subject: &Subject, reason: &str, part: &str) -> Result<String, RunError> {
    let sets: Api<InstanceSet> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let name = Subject::leader_service();
    let what = format!("the operator says {reason} {part}");
    let limit = timeouts::patient(timeouts::EFFECT_SLOW);
    let told = wait_until(what.trim_end(), limit, async || {
        let set = match sets.get(&name).await {
            Ok(set) => set,
            Err(error) => return Poll::NotYet::<_, String>(error.to_string()),
        };
        let waits = set.status.unwrap_or_default().waiting_on;
        let meant = waits
            .iter()
            .find(|waits| waits.reason == reason && waits.message.contains(part));
        match meant {
            Some(waits) => Poll::Ready(waits.message.clone()),
            None => Poll::NotYet(format!("it waits for {waits:?}")),
        }
    });
    told.await
        .map_err(|error| RunError::Wait(error.to_string()))
}
