//! What is recorded of an InstanceSet: counts, latches, members, what is waited for. No times: `apply` adds them.

use std::collections::BTreeMap;

use etcd_operator_api::component_definition::ReplicaRole;
use etcd_operator_api::condition::{ConditionType, Observation, Reason, Truth};
use etcd_operator_api::instance_set::{
    AccountsStatus, InstanceSetStatus, KnownMember, MemberStatus, V2StoreStatus, WaitingOn,
};
use etcd_operator_api::recovery::Recovery;
use etcd_operator_api::{labels, names};
use kbagent_protocol::AlarmKind;

use super::latch::Latch;
use super::pods;
use super::safety::quorum;
use super::steps::StatusDraft;
use super::{
    Plan, Waiting, alarms, asked_class, defragmentation, placement, revision, roster, tainted,
    upgrade, volumes,
};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{NO_CREDENTIALS, Observed, PodSeen, Reading};

/// Most reasons that are recorded; the rest is more of the same.
const MOST_REASONS: usize = 16;
/// Longest text of an agent that is recorded, in characters.
const LONGEST_TEXT: usize = 512;
/// Seconds that a container may be unable to run before it counts as a failure: images are pulled meanwhile.
const FAILURE_AFTER: i64 = 60;

/// The status.
#[must_use]
pub(crate) fn status(
    desired: &Desired,
    seen: &Observed,
    latch: &Latch,
    plan: &Plan,
) -> StatusDraft {
    let before = &desired.recorded;
    let revision = revision::revision(desired);
    let owned = || seen.pods.values().filter(|pod| pod.owned);
    let count = |test: &dyn Fn(&PodSeen) -> bool| {
        i32::try_from(owned().filter(|pod| !pod.terminating && test(pod)).count()).unwrap_or(0)
    };
    let available = |pod: &PodSeen| pod.ready && pod.ready_seconds >= desired.min_ready_seconds;
    let current = seen.pods.iter().filter(|(name, pod)| {
        pod.owned && !pod.terminating && pods::is_current(desired, name, pod)
    });
    let updated = i32::try_from(current.count()).unwrap_or(0);
    let all_updated = usize::try_from(updated).is_ok_and(|updated| updated == owned().count());
    let current = match &before.current_revision {
        Some(current) if !all_updated => current.clone(),
        _ => revision.clone(),
    };
    let bootstrap = match latch.bootstrapped() || desired.stop {
        true => before.bootstrap_members.clone(),
        false => latch.frozen.clone(),
    };
    let waiting_on = reasons(&plan.waiting);
    let roster = roster::read(desired, seen, latch);
    let status = InstanceSetStatus {
        observed_generation: desired.generation,
        replicas: i32::try_from(owned().count()).unwrap_or(0),
        ready_replicas: count(&|pod| pod.ready),
        available_replicas: count(&available),
        current_replicas: count(&|pod| pod.revision == current),
        updated_replicas: updated,
        init_replicas: init_replicas(&bootstrap),
        ready_init_replicas: before.ready_init_replicas,
        current_revision: Some(current),
        update_revision: Some(revision.clone()),
        current_revisions: revisions(seen),
        update_revisions: desired
            .members
            .iter()
            .map(|name| (name.clone(), revision.clone()))
            .collect(),
        conditions: before.conditions.clone(),
        members_status: roles(desired, seen),
        cluster_id: cluster_id(desired, latch),
        bootstrap_members: bootstrap,
        members: members(desired, seen, latch),
        accounts: accounts(desired, seen),
        message: waiting_on.first().map(|first| first.message.clone()),
        recovery: before.recovery.clone(),
        defragmentation: defragmentation::record(desired, seen),
        readable_by: upgrade::readable_by(desired, seen, latch),
        old_requests_end: upgrade::old_requests_end(desired, seen, &roster),
        placements: placement::record(desired, seen, &roster),
        volumes: volumes::status(desired, seen),
        waiting_on,
    };
    let first = status.cluster_id != before.cluster_id
        || status.bootstrap_members != before.bootstrap_members
        || status.placements != before.placements;
    StatusDraft {
        observations: observations(desired, seen, latch, plan),
        status,
        first,
    }
}

/// The status of one that is being deleted: what is left of it and what that waits for. The rest stays as it was.
#[must_use]
pub(crate) fn going(desired: &Desired, seen: &Observed, plan: &Plan) -> StatusDraft {
    let owned = || seen.pods.values().filter(|pod| pod.owned);
    let ready = owned().filter(|pod| pod.ready && !pod.terminating);
    let waiting_on = reasons(&plan.waiting);
    let status = InstanceSetStatus {
        observed_generation: desired.generation,
        replicas: i32::try_from(owned().count()).unwrap_or(0),
        ready_replicas: i32::try_from(ready.count()).unwrap_or(0),
        members_status: roles(desired, seen),
        message: waiting_on.first().map(|first| first.message.clone()),
        waiting_on,
        ..desired.recorded.clone()
    };
    StatusDraft {
        status,
        observations: Vec::new(),
        first: false,
    }
}

/// How many members the cluster begins or has begun with, once that is known.
fn init_replicas(bootstrap: &[String]) -> Option<i32> {
    let members = i32::try_from(bootstrap.len()).ok();
    members.filter(|members| *members > 0)
}

fn revisions(seen: &Observed) -> BTreeMap<String, String> {
    let pods = seen.pods.iter();
    pods.map(|(name, pod)| (name.clone(), pod.revision.clone()))
        .collect()
}

/// A malformed recorded ID is replaced once members report one; a valid one never changes.
fn cluster_id(desired: &Desired, latch: &Latch) -> Option<String> {
    latch
        .cluster
        .map(|id| id.to_string())
        .or_else(|| desired.recorded.cluster_id.clone())
}

/// Puts the next step of a recovery on record, before it is taken.
pub(crate) fn recover(plan: &mut Plan, desired: &Desired, recovery: Option<Recovery>) {
    if let Some(draft) = &mut plan.status {
        draft.first |= recovery != desired.recorded.recovery;
        draft.status.recovery = recovery;
    }
}

fn reasons(waiting: &[Waiting]) -> Vec<WaitingOn> {
    let mut all: Vec<WaitingOn> = Vec::new();
    for reason in waiting.iter().take(MOST_REASONS) {
        let new = WaitingOn {
            reason: reason.reason().to_owned(),
            message: message(reason),
        };
        if !all.contains(&new) {
            all.push(new);
        }
    }
    all
}

/// Notes a reason that came up while the plan was carried out, before those that the plan has.
pub(crate) fn hold(plan: &mut Plan, reason: Waiting) {
    plan.waiting.insert(0, reason);
    if let Some(draft) = &mut plan.status {
        let waiting_on = reasons(&plan.waiting);
        draft.status.message = waiting_on.first().map(|first| first.message.clone());
        draft.status.waiting_on = waiting_on;
    }
}

/// The text without figures that move by themselves: a status is not a progress bar (C6).
fn message(reason: &Waiting) -> String {
    match reason {
        Waiting::CatchingUp { pod, .. } => format!(
            "learner {pod} is catching up; one that never does, on a slow or small disk, is made again by an \
             OpsRequest RebuildInstance"
        ),
        other => other.to_string(),
    }
}

/// Ready pods with a declared role, leader first.
fn roles(desired: &Desired, seen: &Observed) -> Vec<MemberStatus> {
    let mut all: Vec<MemberStatus> = seen
        .pods
        .iter()
        .filter(|(_, pod)| pod.ready && !pod.terminating && pod.owned)
        .filter_map(|(name, pod)| {
            let role = pod.labels.get(labels::ROLE)?;
            let role: &ReplicaRole = desired.roles.iter().find(|known| known.name == *role)?;
            Some(MemberStatus {
                pod_name: name.clone(),
                role: role.clone(),
            })
        })
        .collect();
    all.sort_by_key(|member| {
        let ordinal = desired.name.ordinal(&member.pod_name);
        (std::cmp::Reverse(member.role.update_priority), ordinal)
    });
    all
}

/// What the leader's agent says of users; kept while none leads or the leader's agent is not asked.
fn accounts(desired: &Desired, seen: &Observed) -> Option<AccountsStatus> {
    let views = seen.pods.values().filter(|pod| pod.owned && pod.heard);
    let mut told = views.filter_map(|pod| pod.view.as_ref()?.accounts.as_ref());
    let bounded = |text: &String| text.chars().take(LONGEST_TEXT).collect();
    match told.next() {
        None => desired.recorded.accounts.clone(),
        Some(told) => Some(AccountsStatus {
            applied: told.applied.as_ref().map(bounded),
            fault: told.fault.as_ref().map(bounded),
        }),
    }
}

/// Members with their identifiers. Kept as they were while the list is not known.
fn members(desired: &Desired, seen: &Observed, latch: &Latch) -> Vec<KnownMember> {
    let Reading::Known(list) = roster::read(desired, seen, latch).members else {
        return desired.recorded.members.clone();
    };
    let version = |pod: Option<&String>, id: &str| {
        let status = pod.and_then(|pod| seen.pods.get(pod)?.status());
        let own = status.filter(|status| status.member_id.to_string() == id);
        let told = own.map(|status| status.version.clone());
        let known = || {
            let mut recorded = desired.recorded.members.iter();
            recorded
                .find(|known| known.member_id == id)?
                .version
                .clone()
        };
        told.filter(|version| !version.is_empty()).or_else(known)
    };
    let mut all: Vec<KnownMember> = list
        .into_iter()
        .map(|(pod, member)| {
            let member_id = member.id.to_string();
            KnownMember {
                version: version(pod.as_ref(), &member_id),
                v2_store: v2_store(
                    desired,
                    pod.as_ref().and_then(|pod| seen.pods.get(pod)),
                    &member_id,
                ),
                pod_name: pod.unwrap_or_default(),
                member_id,
                is_learner: member.is_learner,
            }
        })
        .collect();
    all.sort_by_key(|member| desired.name.ordinal(&member.pod_name));
    all
}

/// What the member's store of API v2 holds; as it was said last, while its agent is silent.
fn v2_store(desired: &Desired, pod: Option<&PodSeen>, id: &str) -> Option<V2StoreStatus> {
    let view = pod
        .filter(|pod| pod.heard)
        .and_then(|pod| pod.view.as_ref());
    let Some(view) = view else {
        let mut recorded = desired.recorded.members.iter();
        return recorded
            .find(|known| known.member_id == id)?
            .v2_store
            .clone();
    };
    let bounded = |text: &String| text.chars().take(LONGEST_TEXT).collect();
    view.v2_store.as_ref().map(|told| V2StoreStatus {
        clean: told.clean,
        message: told.message.as_ref().map(bounded),
    })
}

fn observations(
    desired: &Desired,
    seen: &Observed,
    latch: &Latch,
    plan: &Plan,
) -> Vec<Observation> {
    let lacking = |test: &dyn Fn(&PodSeen) -> bool| -> Vec<&str> {
        let good = |name: &String| {
            seen.pods
                .get(name)
                .is_some_and(|pod| !pod.terminating && test(pod))
        };
        desired
            .members
            .iter()
            .filter(|name| !good(name))
            .map(String::as_str)
            .collect()
    };
    let told = |kind, lacking: Vec<&str>, good: Reason| {
        let reason = if lacking.is_empty() {
            good
        } else {
            Reason::NotReady
        };
        let names = serde_json::to_string(&lacking).unwrap_or_default();
        let message = if lacking.is_empty() {
            String::new()
        } else {
            names
        };
        Observation::new(kind, lacking.is_empty(), reason, message)
    };
    let available = |pod: &PodSeen| pod.ready && pod.ready_seconds >= desired.min_ready_seconds;
    let mut all = vec![
        told(
            ConditionType::InstanceReady,
            lacking(&|pod| pod.ready),
            Reason::Ready,
        ),
        told(
            ConditionType::InstanceAvailable,
            lacking(&available),
            Reason::Available,
        ),
        failure(seen, plan),
        restricted(plan),
        quorate(desired, seen, latch, plan),
        consistent(latch),
        alarmed(desired, seen),
    ];
    all.extend(asked_class::observation(desired, seen));
    all.extend(tainted::observation(desired, seen));
    all
}

fn failure(seen: &Observed, plan: &Plan) -> Observation {
    let mut all: Vec<String> = seen
        .pods
        .iter()
        .filter(|(_, pod)| pod.age_seconds > FAILURE_AFTER && !pod.ready && !pod.terminating)
        .filter_map(|(name, pod)| Some(format!("pod {name}: {}", pod.broken.as_ref()?)))
        .collect();
    let grave = plan.waiting.iter().filter(|reason| {
        matches!(
            reason,
            Waiting::ForeignData { .. }
                | Waiting::DataLost(_)
                | Waiting::SeedFailed { .. }
                | Waiting::NotOurs { .. }
                | Waiting::LeftBehind(_)
                | Waiting::NoNode(_)
                | Waiting::PeerUrlChanged { .. }
                | Waiting::DomainChanged { .. }
                | Waiting::Disputed { .. }
                | Waiting::ClaimGoing(_)
        )
    });
    all.extend(grave.map(ToString::to_string));
    let reason = if all.is_empty() {
        Reason::Ready
    } else {
        Reason::InstanceFailure
    };
    Observation::new(
        ConditionType::InstanceFailure,
        !all.is_empty(),
        reason,
        all.join("; "),
    )
}

/// Whether the owner's strategy holds an update back.
fn restricted(plan: &Plan) -> Observation {
    let kind = ConditionType::InstanceUpdateRestricted;
    let mut waiting = plan.waiting.iter();
    match waiting.find(|why| matches!(why, Waiting::OnDelete(_) | Waiting::Restricted { .. })) {
        Some(why) => Observation::new(kind, true, Reason::UpdateRestricted, why.to_string()),
        None => Observation::new(kind, false, Reason::UpdateUnrestricted, ""),
    }
}

fn quorate(desired: &Desired, seen: &Observed, latch: &Latch, plan: &Plan) -> Observation {
    let told = |truth: Truth, reason, text: &str| {
        Observation::new(ConditionType::Quorate, truth, reason, text)
    };
    if let Some(lost) = plan
        .waiting
        .iter()
        .find(|reason| matches!(reason, Waiting::DataLost(_)))
    {
        return told(Truth::False, Reason::DataLost, &lost.to_string());
    }
    if !latch.bootstrapped() {
        let mut waiting = plan.waiting.iter();
        let broken = waiting.find(|why| matches!(why, Waiting::CannotRun { .. }));
        let why = broken.map_or(String::new(), |why| format!(": {why}"));
        let text = format!("the cluster has not formed yet{why}");
        return told(Truth::False, Reason::NotBootstrapped, &text);
    }
    if seen.members.known().is_some() {
        return told(Truth::True, Reason::QuorumPresent, "");
    }
    let voters = || {
        desired
            .recorded
            .members
            .iter()
            .filter(|member| !member.is_learner)
    };
    let known = voters().count();
    let gone: Vec<String> = voters()
        .filter_map(|member| why_dataless(desired, seen, &member.pod_name))
        .collect();
    if !gone.is_empty() && known - gone.len() < quorum(known) {
        let text = format!(
            "the data of {} of {known} voters is gone ({}): bring back nodes that have some, restore a backup, or continue \
             with one member (OpsRequest RecoverQuorum)",
            gone.len(),
            gone.join("; ")
        );
        return told(Truth::False, Reason::DataLost, &text);
    }
    if seen.pods.values().any(|pod| pod.denied().is_some()) {
        return told(Truth::Unknown, Reason::Unknown, NO_CREDENTIALS);
    }
    let taking_part = seen.pods.values().filter(|pod| pod.takes_part()).count();
    if known > 0 && taking_part < quorum(known) {
        let text = format!(
            "fewer than {} of {known} voters have a leader",
            quorum(known)
        );
        return told(Truth::False, Reason::QuorumLost, &text);
    }
    told(
        Truth::Unknown,
        Reason::Unknown,
        "the member list was not read",
    )
}

/// Why the data of a recorded voter is known to be gone, if it is (B6).
fn why_dataless(desired: &Desired, seen: &Observed, pod: &str) -> Option<String> {
    let mut claims = desired
        .claims
        .iter()
        .map(|template| names::claim(&template.name, pod));
    let gone = |claim: String| match seen.claims.get(&claim) {
        None => Some(format!("claim {claim} is gone")),
        Some(claim) => claim.lost.clone(),
    };
    let refused = seen.pods.get(pod).and_then(PodSeen::refused);
    let refused = refused.filter(|(code, _)| *code == "DataLost");
    claims
        .find_map(gone)
        .or_else(|| refused.map(|(_, message)| format!("pod {pod}: {message}")))
}

fn alarmed(desired: &Desired, seen: &Observed) -> Observation {
    let kind = ConditionType::AlarmRaised;
    let reason = match alarms::alarms(seen).first().map(|alarm| alarm.kind) {
        None => return Observation::new(kind, false, Reason::NoAlarm, ""),
        Some(AlarmKind::NoSpace) => Reason::NoSpace,
        Some(AlarmKind::Corrupt) => Reason::Corrupt,
    };
    Observation::new(kind, true, reason, alarms::told(desired, seen).join("; "))
}

fn consistent(latch: &Latch) -> Observation {
    let kind = ConditionType::ClusterIdConsistent;
    match latch.mismatch() {
        Some(mismatch) => {
            Observation::new(kind, false, Reason::ClusterIdMismatch, mismatch.to_string())
        }
        None => Observation::new(kind, true, Reason::ClusterIdMatches, ""),
    }
}
