//! The rule for members that move to another storage class (M21).

use etcd_operator_api::names;
use kbagent_protocol::{AlarmKind, Id, Member};

use super::lint::{Lint, Violation};
use crate::instanceset::observed::PodSeen;
use crate::instanceset::plan::Step;

/// A member that is removed for nothing but the class of its claims: nothing else is done, and all others are there.
pub(super) fn check(lint: &Lint<'_>, pod: &str, id: Id, found: &mut Vec<Violation>) {
    let members = lint.members().unwrap_or_default();
    let votes = members.iter().any(|m| m.id == id && !m.is_learner);
    if !votes || !is_elsewhere(lint, pod) || has_another_reason(lint, pod, id) {
        return;
    }
    let mut wrong = |what: &str| found.push(format!("M21: {pod} moves, and {what}"));
    let whole = |other: &String| {
        let there = lint.seen.pods.get(other);
        there.is_some_and(|there| there.ready && !there.terminating)
    };
    if let Some(other) = lint.desired.members.iter().find(|other| !whole(other)) {
        wrong(&format!("{other} is not ready"));
    }
    let takes_part = |m: &Member| !m.is_learner && lint.takes_part(m);
    if members.len() != lint.desired.members.len() || !members.iter().all(takes_part) {
        wrong("the members are not those that are wanted, or do not all take part with a vote");
    }
    let status = lint.seen.pods.get(pod).and_then(PodSeen::status);
    if status.is_some_and(|status| status.leader_id == Some(status.member_id)) {
        wrong("it leads");
    }
    // Labels, references and the service that is there stop no member.
    let touches = |step: &&Step| match step {
        Step::ApplyService(_) => lint.seen.service.is_none(),
        Step::Relabel { .. } | Step::BindClaim { .. } | Step::ReleaseClaim { .. } => false,
        _ => true,
    };
    if lint.plan.steps.iter().filter(touches).count() > 1 {
        wrong("something else is done");
    }
}

/// Whether a claim of the pod is not of the class that its template names.
fn is_elsewhere(lint: &Lint<'_>, pod: &str) -> bool {
    lint.desired.claims.iter().any(|template| {
        let claim = lint.seen.claims.get(&names::claim(&template.name, pod));
        claim.is_some_and(|claim| lint.moves(template, claim))
    })
}

/// Whether the member would be removed whatever the class of its claims: it is not wanted, its data is gone or wrong,
/// or a rebuild was requested.
fn has_another_reason(lint: &Lint<'_>, pod: &str, id: Id) -> bool {
    let spoiled = lint.desired.claims.iter().any(|template| {
        let claim = lint.seen.claims.get(&names::claim(&template.name, pod));
        claim.is_none_or(|claim| {
            claim.terminating || claim.lost.is_some() || claim.retired() || claim.to_rebuild()
        })
    });
    let mut told = lint.seen.pods.values().filter_map(PodSeen::status);
    let corrupt = told.any(|status| {
        let mut alarms = status.raised();
        alarms.any(|alarm| alarm.kind == AlarmKind::Corrupt && alarm.member == id)
    });
    let refused = lint.seen.pods.get(pod).and_then(PodSeen::refused);
    spoiled || corrupt || refused.is_some() || !lint.desired.wants(pod)
}
