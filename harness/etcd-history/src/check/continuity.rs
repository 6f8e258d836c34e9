//! Write availability of the leader service. Every round gives one value for each route: its longest time without a
//! successful write. The sample over all rounds is held against the budget of the route ([`Sample`]).
//!
//! A budget is absolute where nothing needs to elect a leader. Where something must, no client can write meanwhile: the
//! value is the gap less the gap of a client that dials all members, in the same round. Where pods or processes were
//! ended and no term began, the gap counts in full: no election and no network fault explains what the dial-all client
//! lost too.
//!
//! A gap without a budget is only reported; a round without a write proves nothing and is inconclusive.

use std::collections::BTreeMap;

use super::Case;
use super::expectations::GapBudget;
use super::gaps::{self, Measured, Track, Window, milliseconds};
use super::machine::Machine;
use super::rounds::{Round, rounds};
use super::sample::{Limits, Sample, median};
use super::verdict::{Finding, Findings, Verdict};
use crate::history::History;
use crate::index::Index;
use crate::record::{Nanos, Outcome, Route};

/// Name of the check of gaps.
pub const CHECK: &str = "continuity";

/// Faults that end a pod or a process and disturb nothing else.
const ENDS_ONLY: &[&str] = &["delete_pod", "kill_process"];

/// Gaps of every route in one round.
struct Seen {
    round: usize,
    /// Why times cannot be judged in it.
    starved: Option<String>,
    /// False where the gap of the dial-all client excuses nothing.
    excused: bool,
    routes: BTreeMap<Route, Measured>,
}

/// Judges continuity.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let tracks = gaps::tracks(case.index);
    let rounds = rounds(case.index);
    let mut seen = Vec::new();
    for round in &rounds {
        let Round { number, window, .. } = round;
        let routes = measured(&tracks, *window);
        for (route, measured) in &routes {
            tell(
                &format!("round_{number}.{}", name(*route)),
                measured,
                &mut findings,
            );
        }
        parts(case, &tracks, (*number, *window), &mut findings);
        if routes.is_empty() {
            findings.doubt(format!("no write was wanted in round {number}"));
        }
        seen.push(Seen {
            round: *number,
            starved: case.machine.starved(*window),
            excused: excused(case.index, round),
            routes,
        });
    }
    for route in tracks.keys() {
        let of_route = || seen.iter().filter_map(|seen| seen.routes.get(route));
        let gaps = || of_route().map(|measured| measured.gap_ms);
        if let (Some(median), Some(most)) = (median(gaps()), gaps().reduce(f64::max)) {
            findings.figure(format!("{}.median_ms", name(*route)), median);
            findings.figure(format!("{}.most_ms", name(*route)), most);
        }
    }
    let windows: Vec<_> = rounds.iter().map(|round| round.window).collect();
    for (route, track) in &tracks {
        if let Some(gap) = track.outside(&windows) {
            findings.figure(format!("outside.{}.gap_ms", name(*route)), gap);
        }
    }
    if tracks.is_empty() {
        findings.doubt("no write was ever wanted".to_owned());
    }
    for budget in &case.expectations.gaps {
        hold(budget, &seen, &mut findings);
    }
    findings.verdict(CHECK)
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
    tracks: &BTreeMap<Route, Track>,
    (round, window): (usize, Window),
    findings: &mut Findings,
) {
    let Some((pod, elected)) = elected(case, window) else {
        return;
    };
    let mut part = |what: &str, t: Nanos| {
        findings.figure(
            format!("round_{round}.{what}_ms"),
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
    for (route, track) in tracks {
        if let Some(success) = track.success_after(from) {
            part(&format!("{}.success", name(*route)), success);
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

/// Holds the sample of one route against its budget.
fn hold(budget: &GapBudget, seen: &[Seen], findings: &mut Findings) {
    let route = name(budget.route);
    let mut sample = Sample::default();
    for Seen {
        round,
        starved,
        excused,
        routes,
    } in seen
    {
        match value(budget, routes, *excused) {
            Some(ms) => sample.add(*round, ms, starved.clone()),
            None => findings.doubt(format!(
                "no write on {route}, or on dial_all to compare with, in round {round}"
            )),
        }
    }
    if seen.is_empty() {
        findings.doubt(format!(
            "there was no fault that the budget of {route} is for"
        ));
        return;
    }
    let (what, told) = match budget.over_dial_all {
        false => (route.to_owned(), format!("{route} had no successful write")),
        true => (
            format!("{route}.over_dial_all"),
            format!("{route} had no successful write, over the dial-all client's gap,"),
        ),
    };
    sample.judge(&what, &told, limits(budget), findings);
}

/// What a budget is held against in one round, in milliseconds.
fn value(budget: &GapBudget, routes: &BTreeMap<Route, Measured>, excused: bool) -> Option<f64> {
    let gap_ms = routes.get(&budget.route)?.gap_ms;
    match budget.over_dial_all && excused {
        false => Some(gap_ms),
        true => Some(gap_ms - routes.get(&Route::DialAll)?.gap_ms),
    }
}

/// True when the gap of the dial-all client may have causes that are not the operator's: an election, or a fault that
/// slows or cuts members without one.
fn excused(index: &Index<'_>, round: &Round) -> bool {
    let mut faults = index.faults.iter();
    let other =
        faults.any(|fault| round.faults.contains(&fault.fault) && !ENDS_ONLY.contains(&fault.name));
    other || may_have_elected(index, round.window)
}

/// False when members and answers told the same highest term before the window and in it: no term began.
fn may_have_elected(index: &Index<'_>, window: Window) -> bool {
    let samples = index
        .members
        .iter()
        .filter_map(|sample| Some((sample.t, sample.status.as_ref()?.term)));
    let answers = index.ops.iter().filter_map(|op| {
        let end = op.end?;
        match end.outcome {
            Outcome::Ok { term, .. } => Some((end.t, term)),
            _ => None,
        }
    });
    let (mut before, mut inside) = (None, None);
    for (t, term) in samples.chain(answers) {
        if t < window.from {
            before = before.max(Some(term));
        } else if t <= window.to {
            inside = inside.max(Some(term));
        }
    }
    match (before, inside) {
        (Some(before), Some(inside)) => inside > before,
        _ => true,
    }
}

fn limits(budget: &GapBudget) -> Limits {
    Limits {
        median_ms: budget.median_ms,
        most_ms: budget.limit_ms,
    }
}

/// What the budgets of a run are held against, for the rounds on a machine that was not starved.
#[derive(Clone, Debug, PartialEq)]
pub struct GapSamples {
    budgets: Vec<GapBudget>,
    /// One row a round, one value in milliseconds a budget.
    rounds: Vec<Vec<f64>>,
}

impl GapSamples {
    /// Rounds with one value in milliseconds for each budget.
    pub fn new(budgets: Vec<GapBudget>, rounds: Vec<Vec<f64>>) -> Self {
        Self { budgets, rounds }
    }

    /// Of a run; a round in which some route had no write is left out.
    pub fn of(history: &History, budgets: Vec<GapBudget>) -> Self {
        let index = Index::new(history);
        let machine = Machine::new(&index);
        let tracks = gaps::tracks(&index);
        let judged = rounds(&index).into_iter();
        let judged = judged.filter(|round| machine.starved(round.window).is_none());
        let row = |round: Round| {
            let routes = measured(&tracks, round.window);
            let excused = excused(&index, &round);
            let value = |budget| value(budget, &routes, excused);
            budgets.iter().map(value).collect()
        };
        let rounds = judged.filter_map(row).collect();
        Self { budgets, rounds }
    }

    /// The rows: one a round, one value in milliseconds a budget.
    pub fn rounds(&self) -> &[Vec<f64>] {
        &self.rounds
    }

    /// True when both are held against the same limits.
    pub fn has_limits_of(&self, other: &Self) -> bool {
        self.budgets == other.budgets
    }

    /// True when a run with these rounds instead would be a violation.
    pub fn late(&self, rounds: &[Vec<f64>]) -> bool {
        self.budgets.iter().enumerate().any(|(column, budget)| {
            let mut sample = Sample::default();
            for (number, row) in rounds.iter().enumerate() {
                sample.add(number, row[column], None);
            }
            let mut findings = Findings::default();
            sample.judge("", "", limits(budget), &mut findings);
            matches!(findings.verdict(CHECK).finding, Finding::Violation { .. })
        })
    }
}

/// Every route that had writes in a window.
fn measured(tracks: &BTreeMap<Route, Track>, window: Window) -> BTreeMap<Route, Measured> {
    tracks
        .iter()
        .filter_map(|(route, track)| Some((*route, track.measure(window)?)))
        .collect()
}

/// A route as figures name it.
fn name(route: Route) -> &'static str {
    match route {
        Route::ServiceHeld => "service_held",
        Route::ServiceFresh => "service_fresh",
        Route::DialAll => "dial_all",
        Route::Member => "member",
    }
}
