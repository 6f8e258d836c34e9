//! Raft as the members tell it: one leader a term, terms that only grow, nothing applied that is not committed, and
//! members that keep their identity.

use std::collections::BTreeMap;

use super::Case;
use super::verdict::{Findings, Verdict};
use crate::record::{MemberSample, RaftStatus};

/// Name of the check.
const CHECK: &str = "raft";

/// The last sample of a member.
struct Last<'a> {
    status: &'a RaftStatus,
    /// Its applied index was above its committed one, which one sample alone may show: the two are read in turn.
    ahead: bool,
}

/// Judges the members' samples.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    leaders(case, &mut findings);
    progress(case, &mut findings);
    identities(case, &mut findings);
    let answered = case.index.members.iter().filter(|sample| sample.status.is_some()).count();
    findings.count("samples", answered);
    if answered == 0 {
        findings.doubt("no member was ever sampled".to_owned());
    }
    findings.verdict(CHECK)
}

fn samples<'c, 'a>(case: &'c Case<'a>) -> impl Iterator<Item = (&'a MemberSample, &'a RaftStatus)> + 'c {
    case.index.members.iter().filter_map(|sample| {
        let sample: &'a MemberSample = sample;
        Some((sample, sample.status.as_ref()?))
    })
}

/// A member that names a second leader for a term is not believed: etcd answers a status with raft's newest leader and
/// the term of the newest entry applied, so right after an election the new leader comes with the old term. Two
/// leaders of one term show as two members that each name their own.
fn leaders(case: &Case<'_>, findings: &mut Findings) {
    let mut leaders: BTreeMap<u64, (&str, &MemberSample)> = BTreeMap::new();
    let mut named: BTreeMap<(&str, u64), &str> = BTreeMap::new();
    for (sample, status) in samples(case) {
        let Some(leader) = status.leader.as_deref() else { continue };
        if *named.entry((&status.member, status.term)).or_insert(leader) != leader {
            continue;
        }
        let (first, by) = *leaders.entry(status.term).or_insert((leader, sample));
        if first != leader {
            findings.violation(
                format!(
                    "term {} has two leaders: {first} as {} says at {:.6} s, {leader} as {} says at {:.6} s",
                    status.term,
                    by.pod,
                    case.index.seconds(by.t),
                    sample.pod,
                    case.index.seconds(sample.t)
                ),
                Vec::new(),
            );
        }
    }
    findings.count("terms_with_a_leader", leaders.len());
}

/// By member identity: a member that was replaced begins anew under another one.
fn progress(case: &Case<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<&str, Last<'_>> = BTreeMap::new();
    for (sample, status) in samples(case) {
        let at = case.index.seconds(sample.t);
        let ahead = status.applied_index > status.raft_index;
        if let Some(before) = last.get(status.member.as_str()) {
            if status.term < before.status.term {
                findings.violation(
                    format!("{} went back from term {} to {} at {at:.6} s", sample.pod, before.status.term, status.term),
                    Vec::new(),
                );
            }
            // A commit index that fell is a restart: both begin anew.
            let same_life = status.raft_index >= before.status.raft_index;
            if same_life && before.ahead && ahead && status.raft_index < before.status.applied_index {
                findings.violation(
                    format!("{} has applied index {} and committed {} at {at:.6} s", sample.pod, status.applied_index, status.raft_index),
                    Vec::new(),
                );
            }
        }
        last.insert(&status.member, Last { status, ahead });
    }
}

fn identities(case: &Case<'_>, findings: &mut Findings) {
    let mut of_pod: BTreeMap<&str, &str> = BTreeMap::new();
    let mut of_member: BTreeMap<&str, &str> = BTreeMap::new();
    for (sample, status) in samples(case) {
        let at = case.index.seconds(sample.t);
        let before = of_pod.insert(&sample.pod, &status.member);
        if before.is_some_and(|before| before != status.member) && !case.expectations.replaced_members.contains(&sample.pod) {
            let before = before.unwrap_or_default();
            findings.violation(format!("{} became member {} at {at:.6} s, it was {before}", sample.pod, status.member), Vec::new());
        }
        let other = *of_member.entry(&status.member).or_insert(&sample.pod);
        if other != sample.pod {
            findings.violation(format!("{} and {other} are both member {} at {at:.6} s", sample.pod, status.member), Vec::new());
        }
    }
    findings.count("members_seen", of_pod.len());
}
