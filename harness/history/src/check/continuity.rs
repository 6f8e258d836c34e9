//! The promise of the leader service: writes go on. The longest interval without a successful write, per road and fault,
//! beside the yardstick of a client that dials all members, with its parts. A budget over that yardstick is for the part
//! of the gap in which that client could write.
//!
//! A gap without a budget is only reported; a window without a write proves nothing and is inconclusive.

use std::collections::BTreeMap;

use super::Case;
use super::expectations::{GapBudget, GapWindow};
use super::gaps::{self, Measured, Track, Window, milliseconds};
use super::verdict::{Findings, Verdict};
use crate::record::{Nanos, Road};

/// Name of the check of gaps.
pub const CHECK: &str = "continuity";
const MILLISECOND_NS: Nanos = 1_000_000;

/// Gaps of every road in the window of one fault.
struct Seen {
    fault: u32,
    /// Why times cannot be judged in it.
    starved: Option<String>,
    roads: BTreeMap<Road, Measured>,
}

/// Judges continuity.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let tracks = gaps::tracks(case.index);
    let windows = windows(case);
    let mut seen = Vec::new();
    for (fault, window) in &windows {
        let roads: BTreeMap<Road, Measured> = tracks
            .iter()
            .filter_map(|(road, track)| Some((*road, track.measure(*window)?)))
            .collect();
        for (road, measured) in &roads {
            tell(
                &format!("fault_{fault}.{}", name(*road)),
                measured,
                &mut findings,
            );
        }
        parts(case, &tracks, (*fault, *window), &mut findings);
        if roads.is_empty() {
            findings.doubt(format!("no write was wanted while fault {fault} was on"));
        }
        seen.push(Seen {
            fault: *fault,
            starved: case.machine.starved(*window),
            roads,
        });
    }
    let plain: Vec<_> = windows.iter().map(|(_, window)| *window).collect();
    for (road, track) in &tracks {
        if let Some(gap) = track.outside(&plain) {
            findings.figure(format!("outside.{}.gap_ms", name(*road)), gap);
        }
    }
    if tracks.is_empty() {
        findings.doubt("no write was ever wanted".to_owned());
    }
    for budget in &case.expectations.gaps {
        hold(case, budget, &seen, (&tracks, &plain), &mut findings);
    }
    findings.verdict(CHECK)
}

/// From the injection until the fault is healed and has settled, or the next one begins.
pub(super) fn windows(case: &Case<'_>) -> Vec<(u32, Window)> {
    let settle = Nanos::try_from(case.expectations.settle_ms).unwrap_or(0) * MILLISECOND_NS;
    let faults = &case.index.faults;
    let window = |position: usize| {
        let fault = &faults[position];
        let healed = fault.healed.unwrap_or(case.index.end);
        let next = faults
            .iter()
            .map(|other| other.from)
            .filter(|from| *from > healed)
            .min();
        let to = healed
            .saturating_add(settle)
            .min(next.unwrap_or(case.index.end));
        (
            fault.fault,
            Window {
                from: fault.from,
                to,
            },
        )
    };
    (0..faults.len()).map(window).collect()
}

fn tell(prefix: &str, measured: &Measured, findings: &mut Findings) {
    findings.figure(format!("{prefix}.gap_ms"), measured.gap_ms);
    findings.figure(format!("{prefix}.slowest_ms"), measured.slowest_ms);
    findings.count(format!("{prefix}.writes"), measured.writes);
    findings.count(format!("{prefix}.failed"), measured.failed);
}

/// The parts of a gap, each from the fault on: raft elects, the label moves, the endpoints move, a write succeeds.
fn parts(
    case: &Case<'_>,
    tracks: &BTreeMap<Road, Track>,
    (fault, window): (u32, Window),
    findings: &mut Findings,
) {
    let Some((pod, elected)) = elected(case, window) else {
        return;
    };
    let mut part = |what: &str, t: Nanos| {
        findings.figure(
            format!("fault_{fault}.{what}_ms"),
            milliseconds(t.saturating_sub(window.from)),
        );
    };
    part("elected", elected);
    let leads = |role: &Option<String>| role.as_deref() == Some("leader");
    let labelled = case.index.pods.iter().find(|record| {
        record.t >= window.from && record.pod == pod && !record.deleted && leads(&record.role)
    });
    if let Some(record) = labelled {
        part("labelled", record.t);
    }
    let moved = case
        .index
        .endpoints
        .iter()
        .find(|slice| slice.t >= window.from && slice.serving == [pod]);
    if let Some(slice) = moved {
        part("endpoints", slice.t);
    }
    let from = moved.map_or(elected, |slice| slice.t.min(elected));
    for (road, track) in tracks {
        if let Some(success) = track.success_after(from) {
            part(&format!("{}.success", name(*road)), success);
        }
    }
}

/// The first leader of a term that is higher than all before the window, and when it was seen first.
fn elected<'a>(case: &Case<'a>, window: Window) -> Option<(&'a str, Nanos)> {
    let pods = case.index.pods_by_member();
    let before = case
        .index
        .members
        .iter()
        .filter(|sample| sample.t < window.from);
    let term = before
        .filter_map(|sample| Some(sample.status.as_ref()?.term))
        .max()?;
    let mut inside = case
        .index
        .members
        .iter()
        .filter(|sample| sample.t >= window.from && sample.t <= window.to);
    inside.find_map(|sample| {
        let status = sample.status.as_ref().filter(|status| status.term > term)?;
        Some((*pods.get(status.leader.as_deref()?)?, sample.t))
    })
}

/// Holds the gaps against one budget.
fn hold(
    case: &Case<'_>,
    budget: &GapBudget,
    seen: &[Seen],
    (tracks, windows): (&BTreeMap<Road, Track>, &[Window]),
    findings: &mut Findings,
) {
    if budget.window == GapWindow::Outside {
        let run = Window {
            from: case.index.start,
            to: case.index.end,
        };
        if let Some(why) = case.machine.starved(run) {
            findings.not_judged("gaps outside all faults".to_owned(), &why);
            return;
        }
        match tracks
            .get(&budget.road)
            .and_then(|track| track.outside(windows))
        {
            Some(gap) => compare(budget, gap, None, "outside all faults", findings),
            None => findings.doubt(format!(
                "no write on {} outside all faults",
                name(budget.road)
            )),
        }
        return;
    }
    let wanted = seen.iter().filter(|seen| {
        budget.window == GapWindow::EveryFault || budget.window == GapWindow::Fault(seen.fault)
    });
    let mut judged = 0;
    for seen in wanted {
        judged += 1;
        let place = format!("in the window of fault {}", seen.fault);
        let Some(measured) = seen.roads.get(&budget.road) else {
            findings.doubt(format!("no write on {} {place}", name(budget.road)));
            continue;
        };
        if let Some(why) = &seen.starved {
            let (gap_ms, road) = (measured.gap_ms, name(budget.road));
            findings.not_judged(format!("gap of {gap_ms:.0} ms on {road} {place}"), why);
            continue;
        }
        let yardstick = seen
            .roads
            .get(&Road::DialAll)
            .and_then(|_| tracks.get(&Road::DialAll))
            .map(|track| track.out_in(measured.gap));
        compare(budget, measured.gap_ms, yardstick, &place, findings);
    }
    if judged == 0 {
        findings.doubt(format!(
            "there was no fault that the budget of {} is for",
            name(budget.road)
        ));
    }
}

fn compare(
    budget: &GapBudget,
    gap: f64,
    yardstick: Option<f64>,
    place: &str,
    findings: &mut Findings,
) {
    let out = match (budget.over_dial_all, yardstick) {
        (false, _) => 0.0,
        (true, Some(out)) => out,
        (true, None) => {
            findings.doubt(format!("no write on dial_all {place} to compare with"));
            return;
        }
    };
    let limit = out + budget.limit_ms;
    if gap > limit {
        findings.violation(
            format!(
                "{} had no successful write for {gap:.0} ms {place}, {limit:.0} ms are allowed",
                name(budget.road)
            ),
            Vec::new(),
        );
    }
}

/// A road as figures name it.
fn name(road: Road) -> &'static str {
    match road {
        Road::ServiceHeld => "service_held",
        Road::ServiceFresh => "service_fresh",
        Road::DialAll => "dial_all",
        Road::Member => "member",
    }
}
