//! Rules for the care of databases (D7, D8, D15).

use kbagent_protocol::{Alarm, AlarmKind, MemberStatus};

use super::lint::{Lint, Violation};
use crate::instanceset::observed::PodSeen;
use crate::instanceset::plan::Step;

/// Finds rules that a step breaks.
pub(super) fn check(lint: &Lint<'_>, step: &Step, found: &mut Vec<Violation>) {
    match step {
        Step::Compact { .. } => {
            let full = |status: &MemberStatus| {
                status
                    .raised()
                    .any(|alarm| alarm.kind == AlarmKind::NoSpace)
            };
            if !statuses(lint).any(full) {
                found.push("D7: history is compacted and no member is out of space".to_owned());
            }
        }
        Step::Defragment { via, request } => {
            defragment(lint, &via.pod, found);
            if let Some(request) = request {
                answers(lint, &via.pod, request, found);
            }
        }
        Step::Disarm { alarm, .. } => disarm(lint, *alarm, found),
        _ => {}
    }
}

fn statuses<'a>(lint: &Lint<'a>) -> impl Iterator<Item = &'a MemberStatus> {
    lint.seen.pods.values().filter_map(PodSeen::status)
}

/// A defragmentation stops its member for a while: all others must be there.
fn defragment(lint: &Lint<'_>, pod: &str, found: &mut Vec<Violation>) {
    let members = lint.members().unwrap_or_default();
    let away = members.iter().filter(|m| !lint.takes_part(m)).count();
    let learners = members.iter().filter(|m| m.is_learner).count();
    if members.is_empty() || away + learners > 0 {
        found.push(format!(
            "D8: {pod} is defragmented while {away} are unavailable and {learners} learn"
        ));
    }
    let status = lint.seen.pods.get(pod).and_then(PodSeen::status);
    let leads = status.is_some_and(|status| status.leader_id == Some(status.member_id));
    if leads && members.len() > 1 {
        found.push(format!("D8: {pod} is defragmented while it leads"));
    }
    // Labels, references, the service that is there and the size of a volume stop no member.
    let touches = |step: &&Step| match step {
        Step::ApplyService(_) => lint.seen.service.is_none(),
        Step::GrowClaim { .. }
        | Step::Relabel { .. }
        | Step::BindClaim { .. }
        | Step::ReleaseClaim { .. } => false,
        _ => true,
    };
    if lint.plan.steps.iter().filter(touches).count() > 1 {
        found.push(format!("D8: {pod} is defragmented beside other steps"));
    }
}

/// What was not asked for is not done in an owner's name, and what was done is not done again.
fn answers(lint: &Lint<'_>, pod: &str, request: &str, found: &mut Vec<Violation>) {
    let wish = lint.desired.defragmentation.as_ref();
    let meant = wish
        .is_some_and(|wish| wish.token == request && wish.pods.iter().any(|named| named == pod));
    let view = lint.seen.pods.get(pod).and_then(|pod| pod.view.as_ref());
    let last = view.and_then(|view| view.care.last.as_ref());
    if !meant || last.is_some_and(|last| last.request == request) {
        found.push(format!(
            "D8: {pod} is defragmented for a request that does not name it, or that is done"
        ));
    }
}

fn disarm(lint: &Lint<'_>, alarm: Alarm, found: &mut Vec<Violation>) {
    let members = lint.members().unwrap_or_default();
    let is_member = members.iter().any(|member| member.id == alarm.member);
    let is_full = |status: &MemberStatus| {
        let quota = status.db_quota_bytes;
        quota.is_some_and(|quota| status.db_size_bytes >= quota)
    };
    match alarm.kind {
        AlarmKind::Corrupt if is_member || members.is_empty() || alarm.member.0 == 0 => {
            found.push(format!(
                "D15: the alarm goes while {} is a member with other data, or unknown",
                alarm.member
            ));
        }
        AlarmKind::NoSpace if statuses(lint).any(is_full) => {
            found.push("D7: the alarm goes while a database is full".to_owned());
        }
        _ => {}
    }
}
