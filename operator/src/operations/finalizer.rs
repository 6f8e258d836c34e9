//! IO out: the finalizer of requests that ask by annotations, which would be obeyed although their request is gone.

use std::time::Duration;

use etcd_operator_api::labels::{DEFRAGMENT, INSTANCE, OPS_REQUEST_FINALIZER, REBUILD, RECOVER};
use etcd_operator_api::{OpsPhase, OpsRequest, OpsRequestSpec, OpsType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::core::ObjectMeta;

use super::decide::Act;
use crate::controller::{Context, finalize, release};

/// A request that is deleted, and may not take back what it has asked for, goes after so long.
const REFUSED: Duration = Duration::from_secs(300);
/// One that the API server does not answer, after so long.
const UNANSWERED: Duration = Duration::from_secs(3600);

/// Pure: what stands for a request that cannot be read, when it is being deleted. What it has asked for carries its
/// UID. Its label names its Cluster, whose other requests it may have kept waiting.
pub(super) fn stand_in(unread: &ObjectMeta) -> Option<OpsRequest> {
    unread.deletion_timestamp.as_ref()?;
    let cluster = unread.labels.iter().find_map(|known| known.get(INSTANCE));
    Some(OpsRequest {
        metadata: unread.clone(),
        spec: OpsRequestSpec {
            cluster_name: cluster.cloned().unwrap_or_default(),
            ..OpsRequestSpec::default()
        },
        status: None,
    })
}

/// Whether requests of this type ask by annotations. What stands for one that cannot be read has no such type.
fn asks(kind: OpsType) -> bool {
    matches!(
        kind,
        OpsType::RebuildInstance | OpsType::RecoverQuorum | OpsType::Custom
    )
}

/// Whether the request has the finalizer.
pub(super) fn is_held(request: &OpsRequest) -> bool {
    let mut finalizers = request.finalizers().iter();
    finalizers.any(|known| known == OPS_REQUEST_FINALIZER)
}

/// Puts the finalizer on while the request is under way, and takes it off when it has ended. Returns whether that was
/// written.
pub(super) async fn hold(context: &Context, request: &OpsRequest) -> kube::Result<bool> {
    let phase = request.status.as_ref().and_then(|status| status.phase);
    let under_way = matches!(phase, Some(OpsPhase::Creating | OpsPhase::Running));
    let client = &context.client;
    match is_held(request) {
        false if asks(request.spec.kind) && under_way => {
            let held = finalize(client, request, OPS_REQUEST_FINALIZER).await;
            held.map(|_| true)
        }
        true if phase.is_some_and(OpsPhase::is_ended) => {
            let released = release(client, request, OPS_REQUEST_FINALIZER).await;
            released.map(|()| true)
        }
        _ => Ok(false),
    }
}

/// Pure: whether a request that is being deleted goes although what it has asked for was not taken back.
pub(super) fn gives_up(request: &OpsRequest, is_refused: bool, now: &Time) -> bool {
    let patience = match is_refused {
        true => REFUSED,
        false => UNANSWERED,
    };
    let since = request.metadata.deletion_timestamp.as_ref();
    let waited = since.and_then(|since| Duration::try_from(now.0.duration_since(since.0)).ok());
    waited.is_some_and(|waited| waited >= patience)
}

/// Pure: what a request leaves that is being deleted, as far as that is known, and what to do about it.
pub(super) fn left(request: &OpsRequest, act: Option<&Act>, why: &str) -> String {
    let is_unread = !asks(request.spec.kind);
    let (annotation, kind) = match (act, request.spec.kind) {
        (Some(Act::Unmark), _) | (None, OpsType::RebuildInstance) => (REBUILD, "claims"),
        (Some(Act::Recover(_)), _) | (None, OpsType::RecoverQuorum) => (RECOVER, "InstanceSets"),
        _ => (DEFRAGMENT, "InstanceSets"),
    };
    let (annotation, kind) = match act {
        // It cannot be read, nor what carries its UID.
        None if is_unread => (
            format!("{REBUILD}, {RECOVER} or {DEFRAGMENT}"),
            "claims or InstanceSets",
        ),
        _ => (annotation.to_owned(), kind),
    };
    let known: Vec<&str> = match act {
        Some(Act::Recover(sets)) => sets.keys().map(String::as_str).collect(),
        Some(Act::Defragment(sets)) => sets.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let which = match known.is_empty() {
        true if is_unread => {
            let own = request.uid().unwrap_or_default();
            format!("{kind} of its namespace where it has UID {own}")
        }
        true => format!("{kind} of Cluster {}", request.spec.cluster_name),
        false => format!("{kind} {}", known.join(", ")),
    };
    // What to do first: an event cuts long texts, and an answer of the API server may be long.
    format!(
        "it is being deleted, and may still be carried out: remove annotation {annotation} from {which}; what it has \
         asked for was not taken back: {why}"
    )
}
