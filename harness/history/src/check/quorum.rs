//! What the operator itself takes down never breaks the quorum: one member at a time, and none that the rest needs.
//!
//! A pod that is being deleted and that no fault deleted is the operator's doing. Judged as far as pods tell, which is
//! what the operator could know as well.

use std::collections::BTreeMap;

use super::Case;
use super::verdict::{Findings, Verdict};
use crate::record::{Nanos, PodRecord};

/// Name of the check.
const CHECK: &str = "quorum";
/// Phase from which on the scenario itself takes everything down.
const TEARDOWN: &str = "teardown";

/// A member's pod so far.
#[derive(Default)]
struct Member<'a> {
    ready: bool,
    /// Version and UID of the pod that was seen last.
    newest: (u64, &'a str),
    /// UID of the pod that the operator takes down, and since when, until another one is ready.
    taken: Option<(&'a str, Nanos)>,
    /// True once its deletion has been judged.
    going: Option<&'a str>,
}

/// Judges the operator's own disruptions.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let end = case.index.phase(TEARDOWN).unwrap_or(Nanos::MAX);
    let mut members: BTreeMap<&str, Member<'_>> = BTreeMap::new();
    let mut disruptions = 0;
    for record in case.index.pods.iter().filter(|record| record.t < end) {
        let record: &PodRecord = record;
        let newest = members.entry(&record.pod).or_default().newest;
        if record.uid != newest.1 && record.resource_version < newest.0 {
            // The end of a pod that has been replaced, told by a list after a broken watch.
            continue;
        }
        // A list tells of the end by the last version: nobody knows when it was, and what was there meanwhile.
        let told_late = record.deleted && newest == (record.resource_version, record.uid.as_str());
        let faulted = [&record.pod, &record.uid]
            .into_iter()
            .any(|name| case.expectations.deleted_by_faults.contains(name));
        let leaves = record.deleting || record.deleted;
        let fresh =
            leaves && members.entry(&record.pod).or_default().going != Some(record.uid.as_str());
        if fresh && !faulted && !told_late {
            disruptions += 1;
            judge(case, record, &members, &mut findings);
        }
        let member = members.entry(&record.pod).or_default();
        member.newest = (record.resource_version, record.uid.as_str());
        if fresh {
            member.going = Some(&record.uid);
            // One that leaves for good is not waited for; what is left without it must be a quorum all the same.
            let comes_back =
                !faulted && !told_late && !case.expectations.leaving.contains(&record.pod);
            member.taken = comes_back
                .then_some((record.uid.as_str(), record.t))
                .or(member.taken);
        }
        member.ready = record.ready && !leaves;
        if member.ready && member.taken.is_some_and(|(uid, _)| uid != record.uid) {
            member.taken = None;
        }
    }
    findings.count("disruptions", disruptions);
    if members.is_empty() {
        findings.doubt("no pod was seen".to_owned());
    }
    findings.verdict(CHECK)
}

fn judge(
    case: &Case<'_>,
    record: &PodRecord,
    members: &BTreeMap<&str, Member<'_>>,
    findings: &mut Findings,
) {
    let at = case.index.seconds(record.t);
    let others = || members.iter().filter(|(pod, _)| **pod != record.pod);
    if let Some((other, since)) = others().find_map(|(pod, member)| Some((*pod, member.taken?.1))) {
        findings.violation(
            format!(
                "{} is taken down at {at:.6} s while {other}, taken down at {:.6} s, is not back",
                record.pod,
                case.index.seconds(since)
            ),
            Vec::new(),
        );
        return;
    }
    let was_ready = members
        .get(record.pod.as_str())
        .is_some_and(|member| member.ready);
    let left = others().filter(|(_, member)| member.ready).count();
    let quorum = case.expectations.members as usize / 2 + 1;
    if was_ready && left < quorum && case.expectations.members > 1 {
        findings.violation(
            format!(
                "{} is taken down at {at:.6} s, which leaves {left} ready members of {}",
                record.pod, case.expectations.members
            ),
            Vec::new(),
        );
    }
}
