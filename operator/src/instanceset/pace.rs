//! When to look again while the operator waits for something that may cause no event: soon after a change, and the
//! later the longer nothing has. A look costs five lists and a linearizable member list.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::plan::{Plan, Waiting};

/// The longest wait between two looks.
const SLOWEST: Duration = Duration::from_secs(5);
/// Part of the standstill that the next look may be late: what moves without an event is found at most so much later.
const PART: u32 = 4;

/// Since when each InstanceSet stands still, and at what.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<String, Standstill>>);

#[derive(Debug)]
struct Standstill {
    at: Vec<Waiting>,
    since: Instant,
}

impl Pace {
    /// Time until the next look at what this plan waits for; `soonest` when it is not what the look before has found.
    pub(super) fn next(&self, set: &str, plan: &Plan, soonest: Duration) -> Duration {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let at: Vec<Waiting> = plan.waiting.iter().map(standing).collect();
        let still = known
            .get(set)
            .filter(|still| plan.steps.is_empty() && still.at == at);
        let since = still.map_or(now, |still| still.since);
        known.insert(set.to_owned(), Standstill { at, since });
        (now.duration_since(since) / PART).clamp(soonest, SLOWEST.max(soonest))
    }

    /// Time until the next look at a learner while the API server refuses a step: that is tried ever later, and a vote
    /// must not wait for it. `None` when no learner is waited for.
    pub(super) fn of_learner(&self, set: &str, plan: &Plan, soonest: Duration) -> Option<Duration> {
        let is_learner = |why: &&Waiting| {
            matches!(
                why,
                Waiting::CatchingUp { .. } | Waiting::LearnerStarting(_)
            )
        };
        let learners = Plan {
            waiting: plan.waiting.iter().filter(is_learner).cloned().collect(),
            ..Plan::default()
        };
        (!learners.waiting.is_empty()).then(|| self.next(set, &learners, soonest))
    }

    /// Nothing is waited for, or the InstanceSet is gone.
    pub(super) fn forget(&self, set: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(set);
    }
}

/// What is waited for, without what moves with every write of a client.
fn standing(waiting: &Waiting) -> Waiting {
    match waiting.clone() {
        Waiting::CatchingUp { pod, applied, .. } => Waiting::CatchingUp {
            pod,
            applied,
            leader: 0,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::super::controller::next;
    use super::super::plan::Step;
    use super::super::plan::tests::stuck_update;
    use super::*;

    /// Looks in so many seconds at a world that `changes` with time.
    async fn looks(seconds: u64, plan_at: impl Fn(Duration) -> Plan) -> usize {
        let (pace, began) = (Pace::default(), Instant::now());
        let mut looks = 0;
        while began.elapsed() < Duration::from_secs(seconds) {
            looks += 1;
            sleep(next(&plan_at(began.elapsed()), &pace, "ns/a")).await;
        }
        looks
    }

    fn catching_up(applied: u64, leader: u64) -> Plan {
        let pod = "a-3".to_owned();
        Plan {
            waiting: vec![Waiting::CatchingUp {
                pod,
                applied,
                leader,
            }],
            ..Plan::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_that_stands_still_is_looked_at_less_and_less() {
        let stuck = stuck_update();
        let update = |reason: &Waiting| matches!(reason, Waiting::Update { .. });
        assert!(stuck.waiting.iter().any(update), "{:?}", stuck.waiting);
        assert!(stuck.steps.is_empty(), "{:?}", stuck.steps);
        assert!(looks(1, |_| stuck.clone()).await <= 5);
        let hour = looks(3600, |_| stuck.clone()).await;
        // One in five seconds, and some at first. Five a second would be 18000.
        assert!((720..=760).contains(&hour), "{hour} looks in an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn a_learner_is_looked_at_often_while_it_copies_and_not_for_the_leaders_sake() {
        let millis = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let copies = looks(60, |at| catching_up(millis(at), 9_000_000)).await;
        assert!((290..=310).contains(&copies), "{copies} looks");
        let stuck = looks(60, |at| catching_up(0, millis(at))).await;
        assert!(stuck <= 35, "{stuck} looks at a learner that stands still");
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_without_an_event_is_found_a_quarter_late_at_most() {
        let pace = Pace::default();
        let soonest = Duration::from_millis(200);
        for seconds in [1, 4, 10, 100] {
            let moved = Duration::from_secs(seconds);
            pace.forget("ns/a");
            let began = Instant::now();
            while began.elapsed() < moved {
                sleep(pace.next("ns/a", &catching_up(0, 1), soonest)).await;
            }
            let late = began.elapsed() - moved;
            assert!(
                late <= (moved / PART).clamp(soonest, SLOWEST),
                "{late:?} after {moved:?}"
            );
            assert_eq!(pace.next("ns/a", &catching_up(1, 1), soonest), soonest);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sets_stand_still_on_their_own() {
        let (pace, soonest) = (Pace::default(), Duration::from_millis(200));
        pace.next("ns/a", &catching_up(0, 1), soonest);
        sleep(Duration::from_secs(8)).await;
        assert_eq!(pace.next("ns/b", &catching_up(0, 1), soonest), soonest);
        assert_eq!(
            pace.next("ns/a", &catching_up(0, 1), soonest),
            Duration::from_secs(2)
        );
        pace.forget("ns/a");
        assert_eq!(pace.next("ns/a", &catching_up(0, 1), soonest), soonest);
    }

    #[tokio::test(start_paused = true)]
    async fn a_learner_is_looked_at_although_a_step_stays_refused() {
        let (pace, soonest) = (Pace::default(), Duration::from_secs(1));
        let mut refused = catching_up(1, 9);
        refused.waiting.push(Waiting::Held);
        refused.steps.push(Step::AddFinalizer);
        let next = |plan: &Plan| pace.of_learner("ns/a", plan, soonest);
        assert_eq!(next(&refused), Some(soonest));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(next(&refused), Some(SLOWEST), "it stands still");
        refused.waiting[0] = catching_up(2, 9).waiting.remove(0);
        assert_eq!(next(&refused), Some(soonest));
        refused.waiting.remove(0);
        assert_eq!(next(&refused), None, "the refusal alone is no hurry");
    }
}
