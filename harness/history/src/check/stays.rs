//! The death of a follower moves no leadership: the leader and the others are a quorum without it, and etcd asks before
//! it votes (PreVote), so that one that comes back does not disturb them.
//!
//! Told from the history itself, for scenarios that do not say how often leadership may move.

use super::Case;
use super::rounds::{Round, rounds};
use super::verdict::{Findings, Verdict};
use crate::index::FaultWindow;
use crate::record::{Nanos, RaftStatus};

/// Name of the check.
const CHECK: &str = "leader_stays";
/// The fault that kills one process and nothing else.
const KILL: &str = "kill_process";

/// Judges every round in which one process of a follower was killed and nothing else was done; absent without one.
pub(super) fn check(case: &Case<'_>) -> Option<Verdict> {
    let mut findings = Findings::default();
    let mut judged = 0;
    for Round { window, faults, .. } in rounds(case.index) {
        let [number] = faults.as_slice() else {
            continue;
        };
        let fault = case
            .index
            .faults
            .iter()
            .find(|fault| fault.fault == *number);
        let Some((fault, leader)) = fault.and_then(|fault| Some((fault, follower(case, fault)?)))
        else {
            continue;
        };
        judged += 1;
        let later = statuses(case).filter(|(t, _)| *t >= window.from && *t <= window.to);
        let Some((t, term)) = later
            .map(|(t, status)| (t, status.term))
            .find(|(_, term)| *term > leader.term)
        else {
            continue;
        };
        let told = format!(
            "{} was killed at {:.6} s, which did not lead, yet term {term} had begun by {:.6} s",
            fault.target,
            case.index.seconds(fault.from),
            case.index.seconds(t)
        );
        match case.machine.starved(window) {
            Some(why) => findings.not_judged(told, &why),
            None => findings.violation(told, Vec::new()),
        }
    }
    findings.count("followers_killed", judged);
    (judged > 0).then(|| findings.verdict(CHECK))
}

fn statuses<'c, 'a>(case: &'c Case<'a>) -> impl Iterator<Item = (Nanos, &'a RaftStatus)> + 'c {
    let samples = case.index.members.iter().copied();
    samples.filter_map(|sample| Some((sample.t, sample.status.as_ref()?)))
}

/// The newest word on who led when a follower's process was killed; absent when it led, or when nobody can tell.
fn follower<'a>(case: &Case<'a>, fault: &FaultWindow<'_>) -> Option<&'a RaftStatus> {
    if fault.name != KILL || case.expectations.members < 3 {
        return None;
    }
    let before = statuses(case).filter(|(t, _)| *t < fault.from);
    let newest = before
        .map(|(_, status)| status)
        .max_by_key(|status| status.term)?;
    let pods = case.index.pods_by_member();
    let leader = *pods.get(newest.leader.as_deref()?)?;
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
    let named = |pod: &str| fault.target.split(word).any(|part| part == pod);
    (!named(leader)).then_some(newest)
}
