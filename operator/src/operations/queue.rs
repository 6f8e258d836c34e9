//! PURE: whose turn it is. Requests of one Cluster are done one after the other, in the order in which they were made.

use std::collections::BTreeSet;
use std::sync::Arc;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::{Cluster, OpsPhase, OpsRequest, OpsType};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::request::fits;

/// The last of those that must end before `request` may begin. One that may begin in the Cluster's phase does not wait
/// for those that wait for another phase: its end may be what they need.
pub(super) fn before<'a>(
    request: &OpsRequest,
    others: impl IntoIterator<Item = &'a OpsRequest>,
    cluster: &Cluster,
) -> Option<&'a OpsRequest> {
    let may_begin = fits(request, cluster);
    last_before(request, others, |other| {
        may_begin && waits_for_a_phase(other) && !fits(other, cluster)
    })
}

fn last_before<'a>(
    request: &OpsRequest,
    others: impl IntoIterator<Item = &'a OpsRequest>,
    is_passed: impl Fn(&OpsRequest) -> bool,
) -> Option<&'a OpsRequest> {
    // One that has begun goes first, whenever it was made.
    let earlier = |other: &&OpsRequest| {
        stands_in_the_way(request, other)
            && !is_passed(other)
            && (has_begun(other), order(request)) > (false, order(other))
    };
    let others = others.into_iter().filter(earlier);
    others.max_by_key(|other| order(other))
}

/// A request that began when `request` did, and before it: two that were made in the same second may both have seen
/// nothing before them.
pub(super) fn overtaken<'a>(
    request: &OpsRequest,
    others: impl IntoIterator<Item = &'a OpsRequest>,
) -> Option<&'a OpsRequest> {
    let sooner = |other: &&OpsRequest| {
        stands_in_the_way(request, other)
            && has_begun(other)
            && (began(other), order(other)) < (began(request), order(request))
    };
    others.into_iter().find(sooner)
}

/// A request of the same type that began after `request` did, because it was forced, and is under way: where only one
/// of them can be, it goes first.
pub(super) fn forced_past<'a>(
    request: &OpsRequest,
    others: impl IntoIterator<Item = &'a OpsRequest>,
) -> Option<&'a OpsRequest> {
    let later = |other: &&OpsRequest| {
        is_beside(request, other)
            && other.spec.kind == request.spec.kind
            && other.uid() != request.uid()
            && has_begun(other)
            && !is_ended(other)
            && other.metadata.deletion_timestamp.is_none()
            && (began(other), order(other)) > (began(request), order(request))
    };
    others.into_iter().find(later)
}

/// Requests to look at when `touched` has changed: when it has ended or is gone, or lets others go first, those whose
/// turn it is now, and the one that was made after it.
pub(super) fn followers(touched: &OpsRequest, all: &[Arc<OpsRequest>]) -> Vec<Arc<OpsRequest>> {
    let there = all.iter().any(|known| known.uid() == touched.uid());
    if there && !is_ended(touched) && !waits_for_a_phase(touched) {
        return Vec::new();
    }
    let waits = |other: &&Arc<OpsRequest>| {
        is_beside(touched, other) && is_pending(other) && other.uid() != touched.uid()
    };
    let mut after = all.iter().filter(waits).collect::<Vec<_>>();
    after.retain(|other| order(other) > order(touched));
    let next = after.into_iter().min_by_key(|other| order(other));
    let mut found: Vec<_> = next.into_iter().cloned().collect();
    for other in all.iter().filter(waits) {
        let known = found.iter().any(|known| known.uid() == other.uid());
        if !known && is_next(other, all) {
            found.push(Arc::clone(other));
        }
    }
    found
}

/// Requests that are known to wait for a phase. Others look again when one begins to: if they did whenever one is
/// touched, many that wait would all read the queue, each time for nothing.
#[derive(Debug, Default)]
pub(super) struct Patient(BTreeSet<String>);

impl Patient {
    /// Whether others may have to look again because the request was touched; `all` are those that are there.
    pub(super) fn is_news(&mut self, touched: &OpsRequest, all: &[Arc<OpsRequest>]) -> bool {
        let uid = touched.uid().unwrap_or_default();
        let there = all.iter().any(|known| known.uid() == touched.uid());
        let goes = !there || touched.metadata.deletion_timestamp.is_some();
        if goes || !waits_for_a_phase(touched) {
            self.0.remove(&uid);
            return true;
        }
        // Some went unseen, while there was no watch.
        if self.0.len() > all.len() {
            self.0.clear();
        }
        self.0.insert(uid)
    }
}

/// Whether the request is under way, or may begin: what happens to its Cluster matters to it.
pub(super) fn is_awake(request: &OpsRequest, all: &[Arc<OpsRequest>]) -> bool {
    match is_pending(request) {
        true => is_next(request, all),
        false => !is_ended(request),
    }
}

fn is_next(request: &OpsRequest, all: &[Arc<OpsRequest>]) -> bool {
    last_before(request, all.iter().map(|known| &**known), waits_for_a_phase).is_none()
}

fn stands_in_the_way(request: &OpsRequest, other: &OpsRequest) -> bool {
    let spec = &request.spec;
    let forced = spec.force == Some(true) && spec.enqueue_on_force != Some(true);
    !forced
        && is_beside(request, other)
        && by_itself(other) == by_itself(request)
        && other.uid() != request.uid()
        && !is_ended(other)
        && other.metadata.deletion_timestamp.is_none()
}

/// Whether both are of one Cluster.
pub(super) fn is_beside(request: &OpsRequest, other: &OpsRequest) -> bool {
    other.spec.cluster_name == request.spec.cluster_name
        && other.metadata.namespace == request.metadata.namespace
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

fn phase(request: &OpsRequest) -> Option<OpsPhase> {
    request.status.as_ref().and_then(|status| status.phase)
}

fn is_pending(request: &OpsRequest) -> bool {
    matches!(phase(request), None | Some(OpsPhase::Pending))
}

/// Whether it has its turn and waits until the Cluster is in a phase in which it may begin.
fn waits_for_a_phase(request: &OpsRequest) -> bool {
    let status = request.status.iter();
    let conditions = status.flat_map(|status| &status.conditions);
    let mut waiting = conditions.filter(|known| {
        known.type_ == ConditionType::WaitForProgressing.as_str()
            && known.reason == Reason::ClusterPhaseMismatch.as_str()
    });
    is_pending(request) && waiting.next().is_some()
}

fn is_ended(request: &OpsRequest) -> bool {
    phase(request).is_some_and(OpsPhase::is_ended)
}

fn began(request: &OpsRequest) -> Option<Timestamp> {
    let status = request.status.as_ref()?;
    Some(status.start_timestamp.as_ref()?.0)
}

fn has_begun(request: &OpsRequest) -> bool {
    began(request).is_some()
}
