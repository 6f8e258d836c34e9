//! What a scenario promises, and its translation into what the checks expect.
//!
//! The figures to reach are those of the design, and `bench failover` holds its distribution against them. One sample
//! on a shared machine of two cores is a proof of brokenness only when it is far out: its limit is looser by
//! [`SLACK_MS`], on top of what a client that dials all members lost of the same gap.

use std::collections::BTreeMap;

use etcd_history::check::{Expectations, GapBudget, GapWindow, OperationKind};
use etcd_history::record::{Call, Nanos, OpId, Road};
use etcd_history::{History, Outcome, Record, Request};
use serde::Serialize;

use crate::report::{Finding, Judgement};

/// What a busy machine may add to one sample: a scheduling quantum of each of six processes between a raft leader and a
/// client's connection, on two cores that also run six kubelets.
const SLACK_MS: f64 = 250.0;

/// A planned move, in milliseconds.
const PLANNED_MS: f64 = 100.0;

/// What a scenario promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Promise {
    /// Longest time without an acknowledged write.
    pub continuity: Continuity,
    /// True when no write may fail or stay unknown while a fault is on.
    pub no_failed_write: bool,
    /// True when the fault takes a member's data: it may come back as another member.
    pub replaces_member: bool,
    /// True when so many members are hit that there is no quorum for a while.
    pub loses_quorum: bool,
    /// Seconds until every member is ready and labelled again, after healing; 0 for the default.
    pub whole_again_s: u64,
}

/// Longest time without an acknowledged write through the leader service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuity {
    /// Only reported: what is broken is the service's own road.
    #[default]
    Reported,
    /// As close to the dial-all client as after the kill of a process: 150 ms.
    ProcessKilled,
    /// A planned move: [`PLANNED_MS`].
    Planned,
    /// The leader does not answer and does not go away: 300 ms for new connections, 1 s for held ones.
    LeaderSilent,
    /// The leader stays: nothing is elected and nothing moves.
    LeaderStays,
    /// Elected and labelled, but something on the road needs so many milliseconds more.
    Within(u32),
}

impl Promise {
    /// With this continuity and nothing else.
    #[must_use]
    pub fn continuity(continuity: Continuity) -> Self {
        Self {
            continuity,
            ..Self::default()
        }
    }

    /// No write may fail.
    #[must_use]
    pub fn no_failed_write(mut self) -> Self {
        self.no_failed_write = true;
        self
    }

    /// A member may come back as another one.
    #[must_use]
    pub fn replaces_member(mut self) -> Self {
        self.replaces_member = true;
        self
    }

    /// There is no quorum for a while.
    #[must_use]
    pub fn loses_quorum(mut self) -> Self {
        self.loses_quorum = true;
        self
    }

    /// Seconds until everything is whole again.
    #[must_use]
    pub fn whole_again_within(mut self, seconds: u64) -> Self {
        self.whole_again_s = seconds;
        self
    }

    /// What the checks expect of a run with this promise.
    #[must_use]
    pub fn expectations(&self, members: u32, faults: usize) -> Expectations {
        Expectations {
            members,
            faults: u32::try_from(faults).unwrap_or(u32::MAX),
            gaps: self.budgets(),
            operations: [
                OperationKind::Put,
                OperationKind::Range,
                OperationKind::SerializableRange,
                OperationKind::Txn,
                OperationKind::LeaseGrant,
                OperationKind::Watch,
            ]
            .into(),
            ..Expectations::default()
        }
    }

    fn budgets(&self) -> Vec<GapBudget> {
        let budget = |road, limit_ms: f64| GapBudget {
            road,
            window: GapWindow::EveryFault,
            limit_ms: limit_ms + SLACK_MS,
            over_dial_all: true,
        };
        let (fresh, held) = match self.continuity {
            Continuity::Reported => return Vec::new(),
            Continuity::ProcessKilled => (150.0, 150.0),
            Continuity::Planned | Continuity::LeaderStays => (PLANNED_MS, PLANNED_MS),
            Continuity::LeaderSilent => (300.0, 1000.0),
            Continuity::Within(ms) => (f64::from(ms), f64::from(ms)),
        };
        vec![
            budget(Road::ServiceFresh, fresh),
            budget(Road::ServiceHeld, held),
        ]
    }
}

/// Name of the check of how long a leader that hands over drops proposals.
pub(super) const HAND_OVER: &str = "hand_over";

/// Judges that no write through the leader service failed or stayed unknown between the first fault's begin and the
/// settling, and how long a leader that handed over dropped proposals.
///
/// A proposal that a leader drops while it hands over is counted apart: etcd refuses it definitely and at once, a client
/// that may retry loses nothing but a round trip, and no operator can keep raft from doing so. How many there are is up to
/// the clients; how long it goes on is the hand-over's doing, and is judged as a planned move's gap is.
pub(super) fn no_failed_write(history: &History) -> [Judgement; 2] {
    let mut calls: BTreeMap<OpId, &Call> = BTreeMap::new();
    let (mut begun, mut over) = (false, false);
    let (mut judged, mut failed) = (0_u32, Vec::new());
    let mut dropped: Vec<(Nanos, Nanos)> = Vec::new();
    for record in &history.records {
        match record {
            Record::Phase { name, .. } => {
                begun |= name == "fault";
                over |= name == "settle";
            }
            Record::Call(call) if begun && !over && through_service(call) => {
                calls.insert(call.op, call);
            }
            Record::Return(end) => {
                let Some(call) = calls.remove(&end.op) else {
                    continue;
                };
                judged += 1;
                match &end.outcome {
                    Outcome::Ok { .. } => {}
                    Outcome::Failed { class, .. } if class == "proposal_dropped" => {
                        dropped.push((call.t, end.t));
                    }
                    Outcome::Failed { class, message } | Outcome::Unknown { class, message } => {
                        failed.push((call.op, format!("{:?}: {class}: {message}", call.road)));
                    }
                }
            }
            _ => {}
        }
    }
    let outcome = match failed.first() {
        Some((_, first)) => Finding::Violation {
            explanation: format!(
                "{} of {judged} writes failed in a planned move; the first: {first}",
                failed.len()
            ),
            ops: failed.iter().map(|(op, _)| *op).take(6).collect(),
        },
        None if judged == 0 => Finding::Inconclusive {
            reason: "no write was sent".to_owned(),
        },
        None => Finding::Pass,
    };
    let mut none_failed = Judgement::new("no_failed_write", outcome);
    none_failed
        .figures
        .insert("writes".to_owned(), serde_json::json!(judged));
    [none_failed, hand_over(&dropped, judged)]
}

fn hand_over(dropped: &[(Nanos, Nanos)], judged: u32) -> Judgement {
    let dropping_ms = span_ms(dropped);
    let outcome = if dropping_ms > PLANNED_MS {
        Finding::Violation {
            explanation: format!(
                "a leader that handed over dropped {} of {judged} writes in the course of {dropping_ms:.0} ms, \
                 {PLANNED_MS} ms are allowed",
                dropped.len()
            ),
            ops: Vec::new(),
        }
    } else {
        Finding::Pass
    };
    let mut judgement = Judgement::new(HAND_OVER, outcome);
    for (name, value) in [
        ("dropped_proposals", serde_json::json!(dropped.len())),
        ("dropping_ms", serde_json::json!(dropping_ms)),
    ] {
        judgement.figures.insert(name.to_owned(), value);
    }
    judgement
}

/// Milliseconds from the first call to the last return.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a run")]
fn span_ms(dropped: &[(Nanos, Nanos)]) -> f64 {
    let first = dropped.iter().map(|(call, _)| *call).min();
    let last = dropped.iter().map(|(_, end)| *end).max();
    first
        .zip(last)
        .map_or(0.0, |(first, last)| (last - first) as f64 / 1e6)
}

fn through_service(call: &Call) -> bool {
    matches!(call.road, Road::ServiceFresh | Road::ServiceHeld)
        && matches!(call.request, Request::Put { .. })
}

#[cfg(test)]
mod tests {
    use etcd_history::record::Return;

    use super::*;

    fn write(op: OpId, outcome: Outcome) -> [Record; 2] {
        let request = Request::Put {
            key: "k".into(),
            value: format!("v{op}"),
            lease: 0,
        };
        let road = Road::ServiceHeld;
        let call = Call {
            t: 1,
            op,
            client: 1,
            road,
            scheduled: 1,
            request,
        };
        [
            Record::Call(call),
            Record::Return(Return { t: 2, op, outcome }),
        ]
    }

    fn phase(name: &str) -> Record {
        Record::Phase {
            t: 0,
            name: name.to_owned(),
        }
    }

    fn moved(outcome: Outcome) -> [Judgement; 2] {
        let mut records = vec![phase("fault")];
        records.extend(write(1, outcome.clone()));
        records.push(phase("settle"));
        records.extend(write(2, outcome));
        no_failed_write(&History { records })
    }

    #[test]
    fn a_write_that_fails_in_a_planned_move_is_named() {
        let unknown = Outcome::Unknown {
            class: "deadline".into(),
            message: String::new(),
        };
        let Finding::Violation { ops, .. } = moved(unknown)[0].outcome.clone() else {
            panic!("it failed")
        };
        assert_eq!(ops, [1], "the one after the move is not counted");
        let dropped = Outcome::Failed {
            class: "proposal_dropped".into(),
            message: String::new(),
        };
        for judged in moved(dropped.clone()) {
            assert_eq!(judged.outcome, Finding::Pass);
        }
        let mut long = vec![phase("fault")];
        long.extend(write(1, dropped.clone()));
        let [Record::Call(mut call), Record::Return(mut end)] = write(2, dropped) else {
            panic!("a call and its return")
        };
        (call.t, end.t) = (90_000_000, 102_000_000);
        long.extend([Record::Call(call), Record::Return(end)]);
        let [none_failed, judged] = no_failed_write(&History { records: long });
        assert_eq!(none_failed.outcome, Finding::Pass);
        assert_eq!(judged.check, HAND_OVER);
        assert!(
            judged
                .explanation()
                .contains("2 of 2 writes in the course of 102 ms"),
            "{judged:?}"
        );
        let [empty, _] = no_failed_write(&History::default());
        assert!(matches!(empty.outcome, Finding::Inconclusive { .. }));
    }

    #[test]
    fn a_budget_is_the_figure_of_the_design_with_the_slack_on_top() {
        let promise = Promise::continuity(Continuity::LeaderSilent);
        let expected = promise.expectations(5, 1);
        assert_eq!((expected.members, expected.faults), (5, 1));
        let limit = |road| {
            expected
                .gaps
                .iter()
                .find(|gap| gap.road == road)
                .map(|gap| gap.limit_ms)
        };
        assert_eq!(limit(Road::ServiceFresh), Some(300.0 + SLACK_MS));
        assert_eq!(limit(Road::ServiceHeld), Some(1000.0 + SLACK_MS));
        assert!(expected.gaps.iter().all(|gap| gap.over_dial_all));
        assert!(Promise::default().expectations(3, 1).gaps.is_empty());
    }
}
