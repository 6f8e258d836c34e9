//! PURE: whose turn it is. Requests of one Cluster are done one after the other, in the order in which they were made.

use etcd_operator_api::{OpsRequest, OpsType};
use kube::ResourceExt;

/// The request that must end before `request` may begin.
pub(super) fn before<'a>(request: &OpsRequest, others: &'a [OpsRequest]) -> Option<&'a OpsRequest> {
    let spec = &request.spec;
    if spec.force == Some(true) && spec.enqueue_on_force != Some(true) {
        return None;
    }
    let earlier = |other: &&OpsRequest| {
        other.spec.cluster_name == spec.cluster_name
            && by_itself(other) == by_itself(request)
            && other.uid() != request.uid()
            && !is_ended(other)
            && other.metadata.deletion_timestamp.is_none()
            // One that has begun goes first, whenever it was made.
            && (has_begun(other), order(request)) > (false, order(other))
    };
    others
        .iter()
        .filter(earlier)
        .min_by_key(|other| order(other))
}

/// Services touch no member: requests for them wait for each other only.
fn by_itself(request: &OpsRequest) -> bool {
    request.spec.kind == OpsType::Expose
}

fn order(request: &OpsRequest) -> (Option<i64>, String) {
    let made = request.metadata.creation_timestamp.as_ref();
    let name = request.name_any();
    (made.map(|time| time.0.as_second()), name)
}

fn is_ended(request: &OpsRequest) -> bool {
    let phase = request.status.as_ref().and_then(|status| status.phase);
    phase.is_some_and(|phase| phase.is_ended())
}

fn has_begun(request: &OpsRequest) -> bool {
    let status = request.status.as_ref();
    status.is_some_and(|status| status.start_timestamp.is_some())
}
