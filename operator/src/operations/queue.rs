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
    let is_passed =
        |other: &OpsRequest| may_begin && waits_for_a_phase(other) && !fits(other, cluster);
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
    let beside = all.iter().filter(|other| is_beside(touched, other));
    let beside: Vec<&Arc<OpsRequest>> = beside.collect();
    let there = beside.iter().any(|known| uid(known) == uid(touched));
    if there && !is_ended(touched) && !waits_for_a_phase(touched) {
        return Vec::new();
    }
    let turns = all.iter().filter(|other| is_beside(touched, other));
    let turns = Turns::of(turns.map(|known| &**known));
    let mut waiting = beside;
    waiting.retain(|other| is_pending(other) && uid(other) != uid(touched));
    let after = waiting.iter().filter(|other| order(other) > order(touched));
    let next = after.min_by_key(|other| order(other)).copied();
    let mut found: Vec<_> = next.into_iter().cloned().collect();
    for other in waiting {
        let known = found.first().is_some_and(|known| uid(known) == uid(other));
        if !known && turns.is_next(other) {
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
        let there = all
            .iter()
            .any(|known| self::uid(known) == self::uid(touched));
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

/// Of the requests of one Cluster those that are under way, or may begin: what happens to the Cluster matters to them.
pub(super) fn awake(all: &[Arc<OpsRequest>]) -> impl Iterator<Item = &Arc<OpsRequest>> {
    let turns = Turns::of(all.iter().map(|known| &**known));
    all.iter().filter(move |request| match is_pending(request) {
        true => turns.is_next(request),
        false => !is_ended(request),
    })
}

/// What may stand in the way of requests of one Cluster, of either sort, so that each is held against two others and
/// not against all: there may be thousands, and each change of the Cluster asks.
#[derive(Debug, Default)]
struct Turns<'a>([Ahead<'a>; 2]);

#[derive(Debug, Default)]
struct Ahead<'a> {
    /// Two that have begun.
    begun: Vec<Option<&'a str>>,
    /// The two that were made first.
    first: Vec<(Order, Option<&'a str>)>,
}

impl<'a> Turns<'a> {
    fn of(all: impl Iterator<Item = &'a OpsRequest>) -> Self {
        let mut turns = Self::default();
        for other in all.filter(|other| blocks(other) && !waits_for_a_phase(other)) {
            let ahead = &mut turns.0[usize::from(by_itself(other))];
            if has_begun(other) && ahead.begun.len() < 2 {
                ahead.begun.push(uid(other));
            }
            ahead.first.push((order(other), uid(other)));
            ahead.first.sort();
            ahead.first.truncate(2);
        }
        turns
    }

    /// Whether none must end before `request` may begin, but for those that wait for another phase of the Cluster.
    fn is_next(&self, request: &OpsRequest) -> bool {
        let ahead = &self.0[usize::from(by_itself(request))];
        let (own, made) = (uid(request), order(request));
        let begun = ahead.begun.iter().any(|other| *other != own);
        let mut first = ahead.first.iter();
        let earlier = first.any(|(other, by)| *by != own && *other < made);
        is_forced(request) || !(begun || earlier)
    }
}

fn stands_in_the_way(request: &OpsRequest, other: &OpsRequest) -> bool {
    !is_forced(request)
        && is_beside(request, other)
        && by_itself(other) == by_itself(request)
        && uid(other) != uid(request)
        && blocks(other)
}

/// Whether it waits for no other.
fn is_forced(request: &OpsRequest) -> bool {
    let spec = &request.spec;
    spec.force == Some(true) && spec.enqueue_on_force != Some(true)
}

/// Whether others may have to wait for it.
fn blocks(other: &OpsRequest) -> bool {
    !is_ended(other) && other.metadata.deletion_timestamp.is_none()
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

/// When a request was made, and its name.
type Order = (Option<i64>, String);

fn uid(request: &OpsRequest) -> Option<&str> {
    request.metadata.uid.as_deref()
}

fn order(request: &OpsRequest) -> Order {
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
