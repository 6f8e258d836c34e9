//! Pure: when is this member's etcd restarted, so that its clients go elsewhere?

use std::time::{Duration, Instant};

/// Grace of a member that led: its clients came through the leader service, and the new leader is elsewhere. Longer
/// than a planned move leaves it without a leader (tens of ms).
const GRACE_LED: Duration = Duration::from_millis(200);

/// Grace of a member that was told to be deposed: healthy ones learn it themselves within a heartbeat.
const GRACE_DEPOSED: Duration = Duration::from_millis(200);

/// Election timeouts without an answer after which a hanging member is cut on that alone. A leader that is only slow,
/// on a machine without a free core, must keep its clients; one that was replaced is told so by the others much
/// earlier.
const HANGING_ELECTIONS: u32 = 4;

/// Election timeouts without a leader after which a follower is cut. On a machine without a free core heartbeats come
/// late, and a restart would make it busier; its clients did not come by the leader service.
const FOLLOWER_ELECTIONS: u32 = 4;

/// Election timeouts without a leader after which a member that transfers leadership is cut. Its clients are forwarded
/// once it knows the new leader, which it chose itself; one on a busy machine may be silent for longer than
/// [`GRACE_LED`].
const PLANNED_ELECTIONS: u32 = 4;

/// What the member is seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It leads.
    Leads,
    /// It follows a leader, to which it forwards.
    Follows,
    /// It has no vote: it serves no clients, and nothing is to be gained.
    Learns,
    /// It answers and knows no leader.
    Leaderless {
        /// Too many others have another leader or are out of reach for a majority with this member.
        outvoted: bool,
    },
    /// It led at its last answer, and another leads in a higher term.
    Deposed,
    /// The same, and its next answer is overdue: it may follow the other by now, as one on a busy machine does.
    Late,
    /// The process is there and has not answered since.
    Hangs {
        /// The last answer.
        since: Instant,
        /// The others are a majority, and have a leader without it.
        spare: bool,
    },
    /// No process: the kernel has closed its connections.
    Gone,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Clients are served, or there are none.
    Leave,
    /// Not yet.
    Wait,
    /// Restart it.
    Restart,
}

/// How long a member that gave leadership away itself may be without a leader before its clients are cut.
pub(super) fn planned_grace(election_timeout: Duration) -> Duration {
    election_timeout * PLANNED_ELECTIONS
}

/// Memory of one member's trouble.
#[derive(Clone, Debug)]
pub struct Condition {
    election_timeout: Duration,
    led: bool,
    trouble_since: Option<Instant>,
}

impl Condition {
    /// No trouble yet. `election_timeout` is etcd's.
    pub fn new(election_timeout: Duration) -> Self {
        Self {
            election_timeout,
            led: false,
            trouble_since: None,
        }
    }

    /// Takes in what is seen at `now`; `planned` while the member transfers leadership itself.
    pub fn observe(&mut self, seen: Seen, now: Instant, planned: bool) -> Action {
        let move_grace = planned_grace(self.election_timeout);
        let (began, grace, costs_nothing) = match seen {
            Seen::Leads | Seen::Follows | Seen::Learns | Seen::Gone => {
                self.led = seen == Seen::Leads;
                self.trouble_since = None;
                return Action::Leave;
            }
            Seen::Deposed if planned => (now, move_grace, true),
            Seen::Deposed => (now, GRACE_DEPOSED, true),
            Seen::Late => (now, GRACE_DEPOSED, false),
            Seen::Leaderless { outvoted } if planned => (now, move_grace, outvoted),
            Seen::Leaderless { outvoted } if self.led => (now, GRACE_LED, outvoted),
            Seen::Leaderless { outvoted } => {
                (now, self.election_timeout * FOLLOWER_ELECTIONS, outvoted)
            }
            Seen::Hangs { since, spare } => {
                (since, self.election_timeout * HANGING_ELECTIONS, spare)
            }
        };
        let since = *self.trouble_since.get_or_insert(began);
        let lasted = now.saturating_duration_since(since);
        if lasted >= grace && costs_nothing {
            Action::Restart
        } else {
            Action::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION: Duration = Duration::from_millis(1000);
    const ALONE: fn(Instant) -> Seen = |_| Seen::Leaderless { outvoted: true };
    const CANDIDATE: fn(Instant) -> Seen = |_| Seen::Leaderless { outvoted: false };
    const HANGS: fn(Instant) -> Seen = |start| Seen::Hangs {
        since: start,
        spare: true,
    };
    const HANGS_NEEDED: fn(Instant) -> Seen = |start| Seen::Hangs {
        since: start,
        spare: false,
    };

    /// Milliseconds after the start, what is seen then, what follows.
    type Step = (u64, fn(Instant) -> Seen, Action);

    fn run(name: &str, steps: &[Step]) {
        run_as(name, steps, false);
    }

    fn run_as(name: &str, steps: &[Step], planned: bool) {
        let start = Instant::now();
        let mut condition = Condition::new(ELECTION);
        for (at, seen, expected) in steps {
            let now = start + Duration::from_millis(*at);
            let found = condition.observe(seen(start), now, planned);
            assert_eq!(found, *expected, "{name} at {at} ms");
        }
    }

    #[test]
    fn a_deposed_leader_is_restarted_after_a_short_grace() {
        run(
            "deposed",
            &[
                (0, |_| Seen::Leads, Action::Leave),
                (10, ALONE, Action::Wait),
                (209, ALONE, Action::Wait),
                (210, ALONE, Action::Restart),
                (950, |_| Seen::Follows, Action::Leave),
                (960, ALONE, Action::Wait),
                (1200, ALONE, Action::Wait),
            ],
        );
    }

    #[test]
    fn a_member_that_a_majority_could_need_is_never_restarted() {
        run(
            "a leader without its lease, whose only follower is there",
            &[
                (0, |_| Seen::Leads, Action::Leave),
                (10, CANDIDATE, Action::Wait),
                (90_000, CANDIDATE, Action::Wait),
                (90_010, ALONE, Action::Restart),
            ],
        );
        run(
            "hangs, and the others have no leader",
            &[
                (0, |_| Seen::Follows, Action::Leave),
                (90_000, HANGS_NEEDED, Action::Wait),
                (90_010, HANGS, Action::Restart),
            ],
        );
    }

    #[test]
    fn a_member_that_transfers_leadership_keeps_its_clients_until_it_knows_the_next_leader() {
        let steps: [Step; 5] = [
            (0, |_| Seen::Leads, Action::Leave),
            (10, ALONE, Action::Wait),
            (900, |_| Seen::Deposed, Action::Wait),
            (4009, ALONE, Action::Wait),
            (4010, ALONE, Action::Restart),
        ];
        run_as("a move without an end", &steps, true);
    }

    #[test]
    fn an_ordinary_election_restarts_no_follower() {
        run(
            "election",
            &[
                (0, |_| Seen::Follows, Action::Leave),
                (10, CANDIDATE, Action::Wait),
                (900, ALONE, Action::Wait),
                (950, |_| Seen::Leads, Action::Leave),
            ],
        );
        run(
            "cut off for long",
            &[
                (0, |_| Seen::Follows, Action::Leave),
                (10, ALONE, Action::Wait),
                (4009, ALONE, Action::Wait),
                (4010, ALONE, Action::Restart),
            ],
        );
    }

    #[test]
    fn a_slow_leader_keeps_its_clients_and_a_hanging_one_does_not() {
        run(
            "hangs",
            &[
                (0, |_| Seen::Leads, Action::Leave),
                (310, HANGS, Action::Wait),
                (3999, HANGS, Action::Wait),
                (4000, HANGS, Action::Restart),
                (4010, |_| Seen::Gone, Action::Leave),
            ],
        );
    }

    #[test]
    fn a_leader_that_does_not_know_that_it_was_deposed_is_restarted() {
        run(
            "deposed by the others",
            &[
                (0, |_| Seen::Leads, Action::Leave),
                (10, |_| Seen::Deposed, Action::Wait),
                (210, |_| Seen::Deposed, Action::Restart),
                (220, |_| Seen::Follows, Action::Leave),
            ],
        );
    }

    #[test]
    fn a_leader_that_answers_late_is_not_restarted_before_it_has_answered_or_hangs() {
        let steps: [Step; 3] = [
            (0, |_| Seen::Leads, Action::Leave),
            (10, |_| Seen::Late, Action::Wait),
            (300, |_| Seen::Late, Action::Wait),
        ];
        let follows: Step = (310, |_| Seen::Follows, Action::Leave);
        run("it follows", &[&steps[..], &[follows]].concat());
        let hangs: Step = (310, |_| Seen::Deposed, Action::Restart);
        run("it hangs", &[&steps[..], &[hangs]].concat());
    }

    #[test]
    fn a_learner_and_a_dead_process_have_no_clients_to_lose() {
        let quiet: [fn(Instant) -> Seen; 2] = [|_| Seen::Learns, |_| Seen::Gone];
        for seen in quiet {
            run(
                "quiet",
                &[(0, seen, Action::Leave), (9000, seen, Action::Leave)],
            );
        }
    }
}
