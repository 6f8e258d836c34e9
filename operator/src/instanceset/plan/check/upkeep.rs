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
        Step::Defragment { via } => defragment(lint, &via.pod, found),
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
    if lint.plan.steps.len() > 1 {
        found.push(format!("D8: {pod} is defragmented beside other steps"));
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
