//! Raft as the members tell it: one leader a term, terms that only grow, also those of answers, nothing applied that is
//! not committed, the same revision at the same applied index, and members that keep their identity.

use std::collections::BTreeMap;

use super::Case;
use super::applied;
use super::placement;
use super::proof::Known;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::index::Acked;
use crate::record::{MemberSample, RaftStatus};

/// Name of the check.
const CHECK: &str = "raft";

/// Samples in a row that must name the same leader, with entries applied meanwhile, before it is believed.
const CONFIRMED_SAMPLES: u32 = 3;

/// The last sample of a member.
struct Last<'a> {
    status: &'a RaftStatus,
    /// Its applied index was above its committed one, which one sample alone may show: the two are read in turn.
    ahead: bool,
}

/// The leader that a member names for a term.
struct Naming<'a> {
    term: u64,
    leader: &'a str,
    applied: u64,
    /// Samples in a row; 0 for one that is not believed whatever follows.
    samples: u32,
}

/// Judges the members' samples.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    leaders(case, &mut findings);
    progress(case, &mut findings);
    applied::check(case, &mut findings);
    identities(case, &mut findings);
    answers(case, &mut findings);
    let answered = case
        .index
        .members
        .iter()
        .filter(|sample| sample.status.is_some())
        .count();
    findings.count("samples", answered);
    if answered == 0 {
        findings.doubt("no member was ever sampled".to_owned());
    }
    findings.verdict(CHECK)
}

/// etcd answers a status with raft's newest leader beside the term of the newest entry applied. Right after an
/// election, and while a restarted member catches up, a new leader thus comes with an old term. So a naming counts only
/// when its member had applied all that any member was known to have applied, kept to it, and applied more under the
/// same term.
fn leaders(case: &Case<'_>, findings: &mut Findings) {
    let mut leaders: BTreeMap<u64, (&str, &MemberSample)> = BTreeMap::new();
    let mut named: BTreeMap<&str, Naming<'_>> = BTreeMap::new();
    let mut newest = 0;
    for (sample, status) in case.statuses() {
        let caught_up = status.applied_index >= newest;
        newest = newest.max(status.applied_index);
        let Some(leader) = status.leader.as_deref() else {
            continue;
        };
        let naming = named.entry(&status.member).or_insert(Naming {
            term: 0,
            leader,
            applied: 0,
            samples: 0,
        });
        if naming.term != status.term {
            let samples = u32::from(caught_up);
            *naming = Naming {
                term: status.term,
                leader,
                applied: status.applied_index,
                samples,
            };
        } else if naming.leader != leader {
            // The second leader that it names for a term is the one of the next term.
            *naming = Naming {
                leader,
                samples: 0,
                ..*naming
            };
        } else if naming.samples > 0 {
            naming.samples += 1;
        }
        if naming.samples < CONFIRMED_SAMPLES || status.applied_index <= naming.applied {
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

/// By member identity: a member that was replaced starts under another one.
fn progress(case: &Case<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<&str, Last<'_>> = BTreeMap::new();
    for (sample, status) in case.statuses() {
        let at = case.index.seconds(sample.t);
        let ahead = status.applied_index > status.raft_index;
        if let Some(before) = last.get(status.member.as_str()) {
            // The term of the newest entry applied: it falls with the index when a member starts again, never alone.
            if status.term < before.status.term
                && status.applied_index >= before.status.applied_index
            {
                findings.violation(
                    format!(
                        "{} went back from term {} to {} at {at:.6} s",
                        sample.pod, before.status.term, status.term
                    ),
                    Vec::new(),
                );
            }
            // A commit index that fell is a restart: both start again.
            let same_life = status.raft_index >= before.status.raft_index;
            if same_life && before.ahead && ahead && status.raft_index < before.status.applied_index
            {
                findings.violation(
                    format!(
                        "{} has applied index {} and committed {} at {at:.6} s",
                        sample.pod, status.applied_index, status.raft_index
                    ),
                    Vec::new(),
                );
            }
        }
        last.insert(&status.member, Last { status, ahead });
    }
}

/// Whatever has a place in the order of revisions was applied behind an entry of the term in its header, so that those
/// terms never go back, whichever member answers.
fn answers(case: &Case<'_>, findings: &mut Findings) {
    let mut known = Known::default();
    let term = |acked: Acked<'_>| i64::try_from(acked.term).unwrap_or(i64::MAX);
    let placed = || {
        case.index.ops.iter().filter_map(|op| {
            let acked = op.acked()?;
            placement::part(&op.call.request, acked.response)?;
            Some((op, acked))
        })
    };
    for (op, acked) in placed() {
        known.add(op.certain_by(), term(acked));
    }
    for (op, acked) in placed().filter(|(op, acked)| known.before(op.call.t) > term(*acked)) {
        // By the lines as well as by the times: several processes write.
        let newer = placed()
            .find(|(other, newer)| newer.term > acked.term && other.certain().before(op.begin()));
        if let Some((other, newer)) = newer {
            let told = format!(
                "{} was answered in term {}, after {} in term {}",
                words::op(case.index, op),
                acked.term,
                words::op(case.index, other),
                newer.term
            );
            findings.violation(told, vec![op.id(), other.id()]);
        }
    }
}

fn identities(case: &Case<'_>, findings: &mut Findings) {
    let mut of_pod: BTreeMap<&str, &str> = BTreeMap::new();
    let mut of_member: BTreeMap<&str, &str> = BTreeMap::new();
    for (sample, status) in case.statuses() {
        let at = case.index.seconds(sample.t);
        let before = of_pod.insert(&sample.pod, &status.member);
        if before.is_some_and(|before| before != status.member)
            && !case.expectations.replaced_members.contains(&sample.pod)
        {
            let before = before.unwrap_or_default();
            findings.violation(
                format!(
                    "{} became member {} at {at:.6} s, it was {before}",
                    sample.pod, status.member
                ),
                Vec::new(),
            );
        }
        let other = *of_member.entry(&status.member).or_insert(&sample.pod);
        if other != sample.pod {
            findings.violation(
                format!(
                    "{} and {other} are both member {} at {at:.6} s",
                    sample.pod, status.member
                ),
                Vec::new(),
            );
        }
    }
    findings.count("members_seen", of_pod.len());
}
