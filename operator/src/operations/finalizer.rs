//! IO out: the finalizer of requests that ask by annotations, which would be obeyed although their request is gone.

use etcd_operator_api::labels::OPS_REQUEST_FINALIZER;
use etcd_operator_api::{OpsPhase, OpsRequest, OpsType};
use kube::ResourceExt;

use crate::controller::{Context, finalize, release};

/// Whether the request has the finalizer.
pub(super) fn is_held(request: &OpsRequest) -> bool {
    let mut finalizers = request.finalizers().iter();
    finalizers.any(|known| known == OPS_REQUEST_FINALIZER)
}

/// Puts the finalizer on while the request is under way, and takes it off when it has ended. Returns whether that was
/// written.
pub(super) async fn hold(context: &Context, request: &OpsRequest) -> kube::Result<bool> {
    let phase = request.status.as_ref().and_then(|status| status.phase);
    let asks = matches!(
        request.spec.kind,
        OpsType::RebuildInstance | OpsType::RecoverQuorum | OpsType::Custom
    );
    let under_way = matches!(phase, Some(OpsPhase::Creating | OpsPhase::Running));
    let client = &context.client;
    match is_held(request) {
        false if asks && under_way => {
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
