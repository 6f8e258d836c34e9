//! Builds the timeline of a history.

use etcd_history::History;
use etcd_history::record::{Nanos, Record, Route};
use serde::Serialize;

use super::span::Span;
use super::{lanes, operations};
use crate::report::continuity::{Acknowledgements, Decomposition, Gap, Signs, Stage};
use crate::report::{Finding, Verdict};

/// The routes whose continuity is compared.
pub(crate) const ROUTES: [Route; 3] = [Route::ServiceHeld, Route::ServiceFresh, Route::DialAll];

fn span(history: &History) -> Span {
    let times = || history.records.iter().map(Record::time);
    let from = times().min().unwrap_or(0);
    Span {
        from,
        to: times().max().unwrap_or(from),
    }
}

/// The whole timeline.
#[derive(Debug, Serialize)]
pub(crate) struct Timeline {
    /// The beginning as nanoseconds since the Unix epoch, text because it does not fit in a double.
    base: String,
    /// Length.
    span: i64,
    phases: Vec<(i64, String)>,
    starts: Vec<i64>,
    faults: Vec<lanes::FaultLane>,
    members: Vec<lanes::MemberLane>,
    pods: Vec<lanes::PodLane>,
    services: Vec<lanes::ServiceLane>,
    watchers: Vec<lanes::WatcherLane>,
    hashes: Vec<lanes::HashMark>,
    routes: Vec<RouteGaps>,
    anomalies: Vec<(u64, usize)>,
    checks: Vec<String>,
    ops: operations::Operations,
}

/// Continuity of one route.
#[derive(Debug, Serialize)]
struct RouteGaps {
    route: Route,
    /// Longest gap first, at most [`GAPS_MAX`].
    gaps: Vec<GapMark>,
}

/// One gap.
#[derive(Debug, Serialize)]
struct GapMark {
    from: i64,
    to: i64,
    closed: bool,
    fault: Option<u32>,
    elected: Option<String>,
    stages: Vec<(Stage, i64, i64)>,
}

/// Gaps marked for a route: the longest and those to compare it with.
const GAPS_MAX: usize = 8;
/// Gaps shorter than this are the rhythm of the writers.
const GAP_MIN: Nanos = 50_000_000;

/// Makes the timeline of a history.
pub(crate) fn build(history: &History, verdicts: &[Verdict]) -> Timeline {
    let span = span(history);
    let signs = Signs::of(history);
    let routes = ROUTES
        .iter()
        .map(|route| route_gaps(history, &signs, span, *route))
        .collect();
    let mut phases = Vec::new();
    let mut starts = Vec::new();
    for record in &history.records {
        match record {
            Record::Phase { t, name } => phases.push((span.micros(*t), name.clone())),
            Record::Start { t, .. } => starts.push(span.micros(*t)),
            _ => {}
        }
    }
    let anomalies = verdicts
        .iter()
        .enumerate()
        .flat_map(|(check, verdict)| match &verdict.finding {
            Finding::Violation { ops, .. } => ops.iter().map(|op| (*op, check)).collect(),
            _ => Vec::new(),
        })
        .collect();
    Timeline {
        base: span.from.to_string(),
        span: span.micros(span.to).max(1),
        phases,
        starts,
        faults: lanes::faults(history, span),
        members: lanes::members(history, span),
        pods: lanes::pods(history, span),
        services: lanes::services(history, span),
        watchers: lanes::watchers(history, span),
        hashes: lanes::hashes(history, span),
        routes,
        anomalies,
        checks: verdicts
            .iter()
            .map(|verdict| verdict.check.to_string())
            .collect(),
        ops: operations::build(history, span),
    }
}

fn route_gaps(history: &History, signs: &Signs<'_>, span: Span, route: Route) -> RouteGaps {
    let acks = Acknowledgements::of(history, route);
    let mut gaps: Vec<Gap> = acks.gaps().filter(|gap| gap.length() >= GAP_MIN).collect();
    gaps.sort_by_key(|gap| (std::cmp::Reverse(gap.length()), gap.from));
    gaps.truncate(GAPS_MAX);
    let mark = |gap: Gap| {
        let Decomposition {
            fault,
            elected,
            stages,
        } = signs.decompose(gap, route);
        let stages = stages
            .into_iter()
            .map(|(stage, from, to)| (stage, span.micros(from), span.micros(to)))
            .collect();
        let (from, to) = (span.micros(gap.from), span.micros(gap.to));
        GapMark {
            from,
            to,
            closed: gap.closed,
            fault,
            elected,
            stages,
        }
    };
    RouteGaps {
        route,
        gaps: gaps.into_iter().map(mark).collect(),
    }
}
