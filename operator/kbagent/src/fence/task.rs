//! Applies the condition to what the watcher and the other members tell, and has etcd restarted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kbagent_protocol::{EtcdState, FencingReport, Role};
use tokio::sync::watch;

use super::condition::{Action, Condition, Seen, planned_grace};
use super::elsewhere::{self, Elsewhere};
use super::launcher::Launcher;
use super::own_raft::OwnRaft;
use crate::config::Config;
use crate::etcd::Client;
use crate::launch::Demand;
use crate::watch::Knowledge;

/// Pause between two looks while something is wrong.
const EVERY: Duration = Duration::from_millis(50);
/// Pause after a restart was demanded, whether it was done or refused.
const AGAIN: Duration = Duration::from_secs(1);
/// An answer of the own etcd that is older is overdue: it is asked at least every 50 ms.
const OVERDUE: Duration = Duration::from_millis(150);

/// What tells that a move of leadership was this member's own doing.
pub struct Planned {
    /// True while the member transfers leadership because its pod stops, and from then on.
    pub stopping: watch::Receiver<bool>,
    /// When a switchover was last begun here.
    pub moved_at: watch::Receiver<Option<Instant>>,
}

impl Planned {
    /// Whether a member that knows no leader now may have given leadership away itself.
    fn holds(&self, election_timeout: Duration) -> bool {
        let moved_at = *self.moved_at.borrow();
        let recent = moved_at.is_some_and(|at| at.elapsed() < planned_grace(election_timeout));
        *self.stopping.borrow() || recent
    }
}

/// Starts fencing; the receiver holds what it does. `doubted` holds when there was last a reason to ask the
/// others whether the own member still leads.
pub fn start(
    config: &Arc<Config>,
    own: &Client,
    knowledge: watch::Receiver<Knowledge>,
    doubted: watch::Receiver<Option<Instant>>,
    planned: Planned,
) -> watch::Receiver<FencingReport> {
    let (report, reports) = watch::channel(FencingReport::default());
    let (found, elsewhere) = watch::channel(None);
    let look = elsewhere::look(
        own.clone(),
        OwnRaft::new(config),
        knowledge.clone(),
        doubted,
        found,
        report.clone(),
    );
    let fence = Fence {
        condition: Condition::new(config.election_timeout),
        launcher: Launcher::new(&config.run_dir),
        report,
        elsewhere,
        planned,
        took_part: None,
        election_timeout: config.election_timeout,
    };
    tokio::spawn(look);
    tokio::spawn(fence.run(knowledge));
    reports
}

struct Fence {
    condition: Condition,
    launcher: Launcher,
    report: watch::Sender<FencingReport>,
    elsewhere: watch::Receiver<Option<Elsewhere>>,
    planned: Planned,
    /// When raft in a member that answers no status was last seen to follow the leader of the others.
    took_part: Option<Instant>,
    election_timeout: Duration,
}

impl Fence {
    async fn run(mut self, mut knowledge: watch::Receiver<Knowledge>) {
        loop {
            let now = Instant::now();
            let found = *self.elsewhere.borrow_and_update();
            if found.is_some_and(|found| found.takes_part(now)) {
                self.took_part = Some(now);
            }
            let (seen, term, running) = {
                let known = knowledge.borrow_and_update();
                let term = known.status().map_or(0, |status| status.term);
                let running = *known.etcd() == EtcdState::Running;
                (seen(&known, found, self.took_part, now), term, running)
            };
            if running && !self.report.borrow().supported {
                self.look_for_launcher().await;
            }
            let planned = self.planned.holds(self.election_timeout);
            let action = self.condition.observe(seen, now, planned);
            self.set_active(action == Action::Restart, seen);
            match action {
                // Every change that could matter wakes: without one nothing has to be looked at.
                Action::Leave => {
                    let over = tokio::select! {
                        known = knowledge.changed() => known.is_err(),
                        // An error means that nothing more is found, and the own knowledge is all there is.
                        Ok(()) = self.elsewhere.changed() => false,
                    };
                    if over {
                        return;
                    }
                }
                Action::Wait => tokio::time::sleep(EVERY).await,
                Action::Restart => {
                    self.restart(term).await;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn look_for_launcher(&self) {
        let found = self.launcher.demand(Demand::Ready).await;
        self.report.send_modify(|report| {
            report.supported = found.is_ok();
            report.unsupported_reason = found.err().map(|error| error.to_string());
        });
    }

    fn set_active(&self, active: bool, seen: Seen) {
        self.report.send_if_modified(|report| {
            let changed = report.active != active;
            if changed {
                let restarts = report.restarts;
                tracing::info!(active, ?seen, restarts, "fencing of clients changed");
            }
            report.active = active;
            changed
        });
    }

    async fn restart(&self, term: u64) {
        match self.launcher.demand(Demand::Restart { term }).await {
            Ok(()) => {
                tracing::warn!(
                    term,
                    "etcd is restarted: the majority is elsewhere, and its clients must go there"
                );
                self.report.send_modify(|report| report.restarts += 1);
            }
            Err(error) => {
                tracing::warn!(%error, term, "clients of a member that cannot serve them stay")
            }
        }
    }
}

fn seen(
    knowledge: &Knowledge,
    elsewhere: Option<Elsewhere>,
    took_part: Option<Instant>,
    now: Instant,
) -> Seen {
    let status = knowledge.status();
    let term = status.map_or(0, |status| status.term);
    let elsewhere = elsewhere.filter(|elsewhere| elsewhere.counts_in(term));
    let found = |judge: fn(&Elsewhere, Instant) -> bool| {
        elsewhere.is_some_and(|elsewhere| judge(&elsewhere, now))
    };
    let deposed = found(Elsewhere::deposed);
    // Its next answer may be that it follows the others' leader.
    let overdue = |at| now.saturating_duration_since(at) >= OVERDUE;
    let late =
        *knowledge.etcd() == EtcdState::Running && knowledge.answered_at().is_some_and(overdue);
    match (knowledge.etcd(), status, knowledge.answered_at()) {
        (_, Some(status), _) if status.is_learner => Seen::Learns,
        // It has voted and forwards; what it applies lags behind.
        (EtcdState::Running, Some(status), _)
            if status.leader_id.is_none() && knowledge.follows() =>
        {
            Seen::Follows
        }
        (EtcdState::Running, Some(status), _) if status.leader_id.is_none() => Seen::Leaderless {
            outvoted: found(Elsewhere::outvoted) && !late,
        },
        (EtcdState::Running, Some(status), _) if status.role() == Role::Leader => {
            match (deposed, late) {
                (true, true) => Seen::Late,
                (true, false) => Seen::Deposed,
                (false, _) => Seen::Leads,
            }
        }
        (EtcdState::Running, _, _) => Seen::Follows,
        (EtcdState::Unreachable { refused: false, .. }, Some(status), _)
            if status.role() == Role::Leader && deposed =>
        {
            Seen::Deposed
        }
        // Its database is locked, by a defragmentation perhaps, which a restart would undo.
        (EtcdState::Unreachable { refused: false, .. }, ..) if found(Elsewhere::takes_part) => {
            Seen::Follows
        }
        (EtcdState::Unreachable { refused: false, .. }, _, Some(answered)) => Seen::Hangs {
            since: took_part.map_or(answered, |at| at.max(answered)),
            spare: found(Elsewhere::whole),
        },
        _ => Seen::Gone,
    }
}

#[cfg(test)]
mod planned_tests {
    use super::*;

    #[test]
    fn a_move_is_planned_from_its_begin_until_its_grace_is_over() {
        let election = Duration::from_millis(100);
        let (stopping, moved) = (watch::Sender::new(false), watch::Sender::new(None));
        let planned = Planned {
            stopping: stopping.subscribe(),
            moved_at: moved.subscribe(),
        };
        assert!(!planned.holds(election), "no transfer was requested");
        moved.send_replace(Some(Instant::now()));
        assert!(planned.holds(Duration::from_secs(100)));
        moved.send_replace(Instant::now().checked_sub(planned_grace(election)));
        assert!(!planned.holds(election), "it is over");
        stopping.send_replace(true);
        assert!(planned.holds(election), "the pod stops");
    }
}

#[cfg(test)]
mod seen_tests {
    use kbagent_protocol::{Id, MemberView};

    use super::elsewhere::Answer;
    use super::*;
    use crate::test_support::view;

    /// Member 1 of three, by its last status.
    fn known(leader: Option<u64>, etcd: EtcdState) -> Knowledge {
        Knowledge::of(MemberView {
            etcd,
            ..view(1, leader, 4)
        })
    }

    fn silent() -> EtcdState {
        EtcdState::Unreachable {
            reason: String::new(),
            refused: false,
        }
    }

    #[test]
    fn a_silent_follower_whose_raft_follows_the_leader_of_the_others_is_part_of_their_majority() {
        let now = Instant::now() + Duration::from_mins(1);
        let others = [Answer::Another(Id(2)); 2];
        let sees = |follows: Option<u64>, led: u64, took_part| {
            let found = Elsewhere::of(3, &others, follows.map(Id), (4, now));
            seen(&known(Some(led), silent()), Some(found), took_part, now)
        };
        assert_eq!(sees(Some(2), 2, None), Seen::Follows);
        for other in [None, Some(3)] {
            let hangs = matches!(sees(other, 2, None), Seen::Hangs { spare: true, .. });
            assert!(hangs, "raft says {other:?}");
        }
        assert_eq!(sees(Some(2), 1, None), Seen::Deposed, "it led");
        // It froze while its database was locked.
        let hangs = Seen::Hangs {
            since: now,
            spare: true,
        };
        assert_eq!(sees(None, 2, Some(now)), hangs);
    }

    #[test]
    fn who_follows_the_next_leader_and_applies_late_is_not_leaderless() {
        let now = Instant::now();
        let others = [Answer::Another(Id(2)), Answer::Silent];
        let found = Some(Elsewhere::of(3, &others, None, (4, now)));
        let mut knowledge = known(None, EtcdState::Running);
        let alone = Seen::Leaderless { outvoted: true };
        assert_eq!(seen(&knowledge, found, None, now), alone);
        knowledge.set_follows(true);
        assert_eq!(seen(&knowledge, found, None, now), Seen::Follows);
    }

    #[test]
    fn what_was_found_before_a_leader_was_elected_again_says_nothing_of_it() {
        let now = Instant::now();
        let others = [Answer::Another(Id(2)); 2];
        let found = |term| Some(Elsewhere::of(3, &others, None, (term, now)));
        let leads = known(Some(1), EtcdState::Running);
        assert_eq!(seen(&leads, found(4), None, now), Seen::Deposed);
        assert_eq!(seen(&leads, found(3), None, now), Seen::Leads);
        let hangs = seen(&known(Some(1), silent()), found(3), None, now);
        assert!(matches!(hangs, Seen::Hangs { spare: false, .. }));
    }

    #[test]
    fn a_member_whose_answer_is_overdue_may_follow_another_by_now() {
        let others = [Answer::Another(Id(2)); 2];
        let leads = known(Some(1), EtcdState::Running);
        let answered = leads.answered_at().expect("it answered");
        let sees = |known: &Knowledge, after: Duration| {
            let now = answered + after;
            let found = Elsewhere::of(3, &others, None, (4, now));
            seen(known, Some(found), None, now)
        };
        let before = OVERDUE.saturating_sub(Duration::from_millis(1));
        assert_eq!(sees(&leads, before), Seen::Deposed);
        assert_eq!(sees(&leads, OVERDUE), Seen::Late);
        let leaderless = known(None, EtcdState::Running);
        for (after, outvoted) in [(before, true), (OVERDUE, false)] {
            let answered = leaderless.answered_at().expect("it answered");
            let (now, of) = (answered + after, (4, answered + after));
            let found = Elsewhere::of(3, &others, None, of);
            let sees = seen(&leaderless, Some(found), None, now);
            assert_eq!(sees, Seen::Leaderless { outvoted }, "{after:?}");
        }
        // No answer came: it hangs.
        let hangs = known(Some(1), silent());
        assert_eq!(sees(&hangs, OVERDUE * 2), Seen::Deposed);
    }
}
