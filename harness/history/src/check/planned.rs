//! A planned move: leadership moves first, so that clients lose nothing.
//!
//! No write through the leader service may fail or stay unknown, from the first fault until the cluster settles. A
//! proposal that a leader drops while it transfers leadership is counted apart: etcd refuses it definitely and at once, a
//! client that retries loses one round trip, and no operator can keep raft from doing so. How many there are depends on
//! the clients. How long the leader drops them is judged, with the limit of a planned move's gap.

use super::Case;
use super::gaps::{Window, milliseconds};
use super::verdict::{Findings, Verdict};
use crate::index::Op;
use crate::record::{Nanos, Outcome, Request, Road};

/// Name of the check of how long a leader that hands over drops proposals.
pub const HAND_OVER: &str = "hand_over";
const NO_FAILED_WRITE: &str = "no_failed_write";
/// Longest time in milliseconds in which a leader that hands over may drop proposals.
const HAND_OVER_MS: f64 = 100.0;
/// The class of a request that had no answer in time.
const DEADLINE: &str = "deadline";
/// The class of a proposal that a leader dropped because it was handing over.
const DROPPED: &str = "proposal_dropped";

/// Judges that no write failed.
pub(super) fn no_failed_write(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let writes = writes(case);
    findings.count("writes", writes.len());
    if writes.is_empty() {
        findings.doubt("no write was sent".to_owned());
        return findings.verdict(NO_FAILED_WRITE);
    }
    let failed: Vec<&Op<'_>> = writes.iter().filter(|op| failure(op).is_some()).collect();
    findings.count("failed", failed.len());
    let window = window(case);
    let starved = case.machine.starved(window);
    let client_late = case.machine.client_late(window);
    // A deadline is a time. Every other failure is none, unless the client itself was late.
    let (by_time, broken): (Vec<&Op<'_>>, Vec<&Op<'_>>) = failed
        .into_iter()
        .partition(|op| starved.is_some() && (client_late || class(op) == Some(DEADLINE)));
    if !broken.is_empty() {
        let ops = broken.iter().map(|op| op.id()).collect();
        findings.violation(told(&broken, writes.len()), ops);
    }
    if let Some(why) = starved {
        findings.not_judged(told(&by_time, writes.len()), &why);
    }
    findings.verdict(NO_FAILED_WRITE)
}

/// Judges for how long a leader that handed over dropped proposals.
pub(super) fn hand_over(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let writes = writes(case);
    let dropped: Vec<(Nanos, Nanos)> = writes
        .iter()
        .filter(|op| class(op) == Some(DROPPED))
        .filter_map(|op| Some((op.call.t, op.end?.t)))
        .collect();
    let first = dropped.iter().map(|(call, _)| *call).min();
    let last = dropped.iter().map(|(_, end)| *end).max();
    let dropping_ms = first
        .zip(last)
        .map_or(0.0, |(first, last)| milliseconds(last - first));
    findings.count("dropped_proposals", dropped.len());
    findings.figure("dropping_ms", dropping_ms);
    let told = format!(
        "a leader that handed over dropped {} of {} writes in the course of {dropping_ms:.0} ms, \
         {HAND_OVER_MS} ms are allowed",
        dropped.len(),
        writes.len()
    );
    match case.machine.starved(window(case)) {
        Some(why) => findings.not_judged(told, &why),
        None if dropping_ms > HAND_OVER_MS => findings.violation(told, Vec::new()),
        None => {}
    }
    findings.verdict(HAND_OVER)
}

/// From the first fault's begin to the settling.
fn window(case: &Case<'_>) -> Window {
    Window {
        from: case.index.phase("fault").unwrap_or(case.index.end),
        to: case.index.phase("settle").unwrap_or(case.index.end),
    }
}

/// Writes through the leader service that were sent in the window and whose end is known.
fn writes<'a>(case: &Case<'a>) -> Vec<Op<'a>> {
    let window = window(case);
    let through_service = |op: &&Op<'_>| {
        matches!(op.call.road, Road::ServiceFresh | Road::ServiceHeld)
            && matches!(op.call.request, Request::Put { .. })
    };
    let ops = case.index.ops.iter().filter(through_service);
    ops.filter(|op| op.end.is_some() && window.holds(op.call.t))
        .copied()
        .collect()
}

fn told(failed: &[&Op<'_>], writes: usize) -> String {
    let first = failed.first().and_then(|op| failure(op));
    let first = first.map_or_else(String::new, |words| format!("; the first: {words}"));
    let count = failed.len();
    format!("{count} of {writes} writes failed in a planned move{first}")
}

/// What came instead of success, in words; absent for a success and for a proposal that was dropped.
fn failure(op: &Op<'_>) -> Option<String> {
    let class = class(op).filter(|class| *class != DROPPED)?;
    let message = match &op.end?.outcome {
        Outcome::Failed { message, .. } | Outcome::Unknown { message, .. } => message.as_str(),
        Outcome::Ok { .. } => "",
    };
    Some(format!("{:?}: {class}: {message}", op.call.road))
}

fn class<'a>(op: &Op<'a>) -> Option<&'a str> {
    match &op.end?.outcome {
        Outcome::Failed { class, .. } | Outcome::Unknown { class, .. } => Some(class),
        Outcome::Ok { .. } => None,
    }
}
