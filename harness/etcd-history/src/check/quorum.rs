//! What the operator itself takes down never breaks the quorum: one member at a time, and none that the rest needs.
//!
//! A pod that is being deleted and that no fault deleted is the operator's doing. Judged as far as pods tell, which is
//! what the operator could know as well. Where member lists were read, the quorum is that of the voters at that time,
//! at every size of a scaling; else that of the fewest members of the run.

use std::collections::BTreeMap;

use super::Case;
use super::verdict::{Findings, Verdict};
use crate::record::{ListedMember, MembershipRecord, Nanos, PodRecord};

/// Name of the check.
const CHECK: &str = "quorum";
/// Longest time between a deletion and a member list that shows it: they are read four times a second.
const NEAR: Nanos = 5_000_000_000;
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
        // A list reports the end by the last version: when it was, and what was there meanwhile, is not known.
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
            // One that leaves permanently is not waited for; what is left without it must still be a quorum.
            let comes_back = !faulted && !told_late && !leaves_for_good(case, record);
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

/// True for a pod that will leave in this run, and whose member has left already: it is removed before its pod is
/// deleted. One that votes is restarted, whatever becomes of it later. Without member lists all of them leave.
fn leaves_for_good(case: &Case<'_>, record: &PodRecord) -> bool {
    let lists = around(case, record.t);
    let votes = |list: &&MembershipRecord| {
        let mut voters = list.members.iter().filter(|member| !member.learner);
        voters.any(|member| member.name == record.pod)
    };
    let restarted = !lists.is_empty() && lists.iter().all(votes);
    case.expectations.leaving.contains(&record.pod) && !restarted
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
    let member = members.get(record.pod.as_str());
    if !member.is_some_and(|member| member.ready) {
        return;
    }
    let lists = around(case, record.t);
    let wrong = if lists.is_empty() {
        let all = case.expectations.members as usize;
        let left = others().filter(|(_, member)| member.ready).count();
        (left < all / 2 + 1 && all > 1).then(|| format!("{left} ready members of {all}"))
    } else {
        // A list is a little older or newer than the pod: what is wrong by all of them is wrong.
        let wrong = lists.iter().map(|list| short(list, &record.pod, members));
        wrong
            .collect::<Option<Vec<_>>>()
            .and_then(|mut all| all.pop())
    };
    if let Some(left) = wrong {
        let told = format!(
            "{} is taken down at {at:.6} s, which leaves {left}",
            record.pod
        );
        findings.violation(told, Vec::new());
    }
}

/// The last member list in front of a time and the first one behind it; none when there is none in front, or it is so
/// old that members may have come and gone since.
fn around<'a>(case: &Case<'a>, t: Nanos) -> Vec<&'a MembershipRecord> {
    let lists = &case.index.lists;
    let behind = lists.partition_point(|list| list.t <= t);
    let before = behind.checked_sub(1).map(|at| lists[at]);
    let before = before.filter(|list| t - list.t <= NEAR);
    let after = lists.get(behind).copied();
    let both = before.into_iter().chain(after);
    both.filter(|_| before.is_some()).collect()
}

/// What is left of the voters of a list without this pod, in words, when it is no quorum of them.
fn short(list: &MembershipRecord, pod: &str, pods: &BTreeMap<&str, Member<'_>>) -> Option<String> {
    let voters = || list.members.iter().filter(|member| !member.learner);
    let ready = |name: &str| pods.get(name).is_some_and(|member| member.ready);
    let all = voters().count();
    let named = |member: &ListedMember| member.name == pod;
    let left = voters().filter(|member| !named(member) && ready(&member.name));
    let left = left.count();
    (voters().any(named) && all > 1 && left < all / 2 + 1)
        .then(|| format!("{left} ready members of {all} voters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::test_support::{Story, small};
    use crate::check::{Expectations, Finding};

    /// Five pods, of which one is not ready, and one that the operator takes down at 100 ms.
    fn taken_down(voters: &[&str]) -> Story {
        let mut story = Story::new();
        for (number, pod) in (1..).zip(["m-0", "m-1", "m-2", "m-3", "m-4"]) {
            story = story.pod_with(1, (pod, pod), number, |pod| pod.ready = number != 5);
        }
        let entry = |name: &'static str| (name, name, !voters.contains(&name));
        let entries = ["m-0", "m-1", "m-2", "m-3", "m-4"].map(entry);
        story
            .list(90, "c", &entries)
            .pod_with(100, ("m-0", "m-0"), 9, |pod| pod.deleting = true)
            .list(110, "c", &entries)
    }

    fn judged(story: Story, members: u32) -> Finding {
        let expectations = Expectations { members, ..small() };
        story.verdict(CHECK, &expectations).finding
    }

    #[test]
    fn the_quorum_is_that_of_the_voters_at_that_time() {
        // Three ready members are left: a quorum of five, of four and of three.
        let all = ["m-0", "m-1", "m-2", "m-3", "m-4"];
        assert_eq!(judged(taken_down(&all), 3), Finding::Pass);
        // The one that is not ready is a voter, and two others have none: one of three voters is left ready.
        let few = ["m-0", "m-1", "m-4"];
        let wrong = judged(taken_down(&few), 3);
        assert!(
            format!("{wrong:?}").contains("1 ready members of 3 voters"),
            "{wrong:?}"
        );
        // It has no vote (any more): the quorum does not need it.
        assert_eq!(judged(taken_down(&["m-1", "m-4"]), 3), Finding::Pass);
    }

    #[test]
    fn who_leaves_later_is_waited_for_when_it_is_restarted() {
        let all = ["m-0", "m-1", "m-2", "m-3", "m-4"];
        let judged = |voters_after: &[&'static str]| {
            let pods = (1..).zip(all);
            let mut story = pods.fold(Story::new(), |story, (number, pod)| {
                story.pod_with(1, (pod, pod), number, |pod| pod.ready = true)
            });
            let entries = |voters: &[&'static str]| {
                let listed = all.iter().filter(|name| voters.contains(name));
                listed.map(|name| (*name, *name, false)).collect::<Vec<_>>()
            };
            story = story.list(90, "c", &entries(&all));
            for (t, pod) in [(100, "m-4"), (110, "m-3")] {
                let version = 20 + u64::try_from(t).expect("a version");
                story = story.pod_with(t, (pod, pod), version, |pod| pod.deleting = true);
            }
            let story = story.list(120, "c", &entries(voters_after));
            let expectations = Expectations {
                members: 5,
                leaving: ["m-3", "m-4"].map(str::to_owned).into(),
                ..small()
            };
            story.verdict(CHECK, &expectations).finding
        };
        let restarted = judged(&all);
        assert!(
            format!("{restarted:?}").contains("m-3 is taken down at 0.110000 s while m-4"),
            "{restarted:?}"
        );
        assert_eq!(judged(&["m-0", "m-1", "m-2"]), Finding::Pass);
    }

    #[test]
    fn a_list_from_long_before_accuses_of_nothing() {
        // Two members have left since; no client has read the list.
        let mut history = taken_down(&["m-0", "m-1", "m-4"]).history();
        let long = NEAR + 1_000_000_000;
        for record in &mut history.records {
            if let crate::Record::Pod(pod) = record
                && pod.deleting
            {
                pod.t += long;
            }
        }
        history.records.retain(
            |record| !matches!(record, crate::Record::Membership(list) if list.t > 100_000_000),
        );
        let expectations = Expectations {
            members: 3,
            ..small()
        };
        let verdicts = crate::check::all(&history, &expectations);
        let quorum = verdicts.iter().find(|verdict| verdict.check == CHECK);
        assert!(quorum.is_some_and(|verdict| verdict.passed()), "{quorum:?}");
    }

    #[test]
    fn a_list_from_before_a_removal_accuses_of_nothing() {
        let story = taken_down(&["m-0", "m-1", "m-4"]);
        let mut history = story.history();
        for record in &mut history.records {
            if let crate::Record::Membership(list) = record
                && list.t > 100_000_000
            {
                list.members.retain(|member| member.name != "m-0");
            }
        }
        let verdicts = crate::check::all(&history, &small());
        let quorum = verdicts.iter().find(|verdict| verdict.check == CHECK);
        assert!(quorum.is_some_and(|verdict| verdict.passed()), "{quorum:?}");
    }
}
