//! What a scenario promises, and its translation into what the checks expect.
//!
//! Each round of a run gives one value, and the limits of [`Continuity`] are for the sample. The median shows a service
//! that has become slower. The longest shows one round that is far out: on a machine that a scheduler shares it may be
//! several times the median with nothing broken, so that its limit is wide. `docs/verdicts.md` has the table, and what
//! a slower service costs until it is found.

use std::time::Duration;

use etcd_history::check::{Expectations, GapBudget, OperationKind};
use etcd_history::record::Route;
use serde::Serialize;

/// Time to recover where the scenario says nothing.
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
    /// Only reported: what is broken is the service's own route.
    #[default]
    Reported,
    /// The leader's process is gone: the others elect.
    ProcessKilled,
    /// The leader's process is gone and its agent does not answer: followers' agents bring the news.
    AgentSilent,
    /// A planned move: nothing waits for an election.
    Planned,
    /// The leader does not answer and does not go away: the others elect, and clients must disconnect from it.
    LeaderSilent,
    /// The leader stays: nothing is elected and nothing moves.
    LeaderStays,
    /// Elected and labelled, but something on the route needs so many milliseconds more.
    Within(u32),
}

/// Limits of one route, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limits {
    /// For the median of the rounds of three members and fewer.
    three: f64,
    /// For the median of the rounds of five members and more, which take two cores for longer.
    five: f64,
    /// For each round.
    most: f64,
}

impl Limits {
    const fn new(three: f64, five: f64, most: f64) -> Self {
        Self { three, five, most }
    }

    fn median(self, members: u32) -> f64 {
        if members > 3 { self.five } else { self.three }
    }
}

impl Continuity {
    /// Limits for new and for held connections, and whether they are over the gap of a client that dials all members:
    /// where a leader must be elected no client can write meanwhile.
    ///
    /// The median's leave a healthy suite red six times in a hundred on a busy machine of two cores, and find a shift
    /// of 100 ms nine times in ten; `docs/verdicts.md` has the table.
    fn limits(self) -> Option<(Limits, Limits, bool)> {
        let both = |limits, over_dial_all| Some((limits, limits, over_dial_all));
        match self {
            Self::Reported => None,
            Self::ProcessKilled => both(Limits::new(250.0, 330.0, 1000.0), true),
            Self::AgentSilent => both(Limits::new(450.0, 530.0, 1000.0), true),
            Self::Planned => both(Limits::new(280.0, 430.0, 1000.0), false),
            Self::LeaderStays => both(Limits::new(280.0, 380.0, 1000.0), false),
            Self::LeaderSilent => Some((
                Limits::new(270.0, 430.0, 1500.0),
                Limits::new(650.0, 750.0, 1500.0),
                true,
            )),
            Self::Within(ms) => {
                let ms = f64::from(ms);
                both(Limits::new(ms, ms, 2.0 * ms), true)
            }
        }
    }
}

impl Continuity {
    /// Most terms that may begin in a round.
    fn terms(self) -> Option<u64> {
        match self {
            Self::LeaderStays => Some(0),
            Self::Planned => Some(1),
            Self::Reported
            | Self::ProcessKilled
            | Self::AgentSilent
            | Self::LeaderSilent
            | Self::Within(_) => None,
        }
    }
}

impl Promise {
    /// With this continuity and nothing else.
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

    /// The cluster recovers within so many seconds.
    #[must_use]
    pub fn whole_again_within(mut self, seconds: u64) -> Self {
        self.whole_again_s = seconds;
        self
    }

    /// How soon every member is ready and labelled again.
    pub fn whole_again(&self) -> Duration {
        match self.whole_again_s {
            0 => WHOLE_AGAIN,
            seconds => Duration::from_secs(seconds),
        }
    }

    /// What the checks expect of a run with this promise.
    pub fn expectations(&self, members: u32, faults: usize) -> Expectations {
        Expectations {
            members,
            faults: u32::try_from(faults).unwrap_or(u32::MAX),
            gaps: self.budgets(members),
            terms_per_round: self.continuity.terms(),
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

    fn budgets(&self, members: u32) -> Vec<GapBudget> {
        let Some((fresh, held, over_dial_all)) = self.continuity.limits() else {
            return Vec::new();
        };
        let budget = |route, limits: Limits| GapBudget {
            route,
            median_ms: Some(limits.median(members)),
            limit_ms: limits.most,
            over_dial_all,
        };
        vec![
            budget(Route::ServiceFresh, fresh),
            budget(Route::ServiceHeld, held),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_need_not_elect_has_an_absolute_budget() {
        let of = |continuity| Promise::continuity(continuity).expectations(5, 1).gaps;
        for (continuity, over_dial_all) in [
            (Continuity::ProcessKilled, true),
            (Continuity::AgentSilent, true),
            (Continuity::LeaderSilent, true),
            (Continuity::Within(5_000), true),
            (Continuity::Planned, false),
            (Continuity::LeaderStays, false),
        ] {
            let gaps = of(continuity);
            assert_eq!(gaps.len(), 2, "new and held connections");
            for gap in gaps {
                assert_eq!(gap.over_dial_all, over_dial_all, "{continuity:?}");
                // One round of five that is 2 s late is found.
                let most = if matches!(continuity, Continuity::Within(_)) {
                    10_000.0
                } else {
                    1_500.0
                };
                assert!(gap.limit_ms <= most);
                assert!(gap.median_ms.is_some_and(|median| median < gap.limit_ms));
            }
        }
        assert!(of(Continuity::Reported).is_empty());
    }
}
