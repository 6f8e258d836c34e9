//! What a scenario promises, and its translation into what the checks expect.
//!
//! The figures to reach are those of the design, and `bench failover` holds its distribution against them. One sample
//! on a shared machine of two cores is a proof of brokenness only when it is far out: its limit is looser by
//! [`SLACK_MS`], on top of what a client that dials all members lost of the same gap.

use std::time::Duration;

use etcd_history::check::{Expectations, GapBudget, GapWindow, InTime, OperationKind};
use etcd_history::record::Road;
use serde::Serialize;

use crate::scenario::Trial;
use crate::timeouts;

/// What a busy machine may add to one sample: a scheduling quantum of each of six processes between a raft leader and a
/// client's connection, on two cores that also run six kubelets.
const SLACK_MS: f64 = 250.0;

/// A planned move, in milliseconds.
const PLANNED_MS: f64 = 100.0;

/// Until everything is whole again where the scenario says nothing.
const WHOLE_AGAIN: Duration = Duration::from_secs(60);

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

    /// Everything is whole again within so many seconds.
    #[must_use]
    pub fn whole_again_within(mut self, seconds: u64) -> Self {
        self.whole_again_s = seconds;
        self
    }

    /// How soon every member is ready and labelled again.
    #[must_use]
    pub fn whole_again(&self) -> Duration {
        match self.whole_again_s {
            0 => WHOLE_AGAIN,
            seconds => Duration::from_secs(seconds),
        }
    }

    /// What the checks expect of a run with this promise.
    #[must_use]
    pub fn expectations(&self, members: u32, faults: usize) -> Expectations {
        Expectations {
            members,
            faults: u32::try_from(faults).unwrap_or(u32::MAX),
            gaps: self.budgets(),
            planned: self.no_failed_write,
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

    /// Phases that must come in time.
    #[must_use]
    pub fn in_time(&self, trial: &Trial) -> Vec<InTime> {
        let limit = |from: &str, to: &str, limit: Duration| InTime {
            from: from.to_owned(),
            to: to.to_owned(),
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        };
        let whole_again = self.whole_again();
        let mut limits = vec![
            limit("set_up", "ready", timeouts::CLUSTER_RUNNING),
            limit("recover", "settle", whole_again),
        ];
        if trial.recovers_under_fault {
            let (from, to) = ("recover_under_fault", "recovered_under_fault");
            limits.push(limit(from, to, whole_again));
        }
        let numbers = trial.faults.len()..trial.faults.len() + trial.operations.len();
        limits.extend(numbers.map(|number| {
            let begun = format!("operation_{number}");
            limit(&begun, &format!("{begun}_done"), timeouts::OPERATION)
        }));
        limits
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

#[cfg(test)]
mod tests {
    use super::*;

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
