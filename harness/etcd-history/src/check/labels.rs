//! The leader label: never on two pods at one resource version, converges to the raft leader in time, and
//! the leader service ([`endpoints`]) selects no other pod and follows in time.
//!
//! Pods are replayed by resource version, which one API server's etcd orders over all objects; raft's truth is what the
//! members said when asked.

mod endpoints;
mod history;

use std::collections::{BTreeMap, BTreeSet};

use self::history::{Leaders, hold, play, states};
use super::Case;
use super::gaps::{Window, milliseconds};
use super::rounds::came_to_its_end;
use super::verdict::{Findings, Verdict};
use crate::record::{Nanos, PodRecord};

/// Name of the check.
const CHECK: &str = "labels";

/// From when to when raft had one leader, as far as samples tell.
#[derive(Debug)]
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
    endpoints::check(case, &ordered, &mut findings);
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

fn two_leaders(case: &Case<'_>, ordered: &[&PodRecord], findings: &mut Findings) {
    let mut leaders = Leaders::new();
    for record in ordered {
        let before = leaders.len();
        play(&mut leaders, record);
        if leaders.len() > 1 && leaders.len() > before {
            let names: Vec<_> = leaders.keys().map(|(pod, _)| *pod).collect();
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
    states(ordered, |leaders| {
        leaders.keys().map(|(pod, _)| *pod).collect()
    })
}

/// Raft's truth: the leader of the highest term so far, from the first sample that names it to the last. While no
/// member names one there is none: a label that is off then is not late.
fn reigns<'a>(case: &Case<'a>) -> Vec<Reign<'a>> {
    let mut reigns: Vec<Reign<'a>> = Vec::new();
    let mut term = 0;
    for sample in &case.index.members {
        let Some(status) = sample.status.as_ref().filter(|status| status.term >= term) else {
            continue;
        };
        term = status.term;
        let leader = status.leader.as_deref();
        let leader = leader.and_then(|leader| case.pods.get(leader));
        let Some(pod) = leader else {
            continue;
        };
        match reigns.last_mut().filter(|reign| reign.term == term) {
            Some(reign) => reign.to = sample.t,
            None => reigns.push(Reign {
                pod,
                term,
                from: sample.t,
                to: sample.t,
            }),
        }
    }
    reigns
}

/// The times, each under one leader, in which the label was missing or elsewhere. A busy machine only adds time: what
/// was short enough is judged on any machine, and only what was longer asks how busy it was.
fn lag(case: &Case<'_>, states: &[Labelled<'_>], reigns: &[Reign<'_>], findings: &mut Findings) {
    let mut longest: Option<f64> = None;
    for reign in reigns {
        for (from, to) in wrong_times(states, reign) {
            let window = Window { from, to };
            let ms = milliseconds(to.saturating_sub(from));
            longest = Some(longest.unwrap_or(ms).max(ms));
            let told = format!(
                "{} led term {}, yet the label was not on it alone for {ms:.0} ms from {:.6} s on",
                reign.pod,
                reign.term,
                case.index.seconds(from)
            );
            hold(case, window, told, findings);
        }
    }
    if let Some(longest) = longest {
        findings.figure("label_lag_ms", longest);
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

fn settled(
    case: &Case<'_>,
    states: &[Labelled<'_>],
    reign: Option<&Reign<'_>>,
    findings: &mut Findings,
) {
    let none = (Nanos::MIN, BTreeSet::new());
    let (since, leaders) = states.last().unwrap_or(&none);
    let names: Vec<_> = leaders.iter().copied().collect();
    let endpoints = case.index.endpoints.iter().map(|slice| slice.t).max();
    let changes = [Some(*since), reign.map(|reign| reign.from), endpoints];
    let last = changes.into_iter().flatten().max().unwrap_or(Nanos::MIN);
    let wrong = |told, findings: &mut Findings| unsettled(case, last, told, findings);
    let differs = reign.filter(|reign| names != [reign.pod]);
    if names.len() == 1 && differs.is_some_and(|reign| reign.to < *since) {
        // What was true before the label was written says nothing about it.
        findings.doubt(format!(
            "no member answered after {names:?} was labelled leader at {:.6} s",
            case.index.seconds(*since)
        ));
    } else if names.len() != 1 || differs.is_some() {
        wrong(
            format!(
                "in the end {names:?} are labelled leader, raft's leader is {}",
                reign.map_or("unknown", |reign| reign.pod)
            ),
            findings,
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
            let told = format!(
                "in the end {service} sends clients to {serving:?}, labelled leader are {names:?}"
            );
            wrong(told, findings);
        }
    }
}

/// What is wrong at the end is wrong on any machine, but where the last change was so short before it that a busy
/// machine may be why nothing followed.
fn unsettled(case: &Case<'_>, last: Nanos, told: String, findings: &mut Findings) {
    let window = Window {
        from: last.min(case.index.end),
        to: case.index.end,
    };
    let conditions = case.machine.conditions(window.around());
    #[expect(clippy::cast_precision_loss, reason = "a budget is far below 2^52 ms")]
    let budget = case.expectations.label_lag_ms.map_or(0.0, |ms| ms as f64);
    let age = milliseconds(window.to.saturating_sub(window.from));
    if age <= conditions.allow(budget) && !conditions.are_calm() {
        findings.not_judged(told, &conditions.why);
    } else {
        findings.violation(told, Vec::new());
    }
}
