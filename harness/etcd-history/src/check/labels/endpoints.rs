//! Where the leader service leads to: no pod that had lost the label long before, or never had it, and the labelled one
//! soon after it was labelled.
//!
//! Kubernetes writes endpoints after labels, some milliseconds later. How much later they may be is the budget of the
//! label itself; a run without one only reports it, and then a pod that ever had the label is no violation.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{LEADER, Leaders, hold, play, states, told_late};
use crate::check::Case;
use crate::check::gaps::{Window, milliseconds};
use crate::check::verdict::Findings;
use crate::record::{EndpointsRecord, Nanos, PodRecord};

/// What writes endpoints, as a fault names it. Without it they do not follow labels.
const WRITER: &str = "kube-controller-manager";

/// What shows writes, as a fault names it. While it is stopped the objects are not seen as they change.
const SHOWS: &str = "kube-apiserver";

/// In the name of a node that it runs on, as kind names it: it stops with that node.
const RUNS_ON: &str = "control-plane";

/// Judges the endpoints of the leader service.
pub(super) fn check(case: &Case<'_>, ordered: &[&PodRecord], findings: &mut Findings) {
    let written = written(ordered);
    for slice in case.index.endpoints.iter().copied() {
        // A slice that was listed late was there before what follows by version was seen.
        let later = written.partition_point(|(version, _)| *version <= slice.resource_version);
        let by = written.get(later).map_or(slice.t, |(_, t)| slice.t.min(*t));
        for pod in &slice.serving {
            serves(case, ordered, (slice, by, pod.as_str()), findings);
        }
    }
    lag(case, ordered, findings);
}

/// Versions in order, and when the first record from each on was seen.
fn written(ordered: &[&PodRecord]) -> Vec<(u64, Nanos)> {
    let mut first = Nanos::MAX;
    let versions = ordered.iter().rev().map(|record| {
        first = first.min(record.t);
        (record.resource_version, first)
    });
    let mut written: Vec<_> = versions.collect();
    written.reverse();
    written
}

/// How a name stands to the label at a version.
enum Held {
    Never,
    /// Its pod had lost it by this time.
    Lost(Nanos),
    Now,
}

fn held(ordered: &[&PodRecord], (name, version): (&str, u64)) -> Held {
    let mut leaders = Leaders::new();
    let mut held = Held::Never;
    let until = ordered.partition_point(|record| record.resource_version <= version);
    for record in ordered[..until].iter().filter(|record| record.pod == name) {
        play(&mut leaders, record);
        held = match (leaders.is_empty(), held) {
            (false, _) => Held::Now,
            (true, Held::Now) => Held::Lost(record.t),
            (true, held) => held,
        };
    }
    held
}

/// Whether the label may have been there at that version and was not seen: the API server was stopped between the pod's
/// records before and after it, the later one, of a list, has the label, and the slice is of that time too. By then it
/// had been written: one that is of another time was written while labels were seen.
fn unseen(
    case: &Case<'_>,
    ordered: &[&PodRecord],
    (name, version): (&str, u64),
    by: Nanos,
) -> bool {
    let at = ordered.partition_point(|record| record.resource_version <= version);
    let (before, after) = ordered.split_at(at);
    let own = |record: &&&PodRecord| record.pod == name;
    let Some(next) = after.iter().find(own) else {
        return false;
    };
    let since = before.iter().rfind(own).map_or(Nanos::MIN, |last| last.t);
    let settle = settle(case);
    let then = case.index.faults.iter().filter(|fault| {
        let healed = fault
            .healed
            .map_or(Nanos::MAX, |t| t.saturating_add(settle));
        since.max(by) <= healed && fault.from <= by
    });
    let control_planes = &case.expectations.control_planes;
    let stopped = hide(then.map(|fault| fault.target), control_planes);
    stopped && !next.deleted && next.role.as_deref() == Some(LEADER)
}

/// Whether faults of these targets stop what shows writes on all of these nodes; where none is on record, on any. Other
/// processes of a node are no such targets.
fn hide<'a>(targets: impl Iterator<Item = &'a str>, control_planes: &BTreeSet<String>) -> bool {
    let mut stopped = BTreeSet::new();
    for one in targets.flat_map(|target| target.split(", ")) {
        let (shows, node) = match one.strip_prefix(SHOWS) {
            // No node is named: it is stopped on all.
            Some("") => return true,
            Some(on) => (true, on.strip_prefix(" on node ")),
            None => (false, one.strip_prefix("node ")),
        };
        let shows = |node: &&str| shows || control_planes.contains(*node) || node.contains(RUNS_ON);
        stopped.extend(node.filter(shows));
    }
    let all = control_planes
        .iter()
        .all(|node| stopped.contains(node.as_str()));
    all && !stopped.is_empty()
}

/// How long what was stopped may take once it is started again.
fn settle(case: &Case<'_>) -> Nanos {
    let settle = Nanos::try_from(case.expectations.settle_ms).unwrap_or(Nanos::MAX);
    settle.saturating_mul(1_000_000)
}

/// The pod to which the service sends clients has the label at that version, or lost it a moment before.
fn serves(
    case: &Case<'_>,
    ordered: &[&PodRecord],
    (slice, by, pod): (&EndpointsRecord, Nanos, &str),
    findings: &mut Findings,
) {
    let told = |what: &str| {
        let (service, t) = (&slice.service, case.index.seconds(slice.t));
        format!("{service} sends clients to {pod} at {t:.6} s, which {what}")
    };
    match held(ordered, (pod, slice.resource_version)) {
        Held::Now => {}
        _ if unseen(case, ordered, (pod, slice.resource_version), by) => {
            let why = "the API server was stopped, and the writes of that time were not seen";
            findings.not_judged(told("is labelled leader in its next record"), why);
        }
        Held::Never => {
            findings.violation(told("was never labelled leader before"), Vec::new());
        }
        Held::Lost(since) => {
            let window = Window {
                from: since,
                to: by.max(since),
            };
            let ms = milliseconds(window.to - window.from);
            let told = told(&format!("had not been labelled leader for {ms:.0} ms"));
            hold(case, window, told, findings);
        }
    }
}

/// What the service should lead to: the labelled pods, and nothing yet while one of them is not ready.
type Wanted<'a> = (BTreeSet<&'a str>, bool);

/// The times in which the service led elsewhere than to what was labelled, while traffic ran.
fn lag(case: &Case<'_>, ordered: &[&PodRecord], findings: &mut Findings) {
    let wanted = states(ordered, |leaders| {
        let pods: BTreeSet<&str> = leaders.keys().map(|(pod, _)| *pod).collect();
        (pods, leaders.values().all(|ready| *ready))
    });
    let end = case.index.phase("final").unwrap_or(case.index.end);
    let mut services: BTreeMap<&str, Vec<&EndpointsRecord>> = BTreeMap::new();
    for slice in &case.index.endpoints {
        services.entry(&slice.service).or_default().push(slice);
    }
    let mut longest: Option<f64> = None;
    for (service, mut slices) in services {
        slices.sort_by_key(|slice| slice.resource_version);
        let mut served: Vec<_> = slices.iter().map(|slice| (slice.t, *slice)).collect();
        told_late(&mut served);
        for window in wrong_times(&wanted, &served, end) {
            let Some(window) = able(case, window) else {
                continue;
            };
            let ms = milliseconds(window.to - window.from);
            longest = Some(longest.unwrap_or(ms).max(ms));
            let told = format!(
                "{service} did not lead to the labelled pod alone for {ms:.0} ms from {:.6} s on",
                case.index.seconds(window.from)
            );
            hold(case, window, told, findings);
        }
    }
    if let Some(longest) = longest {
        findings.figure("endpoints_lag_ms", longest);
    }
}

/// Intervals in which what is served is not what is labelled.
fn wrong_times(
    wanted: &[(Nanos, Wanted<'_>)],
    served: &[(Nanos, &EndpointsRecord)],
    end: Nanos,
) -> Vec<Window> {
    let mut times: Vec<Nanos> = wanted.iter().map(|(t, _)| *t).collect();
    times.extend(served.iter().map(|(t, _)| *t));
    times.retain(|t| *t < end);
    times.push(end);
    times.sort_unstable();
    times.dedup();
    let mut wrong: Vec<Window> = Vec::new();
    for pair in times.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        if !differ(last(wanted, from), last(served, from)) {
            continue;
        }
        match wrong.last_mut() {
            Some(before) if before.to == from => before.to = to,
            _ => wrong.push(Window { from, to }),
        }
    }
    wrong
}

/// What is so at a time.
fn last<T>(states: &[(Nanos, T)], t: Nanos) -> Option<&T> {
    let behind = states.partition_point(|(from, _)| *from <= t);
    let (_, state) = states.get(behind.checked_sub(1)?)?;
    Some(state)
}

/// True when the one is not the other. What is not known yet differs from nothing.
fn differ(wanted: Option<&Wanted<'_>>, served: Option<&&EndpointsRecord>) -> bool {
    let (Some((pods, ready)), Some(slice)) = (wanted, served) else {
        return false;
    };
    let served: BTreeSet<&str> = slice.serving.iter().map(String::as_str).collect();
    match ready {
        true => served != *pods,
        false => !served.is_subset(pods),
    }
}

/// The part of a time in which endpoints could be written: from when on their writer was there again.
fn able(case: &Case<'_>, window: Window) -> Option<Window> {
    let settle = settle(case);
    let faults = case.index.faults.iter();
    let stopped = faults.filter(|fault| fault.target.contains(WRITER) && fault.from <= window.to);
    let back = stopped.map(|fault| {
        fault
            .healed
            .map_or(Nanos::MAX, |t| t.saturating_add(settle))
    });
    let from = window.from.max(back.max().unwrap_or(Nanos::MIN));
    (from < window.to).then_some(Window { from, ..window })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_shown_while_one_control_plane_serves() {
        let hidden = |targets: &[&str], control_planes: &[&str]| {
            let control_planes = control_planes.iter().map(|&name| name.to_owned());
            hide(targets.iter().copied(), &control_planes.collect())
        };
        let (one, two) = (["a-control-plane"], ["a-control-plane", "head"]);
        let cases: [(&[&str], bool); 8] = [
            (&["kube-apiserver"], true),
            (&["node a-control-plane"], false),
            (&["kube-apiserver on node a-control-plane"], false),
            (&["node a-control-plane, node a-worker"], false),
            (&["node a-control-plane, node head"], true),
            (
                &["kube-apiserver on node a-control-plane, kube-apiserver on node head"],
                true,
            ),
            // Two faults at a time.
            (
                &["kube-apiserver on node head", "node a-control-plane"],
                true,
            ),
            (
                &["kube-scheduler on node head", "node a-control-plane"],
                false,
            ),
        ];
        for (targets, of_two) in cases {
            assert_eq!(hidden(targets, &two), of_two, "{targets:?}");
            assert!(hidden(targets, &one), "{targets:?}");
            assert!(hidden(targets, &[]), "{targets:?}: as kind names it");
        }
        for other in ["node a-worker", "kube-scheduler on node a-control-plane"] {
            assert!(!hidden(&[other], &one) && !hidden(&[other], &[]), "{other}");
        }
        assert!(!hidden(&[], &one) && !hidden(&[], &[]));
    }
}
