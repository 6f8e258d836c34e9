//! Raft as the members tell it: one leader a term, which has a vote, terms that only grow, also those of answers, which
//! are behind no term that a member reported before, nothing answered by learners but reads that may be old, nothing
//! applied that is not committed, the same revision and term at the same applied index, and members that keep their
//! identity.

use std::collections::BTreeMap;

use super::Case;
use super::applied;
use super::placement;
use super::proof::Known;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::index::Moment;
use crate::record::{MemberSample, RaftStatus, Record};

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
    without_a_vote(case, &mut findings);
    answered_without_a_vote(case, &mut findings);
    progress(case, &mut findings);
    applied::check(case, &mut findings);
    applied::terms(case, &mut findings);
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

/// A member without a vote is not elected. etcd's raft knows of a vote a moment before its list of members does, and
/// with a snapshot as much sooner as that takes to be loaded, but nothing is applied between the two. So a member is
/// believed when it says several times in a row that it leads as a learner, and has applied more meanwhile.
fn without_a_vote(case: &Case<'_>, findings: &mut Findings) {
    let mut leading: BTreeMap<&str, (u64, u32)> = BTreeMap::new();
    for (sample, status) in case.statuses() {
        let (member, applied) = (status.member.as_str(), status.applied_index);
        if !status.learner || status.leader.as_deref() != Some(member) {
            leading.remove(member);
            continue;
        }
        let (first, samples) = leading.entry(member).or_insert((applied, 0));
        if applied < *first {
            // It has started again.
            (*first, *samples) = (applied, 0);
        }
        *samples += 1;
        if *samples >= CONFIRMED_SAMPLES && applied > *first {
            findings.violation(
                format!(
                    "{} (member {member}) leads term {} as a learner at {:.6} s",
                    sample.pod,
                    status.term,
                    case.index.seconds(sample.t)
                ),
                Vec::new(),
            );
            return;
        }
    }
}

/// A learner serves nothing but reads that may be old. One that says it is a learner is asked for that behind its
/// status before, and a vote is never lost: until then it had none.
fn answered_without_a_vote(case: &Case<'_>, findings: &mut Findings) {
    let mut asked: BTreeMap<&str, Moment> = BTreeMap::new();
    let mut until: BTreeMap<&str, Moment> = BTreeMap::new();
    let lines = (0..).zip(case.index.records);
    let lines = lines.filter(|(_, record)| matches!(record, Record::Member(_)));
    for ((at, _), (sample, status)) in lines.zip(case.samples()) {
        let before = asked.insert(&sample.pod, Moment { t: sample.t, at });
        if let Some((status, before)) = status.zip(before)
            && status.learner
        {
            until.insert(&status.member, before);
        }
    }
    let mut answered = case.index.ops.iter().filter_map(|op| {
        let member = op.acked()?.member;
        let until = *until.get(member)?;
        let served = !placement::local(&op.call.request) && op.certain().before(until);
        served.then_some((op, member, until))
    });
    if let Some((op, member, until)) = answered.next() {
        let told = words::op(case.index, op);
        let at = case.index.seconds(until.t);
        let why = format!("{told} was answered by member {member}, a learner at {at:.6} s still");
        findings.violation(why, vec![op.id()]);
    }
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

/// A term that had begun when a member answered, as its status tells.
struct Told<'a> {
    by: Moment,
    term: u64,
    pod: &'a str,
    /// The leader that it names and the one that it named before, where that tells it.
    leaders: Option<(&'a str, &'a str)>,
}

impl Told<'_> {
    fn words(&self, case: &Case<'_>) -> String {
        let at = case.index.seconds(self.by.t);
        let how = self.leaders.map_or_else(String::new, |(leader, former)| {
            format!(", since it named {leader}, and {former} before")
        });
        format!("{} reported term {} at {at:.6} s{how}", self.pod, self.term)
    }
}

/// The leader that a member names, and the term that this one has at least.
struct Reign<'a> {
    leader: &'a str,
    term: u64,
    /// The term of the last status, which may be torn: the next leader's, read behind the name of this one.
    last: u64,
}

/// The terms that statuses report: that of the newest entry applied and, where a member names another leader than
/// before, one above that of the former.
fn told<'a>(case: &Case<'a>) -> Vec<Told<'a>> {
    let lines = (0..).zip(case.index.records);
    let lines = lines.filter(|(_, record)| matches!(record, Record::Member(_)));
    let mut reigns: BTreeMap<&str, Reign<'_>> = BTreeMap::new();
    let mut told = Vec::new();
    for ((at, _), (sample, status)) in lines.zip(case.samples()) {
        let Some(status) = status else { continue };
        let (t, pod) = (sample.t, sample.pod.as_str());
        let mut now = Told {
            by: Moment { t, at },
            term: status.term,
            pod,
            leaders: None,
        };
        if let Some(leader) = status.leader.as_deref() {
            let reign = reigns.entry(&status.member).or_insert(Reign {
                leader,
                term: 0,
                last: 0,
            });
            if reign.leader == leader {
                reign.term = reign.term.max(reign.last);
            } else if reign.term > 0 {
                reign.term = reign.term.saturating_add(1);
                if reign.term > now.term {
                    (now.term, now.leaders) = (reign.term, Some((leader, reign.leader)));
                }
            }
            (reign.leader, reign.last) = (leader, status.term);
        }
        told.push(now);
    }
    told
}

/// Whatever has a place in the order of revisions was applied behind an entry of the term in its header, so that those
/// terms never go back, whichever member answers; nor are they behind what a member had reported before.
fn answers(case: &Case<'_>, findings: &mut Findings) {
    let mut known = Known::default();
    let signed = |term: u64| i64::try_from(term).unwrap_or(i64::MAX);
    let placed = || {
        case.index.ops.iter().filter_map(|op| {
            let acked = op.acked()?;
            placement::part(&op.call.request, acked.response)?;
            Some((op, acked))
        })
    };
    let told = told(case);
    let answered = placed().map(|(op, acked)| (op.certain_by(), acked.term));
    for (t, term) in answered.chain(told.iter().map(|told| (told.by.t, told.term))) {
        known.add(t, signed(term));
    }
    // By the lines as well as by the times: several processes write.
    let mut late = placed().filter(|(op, acked)| known.before(op.call.t) > signed(acked.term));
    let first = late.find_map(|(op, acked)| {
        let status =
            (told.iter()).find(|told| told.term > acked.term && told.by.before(op.begin()));
        let status = status.map(|told| (told.words(case), None));
        let answer = || {
            let (other, newer) = placed().find(|(other, newer)| {
                newer.term > acked.term && other.certain().before(op.begin())
            })?;
            let words = words::op(case.index, other);
            Some((format!("{words} in term {}", newer.term), Some(other.id())))
        };
        Some((op, acked, status.or_else(answer)?))
    });
    if let Some((op, acked, (behind, other))) = first {
        let words = words::op(case.index, op);
        let why = format!(
            "{words} was answered in term {}, after {behind}",
            acked.term
        );
        findings.violation(why, [op.id()].into_iter().chain(other).collect());
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
