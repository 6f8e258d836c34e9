//! A planned move: leadership moves first, so that clients lose nothing.
//!
//! No write through the leader service may fail or stay unknown, from the first fault until the cluster settles. A
//! proposal that a leader drops while it transfers leadership is counted apart: etcd refuses it definitely and at once,
//! a client that retries loses one round trip, and no operator can keep raft from doing so. How many there are depends
//! on the clients. For how long the leader drops them is judged.

use super::Case;
use super::elections::{Disturbance, disturbances};
use super::gaps::{Window, milliseconds};
use super::rounds::{Round, rounds};
use super::sample::{Limits, Sample};
use super::verdict::{Findings, Verdict};
use crate::index::Op;
use crate::record::{Nanos, Outcome, Request, Route};

/// Name of the check of how long writes failed while leadership was transferred.
pub const HAND_OVER: &str = "hand_over";
const NO_FAILED_WRITE: &str = "no_failed_write";
/// For how long a leader that transfers leadership may drop proposals. It takes two writes of etcd's log, usually some
/// milliseconds. A transfer that fails is given up after an election timeout.
const DROPPING: Limits = Limits {
    median_ms: Some(50.0),
    most_ms: 500.0,
};
/// The classes of failures that a clock makes: no answer, or no connection, in time.
const BY_TIME: &[&str] = &["deadline", "connect_timeout_before_send"];
/// The classes of failures that an election makes.
const BY_ELECTION: &[&str] = &[
    "no_leader",
    "leader_changed",
    "etcd_timeout",
    "etcd_timeout_leader_failed",
    "etcd_timeout_connection_lost",
];
/// The class of a proposal that a leader dropped because it was transferring leadership.
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
    let disturbances = disturbances(case);
    let (mut by_time, mut broken) = (Vec::new(), Vec::new());
    for op in &failed {
        match excuse(case, op).or_else(|| elected(&disturbances, op)) {
            Some(why) => by_time.push((*op, why)),
            None => broken.push(*op),
        }
    }
    if !broken.is_empty() {
        let ops = broken.iter().map(|op| op.id()).collect();
        findings.violation(told(&broken, writes.len()), ops);
    }
    if let Some((_, why)) = by_time.first() {
        let excused: Vec<_> = by_time.iter().map(|(op, _)| *op).collect();
        findings.not_judged(told(&excused, writes.len()), why);
    }
    findings.verdict(NO_FAILED_WRITE)
}

/// Why a failure says nothing of the cluster, if so: half of a deadline was the machine's, by stalls or by a queue, or
/// for half of it some process waited for a disk, which etcd does before it answers. What no clock made (a refusal, a
/// lost connection) is the cluster's on any machine.
fn excuse(case: &Case<'_>, op: &Op<'_>) -> Option<String> {
    class(op).filter(|class| BY_TIME.contains(class))?;
    let end = op.end.map_or(op.call.t, |end| end.t);
    let window = Window {
        from: op.call.scheduled.min(op.call.t),
        to: end,
    };
    let conditions = case.machine.conditions(window.around());
    let took = milliseconds(end.saturating_sub(op.call.t));
    let disk = case.machine.disk_ms(window) >= took / 2.0;
    (conditions.half_of(took) || disk).then_some(conditions.why)
}

/// The same where the machine had raft elect once more while the write was under way.
fn elected(disturbances: &[Disturbance], op: &Op<'_>) -> Option<String> {
    class(op).filter(|class| BY_ELECTION.contains(class) || BY_TIME.contains(class))?;
    let window = Window {
        from: op.call.t,
        to: op.end?.t,
    };
    let mut disturbances = disturbances.iter();
    let disturbance = disturbances.find(|disturbance| disturbance.window.touches(window))?;
    Some(disturbance.why.clone())
}

/// Judges for how long leaders that transferred leadership dropped proposals: the longest stretch of each round.
pub(super) fn hand_over(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let writes = writes(case);
    let dropped: Vec<(Nanos, Nanos)> = writes
        .iter()
        .filter(|op| class(op) == Some(DROPPED))
        .filter_map(|op| Some((op.call.t, op.end?.t)))
        .collect();
    findings.count("writes", writes.len());
    findings.count("dropped_proposals", dropped.len());
    let stretches = stretches(&dropped, &accepted(case));
    let mut sample = Sample::default();
    for Round { number, window, .. } in rounds(case.index) {
        let inside = stretches.iter().filter(|(from, _)| window.holds(*from));
        let longest = inside.max_by_key(|(from, to)| to - from).copied();
        let (from, to) = longest.unwrap_or((window.from, window.from));
        let conditions = case.machine.conditions(Window { from, to }.around());
        sample.add(number, milliseconds(to - from), conditions);
    }
    let told = "a leader that transferred leadership dropped proposals";
    sample.judge("dropping", told, DROPPING, &mut findings);
    findings.verdict(HAND_OVER)
}

/// When each write was called that was accepted, on any route.
fn accepted(case: &Case<'_>) -> Vec<(Nanos, Nanos)> {
    let ops = case.index.ops.iter();
    ops.filter(|op| op.writes() && op.acked().is_some())
        .filter_map(|op| Some((op.call.t, op.end?.t)))
        .collect()
}

/// Drops that follow each other, with no write between them that was called after the one and answered before the
/// other. Both are in order of their calls.
fn stretches(dropped: &[(Nanos, Nanos)], accepted: &[(Nanos, Nanos)]) -> Vec<(Nanos, Nanos)> {
    let mut stretches: Vec<(Nanos, Nanos)> = Vec::new();
    for (call, end) in dropped.iter().copied() {
        let ended_by = |(_, last): &(Nanos, Nanos)| {
            let later = accepted.partition_point(|(called, _)| called <= last);
            accepted[later..]
                .iter()
                .take_while(|(called, _)| *called < call)
                .any(|(_, answered)| *answered < call)
        };
        match stretches.last_mut() {
            Some(stretch) if !ended_by(stretch) => stretch.1 = stretch.1.max(end),
            _ => stretches.push((call, end)),
        }
    }
    stretches
}

/// From the first fault's begin to the settling.
fn window(case: &Case<'_>) -> Window {
    let first = case.index.faults.iter().map(|fault| fault.from).min();
    Window {
        from: first.unwrap_or(case.index.end),
        to: case.index.phase("settle").unwrap_or(case.index.end),
    }
}

/// Writes through the leader service that were sent in the window and whose end is known.
fn writes<'a>(case: &Case<'a>) -> Vec<Op<'a>> {
    let window = window(case);
    let through_service = |op: &&Op<'_>| {
        matches!(op.call.route, Route::ServiceFresh | Route::ServiceHeld)
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
    Some(format!("{:?}: {class}: {message}", op.call.route))
}

fn class<'a>(op: &Op<'a>) -> Option<&'a str> {
    match &op.end?.outcome {
        Outcome::Failed { class, .. } | Outcome::Unknown { class, .. } => Some(class),
        Outcome::Ok { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_is_accepted_ends_a_stretch_of_drops() {
        let dropped = [(100, 101), (110, 111), (200, 201)];
        assert_eq!(stretches(&dropped, &[]), [(100, 201)]);
        assert_eq!(stretches(&dropped, &[(150, 160)]), [(100, 111), (200, 201)]);
        // Called before the last drop, or answered after the next one, it shows nothing.
        assert_eq!(stretches(&dropped, &[(105, 160), (150, 210)]), [(100, 201)]);
    }
}
