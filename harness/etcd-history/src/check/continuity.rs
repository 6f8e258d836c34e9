//! Write availability of the leader service. Every round gives one value for each route: its longest time without a
//! successful write. The sample over all rounds is held against the budget of the route ([`Sample`]).
//!
//! A budget is absolute where nothing needs to elect a leader. Where something must, no client can write meanwhile: the
//! value is the gap less what a client that dials all members had none either for, at the same time. A second budget of
//! the same route is absolute then, so that an election that takes long is not free. Where pods or processes were ended
//! and no term began, the gap counts in full: no election and no network fault explains what the dial-all client lost
//! too.
//!
//! A gap without a budget is only reported; a round without a write proves nothing and is inconclusive, and so does one
//! in which the recording client restarted, where a budget is held. How busy the machine was is asked for the time
//! around the gap that counts: a stall elsewhere in the round excuses nothing.

use std::collections::BTreeMap;

use super::Case;
use super::elections::{Disturbance, disturbances};
use super::expectations::GapBudget;
use super::gaps::{self, Gap, Measured, Track, Window, milliseconds};
use super::machine::{Conditions, Machine};
use super::rounds::{Round, rounds};
use super::sample::{Limits, Sample, median};
use super::verdict::{Finding, Findings, Verdict};
use crate::history::History;
use crate::index::Index;
use crate::record::{Nanos, Outcome, Route};

/// Name of the check of gaps: of how long no write succeeded.
pub const CHECK: &str = "continuity";

/// Faults that end a pod or a process and disturb nothing else.
const ENDS_ONLY: &[&str] = &["delete_pod", "kill_process"];

/// Gaps of every route in one round.
struct Seen {
    round: usize,
    /// False where the gap of the dial-all client excuses nothing.
    excused: bool,
    routes: BTreeMap<Route, Measured>,
}

/// Judges continuity.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let tracks = gaps::tracks(case.index);
    let rounds = rounds(case.index);
    let look = |round| look(case, &tracks, round, &mut findings);
    let seen: Vec<Seen> = rounds.iter().filter_map(look).collect();
    for route in tracks.keys() {
        let of_route = || seen.iter().filter_map(|seen| seen.routes.get(route));
        let gaps = || of_route().map(|measured| measured.gap.ms);
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
    let disturbances = disturbances(case);
    let conditions = |gap: &Gap| conditions(case.machine, &disturbances, gap);
    for budget in &case.expectations.gaps {
        match rounds.is_empty() {
            true => findings.doubt(format!(
                "there was no fault that the budget of {} is for",
                name(budget.route)
            )),
            false => hold(budget, &seen, conditions, &mut findings),
        }
    }
    findings.verdict(CHECK)
}

/// Looks at one round; absent where it cannot be judged, because no client ran for a part of it.
fn look(
    case: &Case<'_>,
    tracks: &BTreeMap<Route, Track>,
    round: &Round,
    findings: &mut Findings,
) -> Option<Seen> {
    let Round { number, window, .. } = round;
    let routes = measured(tracks, *window);
    for (route, measured) in &routes {
        let prefix = format!("round_{number}.{}", name(*route));
        tell(&prefix, measured, findings);
    }
    parts(case, tracks, (*number, *window), findings);
    if routes.is_empty() {
        findings.doubt(format!("no write was wanted in round {number}"));
    }
    if restarted(case.index, *window) {
        findings.count(format!("round_{number}.client_restarted"), 1);
        if !case.expectations.gaps.is_empty() {
            findings.doubt(format!(
                "the recording client restarted in round {number}, its gap is not the service's"
            ));
        }
        return None;
    }
    Some(Seen {
        round: *number,
        excused: excused(case.index, round),
        routes,
    })
}

/// True when no recording client ran for a part of a window.
fn restarted(index: &Index<'_>, window: Window) -> bool {
    let mut restarts = index.restarts.iter();
    restarts.any(|(from, to)| *from <= window.to && *to >= window.from)
}

fn tell(prefix: &str, measured: &Measured, findings: &mut Findings) {
    findings.figure(format!("{prefix}.gap_ms"), measured.gap.ms);
    if let Some(over) = measured.over_dial_all {
        findings.figure(format!("{prefix}.over_dial_all_ms"), over.ms);
    }
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
        Some((*case.pods.get(status.leader.as_deref()?)?, sample.t))
    })
}

/// Holds the sample of one route against its budget.
fn hold(
    budget: &GapBudget,
    seen: &[Seen],
    conditions: impl Fn(&Gap) -> Conditions,
    findings: &mut Findings,
) {
    let route = name(budget.route);
    let mut sample = Sample::default();
    for Seen {
        round,
        excused,
        routes,
    } in seen
    {
        match value(budget, routes, *excused) {
            Some(gap) => sample.add(*round, gap.ms, conditions(&gap)),
            None => findings.doubt(format!(
                "no write on {route}, or on dial_all to compare with, in round {round}"
            )),
        }
    }
    let (what, told) = told(budget);
    sample.judge(&what, &told, limits(budget), findings);
}

/// What a budget measures: as figures name it, and as the sentence of a violation begins.
fn told(budget: &GapBudget) -> (String, String) {
    let route = name(budget.route);
    match budget.over_dial_all {
        false => (route.to_owned(), format!("{route} had no successful write")),
        true => (
            format!("{route}.over_dial_all"),
            format!("{route} had no successful write, over the dial-all client's gap,"),
        ),
    }
}

/// How much longer a gap may have been by the machine's doing. An election that it had raft hold costs as long as raft
/// waits and votes.
fn conditions(machine: &Machine<'_>, disturbances: &[Disturbance], gap: &Gap) -> Conditions {
    let of_machine = machine.conditions(gap.window.around());
    let touches = |disturbance: &&Disturbance| disturbance.window.touches(gap.window);
    match disturbances.iter().find(touches) {
        Some(disturbance) => Conditions {
            why: disturbance.why.clone(),
            stretch: f64::INFINITY,
            ..of_machine
        },
        None => of_machine,
    }
}

/// What a budget is held against in one round.
fn value(budget: &GapBudget, routes: &BTreeMap<Route, Measured>, excused: bool) -> Option<Gap> {
    let measured = routes.get(&budget.route)?;
    match budget.over_dial_all && excused {
        false => Some(measured.gap),
        true => measured.over_dial_all,
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

/// The gaps of a run, in milliseconds: a row for each round, with one value for each budget. Rounds in which the
/// machine was too busy around a gap are left out. Where processes waited for a processor, a value is divided by the
/// factor by which that made every step longer.
#[derive(Clone, Debug, PartialEq)]
pub struct GapSamples {
    budgets: Vec<GapBudget>,
    /// One row a round, one value in milliseconds a budget.
    rounds: Vec<Vec<f64>>,
}

impl GapSamples {
    /// Rounds that were measured before; each has one value in milliseconds for each budget.
    pub fn new(budgets: Vec<GapBudget>, rounds: Vec<Vec<f64>>) -> Self {
        Self { budgets, rounds }
    }

    /// Those of a run. A round is also left out when a route had no write in it, or when no recording client ran for a
    /// part of it.
    pub fn of(history: &History, budgets: Vec<GapBudget>) -> Self {
        let index = Index::new(history);
        let machine = Machine::new(&index);
        let conditions = |gap: &Gap| machine.conditions(gap.window.around());
        Self::measured(&index, budgets, conditions)
    }

    /// All that a run is held against, with what its checks know of it: a round in which raft held an election that the
    /// machine may have caused is left out, too.
    pub(super) fn of_case(case: &Case<'_>) -> Self {
        let disturbances = disturbances(case);
        let conditions = |gap: &Gap| conditions(case.machine, &disturbances, gap);
        Self::measured(case.index, case.expectations.gaps.clone(), conditions)
    }

    fn measured(
        index: &Index<'_>,
        budgets: Vec<GapBudget>,
        conditions: impl Fn(&Gap) -> Conditions,
    ) -> Self {
        let tracks = gaps::tracks(index);
        let judged = rounds(index).into_iter();
        let judged = judged.filter(|round| !restarted(index, round.window));
        let row = |round: Round| {
            let routes = measured(&tracks, round.window);
            let excused = excused(index, &round);
            let value = |budget| {
                let gap = value(budget, &routes, excused)?;
                let conditions = conditions(&gap);
                (!conditions.spoil()).then_some(gap.ms / conditions.stretch)
            };
            budgets.iter().map(value).collect()
        };
        let rounds = judged.filter_map(row).collect();
        Self { budgets, rounds }
    }

    /// The rows, one for each round.
    pub fn rounds(&self) -> &[Vec<f64>] {
        &self.rounds
    }

    /// True when both have the same budgets.
    pub fn has_limits_of(&self, other: &Self) -> bool {
        self.budgets == other.budgets
    }

    /// True when a run with `rounds` instead of its own would be a violation. Each row has one value for each budget.
    pub fn late(&self, rounds: &[Vec<f64>]) -> bool {
        self.over_with(rounds).is_some()
    }

    /// True when one of these rounds alone would be a violation.
    pub fn far_out(&self, rounds: &[Vec<f64>]) -> bool {
        let over = |row: &Vec<f64>| {
            let mut limits = row.iter().zip(&self.budgets);
            limits.any(|(ms, budget)| *ms > budget.limit_ms)
        };
        rounds.iter().any(over)
    }

    /// The same run with the rounds of others, which have the same budgets, in one sample.
    #[must_use]
    pub fn with<'a>(mut self, others: impl IntoIterator<Item = &'a Self>) -> Self {
        for other in others {
            debug_assert!(self.has_limits_of(other), "runs of one plan");
            self.rounds.extend_from_slice(&other.rounds);
        }
        self
    }

    /// How a run with these rounds is late, if it is: the first budget that it is over.
    pub fn over(&self) -> Option<String> {
        self.over_with(&self.rounds)
    }

    fn over_with(&self, rounds: &[Vec<f64>]) -> Option<String> {
        self.budgets
            .iter()
            .enumerate()
            .find_map(|(column, budget)| {
                let mut sample = Sample::default();
                for (number, row) in rounds.iter().enumerate() {
                    sample.add(number, row[column], Conditions::calm());
                }
                let mut findings = Findings::default();
                let (what, told) = told(budget);
                sample.judge(&what, &told, limits(budget), &mut findings);
                match findings.verdict(CHECK).finding {
                    Finding::Violation { explanation, .. } => Some(explanation),
                    _ => None,
                }
            })
    }
}

/// Every route that had writes in a window.
fn measured(tracks: &BTreeMap<Route, Track>, window: Window) -> BTreeMap<Route, Measured> {
    let dial_all = tracks
        .get(&Route::DialAll)
        .filter(|track| track.measure(window).is_some());
    let measure = |(route, track): (&Route, &Track)| {
        let compared = dial_all.filter(|_| *route != Route::DialAll);
        let measured = Measured {
            over_dial_all: compared.map(|other| track.over(other, window)),
            ..track.measure(window)?
        };
        Some((*route, measured))
    };
    tracks.iter().filter_map(measure).collect()
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
