//! What a scenario promises, and its translation into what the checks expect.
//!
//! Each round of a run gives one value, and the limits of [`Continuity`] are for the sample. The median shows a service
//! that has become slower. The longest shows one round that is far out: on a machine that a scheduler shares it may be
//! several times the median with nothing broken, so that its limit is wide. `docs/verdicts.md` has the table, and what
//! a slower service costs until it is found.
//!
//! Where a leader must be elected the service is held against the client that dials all members, and the election
//! itself against limits of its own ([`Election`]): what both clients lose together is lost too.

use std::time::Duration;

use etcd_history::check::{Expectations, GapBudget, OperationKind};
use etcd_history::record::Route;
use serde::Serialize;

/// Time to recover where the scenario says nothing.
const WHOLE_AGAIN: Duration = Duration::from_secs(60);

/// Most milliseconds for the median of the dial-all client's gaps where agents elect, with three members and fewer,
/// and with more. Seen on busy machines are 389 ms at most in 13 trials of three; raft's own timers took 790.
const ELECTED_AT_ONCE: (f64, f64) = (600.0, 650.0);
/// Most milliseconds for any gap where the leader's process is gone; seen are 1381 at most in 57 rounds.
const PROCESS_GONE_MS: f64 = 2_000.0;
/// The same where raft's timers elect; seen are 1500 at most in 20 rounds.
const SILENT_MS: f64 = 4_000.0;
/// The same where what ends the leader takes seconds itself. No run was at hand to set it by.
const SLOW_MS: f64 = 10_000.0;
/// Most milliseconds for which the label may differ from raft's leader; seen are 854 at most where the machine was not
/// starved.
const LABEL_LAG_MS: f64 = 2_000.0;

/// What a scenario promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Promise {
    /// Longest time without an acknowledged write.
    pub continuity: Continuity,
    /// How a leader is elected where one must be.
    pub election: Election,
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

/// How a leader is elected where one must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Election {
    /// By agents, at once, where the leader's process is gone, and else by raft's timers.
    #[default]
    Usual,
    /// By raft's timers, although the process is gone: agents are hindered, or members restart meanwhile.
    ByTimers,
    /// What ends the leader takes seconds itself.
    Slow,
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
    /// True where a leader must be elected.
    fn elects(self) -> bool {
        self.limits()
            .is_some_and(|(.., over_dial_all)| over_dial_all)
    }

    /// Most milliseconds for a whole gap of the service, and of the dial-all client, where a leader must be elected.
    fn ceilings(self, election: Election) -> (f64, f64) {
        let dial_all = match (self, election) {
            (_, Election::Slow) => SLOW_MS,
            (Self::LeaderSilent, _) | (_, Election::ByTimers) => SILENT_MS,
            _ => PROCESS_GONE_MS,
        };
        let more = match self {
            Self::Within(ms) => 2.0 * f64::from(ms),
            _ => 0.0,
        };
        (dial_all + more, dial_all)
    }

    /// For how many milliseconds the label may differ from raft's leader.
    fn label_lag_ms(self, election: Election) -> f64 {
        match self {
            Self::Within(ms) => 2.0 * f64::from(ms),
            Self::Planned | Self::LeaderStays => LABEL_LAG_MS,
            Self::Reported => SILENT_MS,
            _ => LABEL_LAG_MS.max(self.ceilings(election).0),
        }
    }

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

    /// Raft's timers elect, although the leader's process is gone.
    #[must_use]
    pub fn elected_by_timers(mut self) -> Self {
        self.election = Election::ByTimers;
        self
    }

    /// What ends the leader takes seconds itself.
    #[must_use]
    pub fn ends_slowly(mut self) -> Self {
        self.election = Election::Slow;
        self
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
            // Each other member has a turn by its agent, then raft's timers decide, and votes may be split once.
            terms_per_election: self.continuity.elects().then_some(u64::from(members) + 1),
            label_lag_ms: self.label_lag_ms(),
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
        let mut budgets = vec![
            budget(Route::ServiceFresh, fresh),
            budget(Route::ServiceHeld, held),
        ];
        if over_dial_all {
            budgets.extend(self.election_budgets(members));
        }
        budgets
    }

    /// What the whole gap may be, however little of it the dial-all client did not lose too.
    fn election_budgets(&self, members: u32) -> [GapBudget; 3] {
        let (service, dial_all) = self.continuity.ceilings(self.election);
        let at_once =
            self.election == Election::Usual && self.continuity != Continuity::LeaderSilent;
        let (three, five) = ELECTED_AT_ONCE;
        let median = if members > 3 { five } else { three };
        let whole = |route, median_ms, limit_ms| GapBudget {
            route,
            median_ms,
            limit_ms,
            over_dial_all: false,
        };
        [
            whole(Route::ServiceFresh, None, service),
            whole(Route::ServiceHeld, None, service),
            whole(Route::DialAll, at_once.then_some(median), dial_all),
        ]
    }

    /// For how many milliseconds the label may differ from raft's leader. Without a quorum no member leads, and
    /// how soon members are labelled again is bounded by the time to recover.
    fn label_lag_ms(&self) -> Option<u64> {
        if self.loses_quorum {
            return None;
        }
        let ms = self.continuity.label_lag_ms(self.election);
        u64::try_from(Duration::from_secs_f64(ms / 1e3).as_millis()).ok()
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
            let mut gaps = of(continuity);
            let whole = gaps.split_off(2);
            assert_eq!(gaps.len(), 2, "new and held connections");
            assert_eq!(whole.len(), if over_dial_all { 3 } else { 0 });
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

    /// What both clients lose is judged too, and an election that takes as long as without agents.
    #[test]
    fn an_election_has_limits_of_its_own() {
        let of = |promise: Promise, members| {
            let gaps = promise.expectations(members, 5).gaps;
            let whole = gaps.into_iter().skip(2);
            let told = whole.map(|gap| (gap.route, gap.limit_ms, gap.median_ms));
            told.collect::<Vec<_>>()
        };
        let every = |service, dial_all, median| {
            vec![
                (Route::ServiceFresh, service, None),
                (Route::ServiceHeld, service, None),
                (Route::DialAll, dial_all, median),
            ]
        };
        let killed = Promise::continuity(Continuity::ProcessKilled);
        assert_eq!(of(killed, 3), every(2000.0, 2000.0, Some(600.0)));
        assert_eq!(of(killed, 5), every(2000.0, 2000.0, Some(650.0)));
        let timers = every(4000.0, 4000.0, None);
        assert_eq!(of(killed.elected_by_timers(), 3), timers);
        let silent = Promise::continuity(Continuity::LeaderSilent);
        assert_eq!(of(silent, 3), timers);
        assert_eq!(of(silent.ends_slowly(), 3), every(10_000.0, 10_000.0, None));
        let within = Promise::continuity(Continuity::Within(5_000));
        assert_eq!(of(within, 3), every(12_000.0, 2000.0, Some(600.0)));
    }

    #[test]
    fn elections_are_counted_where_one_must_be() {
        let of = |continuity| Promise::continuity(continuity).expectations(5, 1);
        for continuity in [Continuity::ProcessKilled, Continuity::LeaderSilent] {
            let expected = of(continuity);
            assert_eq!(expected.terms_per_election, Some(6));
            assert_eq!(expected.terms_per_round, None);
        }
        for continuity in [Continuity::Planned, Continuity::LeaderStays] {
            assert_eq!(of(continuity).terms_per_election, None);
        }
        assert_eq!(of(Continuity::Reported).terms_per_election, None);
    }
}
