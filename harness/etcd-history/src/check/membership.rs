//! Changes of membership, as member lists tell them: one at a time, each member joining without a vote, none coming
//! back, one cluster. And as the members report it: one that lost its data does not come back under its identity, since
//! it has forgotten what it voted for.
//!
//! Lists are looked at a few times a second, so a state that lasts shorter may be missed; what two lists together
//! cannot hold is judged as strictly as what one cannot. Where they are far apart, members may have joined between them
//! one after the other, unseen: then it is not known how, and nothing is proved. Nor is it where no list was read for
//! long in an operation although members answered.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::verdict::{Findings, Verdict};
use crate::index::FaultWindow;
use crate::record::{FaultStep, ListedMember, MemberSample, MembershipRecord, Nanos};

/// Name of the check.
const CHECK: &str = "membership";
/// Two lists that are no further apart leave no time for a member to be added, to catch up and to get its vote, twice
/// or unseen: a learner starts, and is asked for its progress until it is near the leader's.
const NEAR_NS: Nanos = 1_000_000_000;
/// Longest time without a list in a run that changes the membership, while members name a leader. Lists are read four
/// times a second, and where reading worked no run at hand had more than 1.3 s between two; a member without its peers
/// answers after seven.
const BLIND_NS: Nanos = 10_000_000_000;
/// The fault that takes a part of the control plane away.
const API_SERVER: &str = "control_plane";
/// The fault that takes a member's data.
const LOSE_DATA: &str = "lose_data";

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
    let mut learners: BTreeSet<&str> = BTreeSet::new();
    let mut unseen = 0;
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
            unseen += voters(before, list, &learners, (&told, &mut findings));
            let here: BTreeSet<&str> = list.members.iter().map(|m| m.id.as_str()).collect();
            let left = before.members.iter().map(|m| m.id.as_str());
            gone.extend(left.filter(|id| !here.contains(id)));
        }
        let without_vote = list.members.iter().filter(|member| member.learner);
        learners.extend(without_vote.map(|member| member.id.as_str()));
    }
    findings.count("votes_given_unseen", unseen);
    if unseen > 0 {
        findings.doubt(format!(
            "{unseen} members have a vote, and no list shows how they got it"
        ));
    }
    if wanted > 0 {
        blind(case, &mut findings);
    }
    lost(case, &mut findings);
    findings.verdict(CHECK)
}

/// Votes are given one at a time, and to learners (M2). Gives the number of members that got theirs unseen.
fn voters(
    before: &MembershipRecord,
    list: &MembershipRecord,
    learners: &BTreeSet<&str>,
    (told, findings): (&dyn Fn(String) -> String, &mut Findings),
) -> usize {
    let had = |id: &str| before.members.iter().any(|m| m.id == id && !m.learner);
    let new = list.members.iter().filter(|m| !m.learner && !had(&m.id));
    let new: Vec<&str> = new.map(|member| member.id.as_str()).collect();
    let sprung = || new.iter().filter(|id| !learners.contains(**id));
    if list.t.saturating_sub(before.t) > NEAR_NS {
        return sprung().count();
    }
    if new.len() > 1 {
        let wrong = format!("members {} got their votes at once", new.join(" and "));
        findings.violation(told(wrong), Vec::new());
    }
    for member in sprung() {
        let wrong = format!("member {member} has a vote and never was a learner");
        findings.violation(told(wrong), Vec::new());
    }
    0
}

/// No list was read for long in an operation or a fault, while members answered. They are read through the API server:
/// without it there is none.
fn blind(case: &Case<'_>, findings: &mut Findings) {
    let lists = case.index.lists.iter().map(|list| list.t);
    let ends: Vec<Nanos> = lists.chain([case.index.end]).collect();
    let healed = |fault: &FaultWindow<'_>| fault.healed.unwrap_or(case.index.end);
    let faults = case.index.faults.iter();
    let (away, faults): (Vec<_>, Vec<_>) = faults.partition(|fault| fault.name == API_SERVER);
    for pair in ends.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let unread = away
            .iter()
            .any(|fault| fault.from <= to && healed(fault) >= from);
        if unread || to.saturating_sub(from) <= BLIND_NS {
            continue;
        }
        for fault in &faults {
            let (from, to) = (from.max(fault.from), to.min(healed(fault)));
            if led(case, from, to) > BLIND_NS {
                findings.doubt(format!(
                    "no member list was read from {:.3} s to {:.3} s, in {} of {}, while members answered",
                    case.index.seconds(from),
                    case.index.seconds(to),
                    fault.name,
                    fault.target
                ));
            }
        }
    }
}

/// The longest part of a time in which members answered all along that there is a leader.
fn led(case: &Case<'_>, from: Nanos, to: Nanos) -> Nanos {
    let samples = case.statuses();
    let samples = samples
        .filter(|(sample, status)| status.leader.is_some() && (from..=to).contains(&sample.t));
    let (mut longest, mut since, mut before) = (0, from, Nanos::MIN);
    for (sample, _) in samples {
        if sample.t.saturating_sub(before) > NEAR_NS {
            since = sample.t;
        }
        before = sample.t;
        longest = longest.max(before.saturating_sub(since));
    }
    longest
}

/// A member whose data was taken is another member from then on. What answers for another member on its address is not
/// it.
fn lost(case: &Case<'_>, findings: &mut Findings) {
    let samples = || {
        let samples = case.statuses();
        samples.map(|(sample, status)| (sample, status.member.as_str()))
    };
    let mut judged = 0;
    for fault in &case.index.faults {
        let Some(healed) = fault.healed else { continue };
        if fault.name != LOSE_DATA || !fault.has(FaultStep::Effective) {
            continue;
        }
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
        let pods: BTreeSet<&str> = fault.target.split(word).collect();
        let of_target = |(sample, _): &(&MemberSample, &str)| pods.contains(sample.pod.as_str());
        let before: BTreeSet<&str> = samples()
            .filter(|(sample, _)| sample.t < fault.from)
            .filter(of_target)
            .map(|(_, member)| member)
            .collect();
        judged += before.len();
        let back = samples()
            .filter(|(sample, _)| sample.t > healed)
            .filter(of_target)
            .find(|(_, member)| before.contains(member));
        if let Some((sample, member)) = back {
            let told = format!(
                "{} lost its data at {:.3} s and is still member {member} at {:.3} s",
                sample.pod,
                case.index.seconds(fault.from),
                case.index.seconds(sample.t)
            );
            findings.violation(told, Vec::new());
        }
    }
    findings.count("members_that_lost_their_data", judged);
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
