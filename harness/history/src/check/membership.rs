//! Changes of membership, as member lists tell them: one at a time, each member joining without a vote, nobody coming
//! back, one cluster.
//!
//! Lists are looked at a few times a second, so a state that lasts shorter may be missed; what two lists together cannot
//! hold is judged as strictly as what one cannot.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::verdict::{Findings, Verdict};
use crate::record::{ListedMember, MembershipRecord};

/// Name of the check.
const CHECK: &str = "membership";

/// Judges the member lists.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let lists = &case.index.lists;
    findings.count("member_lists", lists.len());
    let wanted = case.expectations.member_lists as usize;
    if lists.len() < wanted {
        findings.doubt(format!(
            "{} member lists were read, {wanted} are needed",
            lists.len()
        ));
    }
    let mut gone: BTreeSet<&str> = BTreeSet::new();
    for (at, list) in lists.iter().enumerate() {
        let told = |wrong: String| format!("at {:.3} s {wrong}", case.index.seconds(list.t));
        one_change(list, &told, &mut findings);
        for member in &list.members {
            if gone.contains(member.id.as_str()) {
                let wrong = format!("member {} is back after it was removed", member.id);
                findings.violation(told(wrong), Vec::new());
            }
        }
        if let Some(before) = at.checked_sub(1).map(|at| lists[at]) {
            follows(before, list, &told, &mut findings);
            let here: BTreeSet<&str> = list.members.iter().map(|m| m.id.as_str()).collect();
            let left = before.members.iter().map(|m| m.id.as_str());
            gone.extend(left.filter(|id| !here.contains(id)));
        }
    }
    findings.verdict(CHECK)
}

/// At most one member is on its way (M1).
fn one_change(list: &MembershipRecord, told: &dyn Fn(String) -> String, findings: &mut Findings) {
    let on_its_way = |member: &&ListedMember| member.learner || member.name.is_empty();
    let pending: Vec<&str> = list
        .members
        .iter()
        .filter(on_its_way)
        .map(|member| member.id.as_str())
        .collect();
    if pending.len() > 1 {
        let wrong = format!("members {} are joining at once", pending.join(" and "));
        findings.violation(told(wrong), Vec::new());
    }
}

/// What one list cannot say after the other.
fn follows(
    before: &MembershipRecord,
    list: &MembershipRecord,
    told: &dyn Fn(String) -> String,
    findings: &mut Findings,
) {
    if before.cluster != list.cluster {
        let wrong = format!("cluster {} has become {}", before.cluster, list.cluster);
        findings.violation(told(wrong), Vec::new());
    }
    let known: BTreeMap<&str, &ListedMember> =
        before.members.iter().map(|m| (m.id.as_str(), m)).collect();
    for member in &list.members {
        if let Some(earlier) = known.get(member.id.as_str())
            && member.learner
            && !earlier.learner
        {
            let wrong = format!("voter {} has become a learner", member.id);
            findings.violation(told(wrong), Vec::new());
        }
    }
}
