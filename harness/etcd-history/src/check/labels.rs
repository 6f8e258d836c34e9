//! The leader label: never on two pods at one resource version, converges to the raft leader in time, and
//! the leader service selects no other pod.
//!
//! Pods are replayed by resource version, which one API server's etcd orders over all objects; raft's truth is what the
//! members said when asked.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::gaps::Window;
use super::rounds::came_to_its_end;
use super::verdict::{Findings, Verdict};
use crate::record::{Nanos, PodRecord};

/// Name of the check.
const CHECK: &str = "labels";
/// The role that the leader service selects.
const LEADER: &str = "leader";

/// From when to when raft had one leader, as far as samples tell.
#[derive(Clone, Copy, Debug)]
struct Reign<'a> {
    pod: &'a str,
    term: u64,
    from: Nanos,
    to: Nanos,
}

/// The set of labelled pods from a time on.
type Labelled<'a> = (Nanos, BTreeSet<&'a str>);

/// Judges the leader label.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    findings.count("pod_records", case.index.pods.len());
    if case.index.pods.is_empty() {
        findings.doubt("no pod was seen".to_owned());
        return findings.verdict(CHECK);
    }
    let ordered = by_version(case);
    two_leaders(case, &ordered, &mut findings);
    let reigns = reigns(case);
    if reigns.is_empty() {
        findings.doubt("no member ever named a leader that is a pod".to_owned());
    }
    let states = labelled(&ordered);
    lag(case, &states, &reigns, &mut findings);
    endpoints(case, &ordered, &mut findings);
    if case.expectations.ends_healthy && !came_to_its_end(case.index) {
        findings.doubt("the recording was cut off, how the labels settled is not in it".to_owned());
    } else if case.expectations.ends_healthy {
        settled(case, &states, reigns.last(), &mut findings);
    }
    findings.verdict(CHECK)
}

/// Pod records in the order of their writes. A list after a broken watch repeats some, and reports a pod that went
/// meanwhile only that it is gone, by its last version: it may have been gone since then.
fn by_version<'a>(case: &Case<'a>) -> Vec<&'a PodRecord> {
    let mut pods = case.index.pods.clone();
    pods.sort_by_key(|pod| (pod.resource_version, pod.deleted, pod.t));
    pods.dedup_by_key(|pod| (pod.resource_version, pod.uid.as_str(), pod.deleted));
    pods
}

/// Plays a record: who has the label after it.
fn play<'a>(leaders: &mut BTreeSet<(&'a str, &'a str)>, record: &'a PodRecord) {
    let name = (record.pod.as_str(), record.uid.as_str());
    // A name belongs to one pod at a time: another one has taken the place of whatever had it.
    leaders.retain(|(pod, uid)| *pod != record.pod || *uid == record.uid);
    if !record.deleted && record.role.as_deref() == Some(LEADER) {
        leaders.insert(name);
    } else {
        leaders.remove(&name);
    }
}

fn two_leaders(case: &Case<'_>, ordered: &[&PodRecord], findings: &mut Findings) {
    let mut leaders = BTreeSet::new();
    for record in ordered {
        let before = leaders.len();
        play(&mut leaders, record);
        if leaders.len() > 1 && leaders.len() > before {
            let names: Vec<_> = leaders.iter().map(|(pod, _)| *pod).collect();
            findings.violation(
                format!(
                    "{} are labelled leader at resource version {} at {:.6} s",
                    names.join(" and "),
                    record.resource_version,
                    case.index.seconds(record.t)
                ),
                Vec::new(),
            );
        }
    }
}

fn labelled<'a>(ordered: &[&'a PodRecord]) -> Vec<Labelled<'a>> {
    let mut leaders = BTreeSet::new();
    let mut states: Vec<Labelled<'a>> = Vec::new();
    for record in ordered {
        play(&mut leaders, record);
        let pods: BTreeSet<_> = leaders.iter().map(|(pod, _)| *pod).collect();
        if states.last().is_none_or(|(_, last)| *last != pods) {
            states.push((record.t, pods));
        }
    }
    // What a list told late had happened before what follows by version.
    let mut next = Nanos::MAX;
    for (t, _) in states.iter_mut().rev() {
        *t = next.min(*t);
        next = *t;
    }
    states
}

/// Raft's truth: the leader of the highest term so far, from its first sample until a higher term is seen.
fn reigns<'a>(case: &Case<'a>) -> Vec<Reign<'a>> {
    let pods = case.index.pods_by_member();
    let mut reigns: Vec<Reign<'a>> = Vec::new();
    let mut term = 0;
    for sample in &case.index.members {
        let Some(status) = &sample.status else {
            continue;
        };
        if status.term > term {
            term = status.term;
            if let Some(last) = reigns.last_mut() {
                last.to = last.to.min(sample.t);
            }
        }
        let leader = status.leader.as_deref().and_then(|leader| pods.get(leader));
        let known = reigns.last().is_some_and(|reign| reign.term >= status.term);
        if let Some(pod) = leader.filter(|_| !known) {
            reigns.push(Reign {
                pod,
                term: status.term,
                from: sample.t,
                to: Nanos::MAX,
            });
        }
    }
    // The last answer of a member is the end of what is known.
    let mut answers = case.index.members.iter().rev();
    let last_sample = answers
        .find(|sample| sample.status.is_some())
        .map_or(Nanos::MIN, |sample| sample.t);
    for reign in &mut reigns {
        reign.to = reign.to.min(last_sample);
    }
    reigns
}

/// The longest time, under one leader, in which the label was missing or elsewhere.
fn lag(case: &Case<'_>, states: &[Labelled<'_>], reigns: &[Reign<'_>], findings: &mut Findings) {
    let mut worst: Option<(f64, Reign<'_>, Window)> = None;
    for reign in reigns {
        for (from, to) in wrong_times(states, reign) {
            let milliseconds = case.index.seconds(to) * 1e3 - case.index.seconds(from) * 1e3;
            if worst.is_none_or(|(most, ..)| milliseconds > most) {
                worst = Some((milliseconds, *reign, Window { from, to }));
            }
        }
    }
    let Some((milliseconds, reign, window)) = worst else {
        return;
    };
    findings.figure("label_lag_ms", milliseconds);
    #[expect(clippy::cast_precision_loss, reason = "a budget is far below 2^52 ms")]
    let budget = case.expectations.label_lag_ms.map(|budget| budget as f64);
    let Some(budget) = budget else {
        return;
    };
    let told = format!(
        "{} led term {}, yet the label was not on it alone for {milliseconds:.0} ms from {:.6} s on",
        reign.pod,
        reign.term,
        case.index.seconds(window.from)
    );
    let starved = case.machine.starved(window);
    match starved.or_else(|| case.machine.observer_late(window)) {
        Some(why) => findings.not_judged(told, &why),
        None if milliseconds > budget => findings.violation(told, Vec::new()),
        None => {}
    }
}

/// Intervals of a reign in which the labelled pods are not exactly its leader.
fn wrong_times(states: &[Labelled<'_>], reign: &Reign<'_>) -> Vec<(Nanos, Nanos)> {
    let mut times: Vec<(Nanos, Nanos)> = Vec::new();
    let ends = states.iter().skip(1).map(|(t, _)| *t).chain([Nanos::MAX]);
    let first = states.first().map_or(Nanos::MAX, |(t, _)| *t);
    let none = BTreeSet::new();
    let spans = std::iter::once((Nanos::MIN, first, &none)).chain(
        states
            .iter()
            .zip(ends)
            .map(|((t, pods), end)| (*t, end, pods)),
    );
    for (from, to, pods) in spans {
        let (from, to) = (from.max(reign.from), to.min(reign.to));
        if from >= to || (pods.len() == 1 && pods.contains(reign.pod)) {
            continue;
        }
        match times.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => times.push((from, to)),
        }
    }
    times
}

/// The pod to which the service sends clients had the label before, by resource version.
fn endpoints(case: &Case<'_>, ordered: &[&PodRecord], findings: &mut Findings) {
    let mut first_label: BTreeMap<&str, u64> = BTreeMap::new();
    for record in ordered
        .iter()
        .filter(|record| record.role.as_deref() == Some(LEADER))
    {
        first_label
            .entry(&record.pod)
            .or_insert(record.resource_version);
    }
    for slice in &case.index.endpoints {
        for pod in &slice.serving {
            if first_label
                .get(pod.as_str())
                .is_none_or(|version| *version > slice.resource_version)
            {
                findings.violation(
                    format!("{} sends clients to {pod} at {:.6} s, which was never labelled leader before", slice.service, case.index.seconds(slice.t)),
                    Vec::new(),
                );
            }
        }
    }
}

fn settled(
    case: &Case<'_>,
    states: &[Labelled<'_>],
    reign: Option<&Reign<'_>>,
    findings: &mut Findings,
) {
    let none = (Nanos::MIN, BTreeSet::new());
    let (since, leaders) = states.last().unwrap_or(&none);
    let names: Vec<_> = leaders.iter().copied().collect();
    let differs = reign.filter(|reign| names != [reign.pod]);
    if names.len() == 1 && differs.is_some_and(|reign| reign.to < *since) {
        // What was true before the label was written says nothing about it.
        findings.doubt(format!(
            "no member answered after {names:?} was labelled leader at {:.6} s",
            case.index.seconds(*since)
        ));
    } else if names.len() != 1 || differs.is_some() {
        findings.violation(
            format!(
                "in the end {names:?} are labelled leader, raft's leader is {}",
                reign.map_or("unknown", |reign| reign.pod)
            ),
            Vec::new(),
        );
    }
    let mut last: BTreeMap<&str, &[String]> = BTreeMap::new();
    for slice in &case.index.endpoints {
        last.insert(&slice.service, &slice.serving);
    }
    if last.is_empty() {
        findings.doubt("no endpoints of the leader service were seen".to_owned());
    }
    for (service, serving) in last {
        if serving != names {
            findings.violation(format!("in the end {service} sends clients to {serving:?}, labelled leader are {names:?}"), Vec::new());
        }
    }
}
