//! Leadership stays, or moves as often as planned: what need not elect costs no election.
//!
//! A term begins with every election, also with the one of a planned move. So the terms that began in a round say how
//! often leadership moved, whatever the clients saw of it, on any machine. How often it may is what the scenario says.
//! Where it says nothing, the death of a follower moves no leadership: the leader and the others are a quorum without
//! it, and etcd asks before it votes (PreVote), so that one that comes back does not disturb them.

use super::Case;
use super::rounds::{Round, rounds};
use super::verdict::{Findings, Verdict};
use crate::index::FaultWindow;
use crate::record::{Nanos, RaftStatus};

/// Name of the check.
const CHECK: &str = "elections";
/// The fault that kills one process and nothing else.
const KILL: &str = "kill_process";

/// Judges how many terms began in each round that has a limit; absent where none has.
pub(super) fn check(case: &Case<'_>) -> Option<Verdict> {
    let mut findings = Findings::default();
    let mut terms: Vec<(Nanos, u64)> = statuses(case).map(|(t, status)| (t, status.term)).collect();
    terms.sort_unstable();
    let mut judged = 0;
    for round in rounds(case.index) {
        let Some((most, why)) = limit(case, &round) else {
            continue;
        };
        judged += 1;
        let Round { number, window, .. } = round;
        let begin = terms.partition_point(|(t, _)| *t < window.from);
        let end = terms.partition_point(|(t, _)| *t <= window.to);
        let highest = |samples: &[(Nanos, u64)]| samples.iter().map(|(_, term)| *term).max();
        let (Some(before), Some(after)) = (highest(&terms[..begin]), highest(&terms[begin..end]))
        else {
            findings.doubt(format!(
                "no member told its term before and in round {number}"
            ));
            continue;
        };
        let began = after.saturating_sub(before);
        let count = usize::try_from(began).unwrap_or(usize::MAX);
        findings.count(format!("round_{number}.terms"), count);
        if began > most {
            findings.violation(
                format!(
                    "leadership moved {began} times in round {number} (from term {before} to {after}), {why}"
                ),
                Vec::new(),
            );
        }
    }
    (judged > 0 || case.expectations.terms_per_round.is_some()).then(|| findings.verdict(CHECK))
}

/// Most terms that may begin in a round, and why, in words.
fn limit(case: &Case<'_>, round: &Round) -> Option<(u64, String)> {
    match case.expectations.terms_per_round {
        Some(0) => return Some((0, "it must stay".to_owned())),
        Some(most) => return Some((most, format!("{most} is allowed"))),
        None => {}
    }
    let [number] = round.faults.as_slice() else {
        return None;
    };
    let mut faults = case.index.faults.iter();
    let fault = faults.find(|fault| fault.fault == *number)?;
    let why = || format!("{} was killed, which did not lead", fault.target);
    kills_a_follower(case, fault).then(|| (0, why()))
}

fn statuses<'c, 'a>(case: &'c Case<'a>) -> impl Iterator<Item = (Nanos, &'a RaftStatus)> + 'c {
    let samples = case.index.members.iter().copied();
    samples.filter_map(|sample| Some((sample.t, sample.status.as_ref()?)))
}

/// True when a follower's process was killed and nothing else was done; false when it led, or when no sample tells.
fn kills_a_follower(case: &Case<'_>, fault: &FaultWindow<'_>) -> bool {
    if fault.name != KILL || case.expectations.members < 3 {
        return false;
    }
    let before = statuses(case).filter(|(t, _)| *t < fault.from);
    let newest = before
        .map(|(_, status)| status)
        .max_by_key(|status| status.term);
    let pods = case.index.pods_by_member();
    let leader = newest.and_then(|status| pods.get(status.leader.as_deref()?));
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
    let named = |pod: &str| fault.target.split(word).any(|part| part == pod);
    leader.is_some_and(|leader| !named(leader))
}
