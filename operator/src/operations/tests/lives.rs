//! A request's lives, for tests of other modules: what is decided about it in every state that a field of it may matter
//! in.

use etcd_operator_api::{OpsPhase, OpsRequest};
use serde_json::{Value, json};

use super::super::decide::{Act, Decision, decide};
use super::super::edit;
use super::super::observed::{Moved, Seen};
use super::{at, cluster, request, seen, set};

/// When a request ended, in seconds.
const END: i64 = 10;

/// All decisions about a request with this spec; why it is refused when it is.
pub(crate) fn of(spec: &Value) -> Result<String, String> {
    let mut object = json!(request("a", 0, "{type: Stop}"));
    object["spec"] = spec.clone();
    let fresh: OpsRequest = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let phase = match fresh.spec.kind {
        etcd_operator_api::OpsType::Start => "Stopped",
        _ => "Running",
    };
    let admitted = decide(&fresh, &scene(&fresh, phase), &at(1));
    if admitted.status.phase == Some(OpsPhase::Failed) {
        let told = admitted.status.conditions.iter();
        return Err(told.map(|known| known.message.clone()).collect());
    }
    let mut told = vec![admitted.clone(), waiting(&fresh), queued(&fresh)];
    told.extend(ended(&fresh));
    told.extend(under_way(&fresh, phase, &admitted));
    Ok(format!("{told:#?}"))
}

/// What is seen of the Cluster that the request names.
fn scene(request: &OpsRequest, phase: &str) -> Seen {
    let mut before = cluster(3, phase, 4);
    before.spec.component_specs[0].stop = (phase == "Stopped").then_some(true);
    let mut set = set(3, 3, 0);
    let claim = json!([{ "name": "data", "spec": {} }]);
    set.spec.volume_claim_templates = serde_json::from_value(claim).expect("claims");
    let claims = (0..3).map(|n| (format!("data-db-etcd-{n}"), format!("claim-{n}")));
    Seen {
        cluster: (request.spec.cluster_name == "db").then_some(before),
        claims: claims.collect(),
        moved: Some(Ok(Moved::default())),
        ..seen(cluster(3, phase, 4), set)
    }
}

/// The Cluster is in no phase to begin.
fn waiting(fresh: &OpsRequest) -> Decision {
    decide(fresh, &scene(fresh, "Creating"), &at(2))
}

/// Another request was first.
fn queued(fresh: &OpsRequest) -> Decision {
    let mut first = request("0", -5, super::SCALE_OUT);
    first.status.get_or_insert_default().phase = Some(OpsPhase::Running);
    let mut seen = scene(fresh, "Running");
    seen.requests = vec![first, fresh.clone()];
    decide(fresh, &seen, &at(2))
}

/// It has ended, well or not.
fn ended(fresh: &OpsRequest) -> Vec<Decision> {
    let end = |phase| {
        let mut request = fresh.clone();
        let status = request.status.get_or_insert_default();
        status.phase = Some(phase);
        status.completion_timestamp = Some(at(END));
        decide(&request, &scene(fresh, "Running"), &at(END + 3))
    };
    vec![end(OpsPhase::Succeed), end(OpsPhase::Failed)]
}

/// It begins, is in progress, and is late or cancelled.
fn under_way(fresh: &OpsRequest, phase: &str, admitted: &Decision) -> Vec<Decision> {
    let mut request = fresh.clone();
    request.status = Some(admitted.status.clone());
    let mut seen = scene(fresh, phase);
    let begun = decide(&request, &seen, &at(2));
    request.status = Some(begun.status.clone());
    if let (Act::Edit(changes), Some(before)) = (&begun.act, &seen.cluster) {
        seen.cluster = Some(edit::prospective(before, changes));
    }
    let late = decide(&request, &seen, &at(8));
    vec![begun, late]
}
