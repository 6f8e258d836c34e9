//! Pure: when are the clients of this member cut?

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
    Leaderless,
    /// It led at its last answer, and another leads in a higher term.
    Deposed,
    /// The process is there and has not answered since.
    Hangs {
        /// The last answer.
        since: Instant,
    },
    /// No process: the kernel has closed its connections.
    Gone,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Clients are served, or there are none.
    Leave,
    /// Not yet.
    Wait,
    /// Cut them.
    Cut,
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
    /// The process was seen to be gone, and none has answered since.
    gone: bool,
    trouble_since: Option<Instant>,
}

impl Condition {
    /// No trouble yet. `election_timeout` is etcd's.
    #[must_use]
    pub fn new(election_timeout: Duration) -> Self {
        Self {
            election_timeout,
            led: false,
            gone: false,
            trouble_since: None,
        }
    }

    /// Takes in what is seen at `now`; `planned` while the member transfers leadership itself.
    pub fn observe(&mut self, seen: Seen, now: Instant, planned: bool) -> Verdict {
        let move_grace = planned_grace(self.election_timeout);
        let (began, grace) = match seen {
            Seen::Leads | Seen::Follows | Seen::Learns | Seen::Gone => {
                self.led = seen == Seen::Leads;
                self.gone = seen == Seen::Gone;
                self.trouble_since = None;
                return Verdict::Leave;
            }
            // A new process that listens and does not serve yet: another member serves clients in its backlog sooner.
            Seen::Hangs { .. } if self.gone => return Verdict::Cut,
            Seen::Deposed | Seen::Leaderless if planned => (now, move_grace),
            Seen::Deposed => (now, GRACE_DEPOSED),
            Seen::Leaderless if self.led => (now, GRACE_LED),
            Seen::Leaderless => (now, self.election_timeout),
            Seen::Hangs { since } => (since, self.election_timeout * HANGING_ELECTIONS),
        };
        self.gone = false;
        let since = *self.trouble_since.get_or_insert(began);
        let lasted = now.saturating_duration_since(since);
        if lasted >= grace {
            Verdict::Cut
        } else {
            Verdict::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION: Duration = Duration::from_millis(1000);

    /// Milliseconds after the start, what is seen then, what follows.
    type Step = (u64, fn(Instant) -> Seen, Verdict);

    fn run(name: &str, steps: &[Step]) {
        run_as(name, steps, false);
    }

    fn run_as(name: &str, steps: &[Step], planned: bool) {
        let start = Instant::now();
        let mut condition = Condition::new(ELECTION);
        for (at, seen, expected) in steps {
            let now = start + Duration::from_millis(*at);
            assert_eq!(
                condition.observe(seen(start), now, planned),
                *expected,
                "{name} at {at} ms"
            );
        }
    }

    #[test]
    fn a_deposed_leader_is_cut_after_a_short_grace_until_it_follows() {
        run(
            "deposed",
            &[
                (0, |_| Seen::Leads, Verdict::Leave),
                (10, |_| Seen::Leaderless, Verdict::Wait),
                (209, |_| Seen::Leaderless, Verdict::Wait),
                (210, |_| Seen::Leaderless, Verdict::Cut),
                (900, |_| Seen::Leaderless, Verdict::Cut),
                (950, |_| Seen::Follows, Verdict::Leave),
                (960, |_| Seen::Leaderless, Verdict::Wait),
                (1200, |_| Seen::Leaderless, Verdict::Wait),
            ],
        );
    }

    #[test]
    fn who_hands_over_keeps_its_clients_until_it_hears_of_the_next_leader() {
        let steps: [Step; 5] = [
            (0, |_| Seen::Leads, Verdict::Leave),
            (10, |_| Seen::Leaderless, Verdict::Wait),
            (900, |_| Seen::Deposed, Verdict::Wait),
            (4009, |_| Seen::Leaderless, Verdict::Wait),
            (4010, |_| Seen::Leaderless, Verdict::Cut),
        ];
        run_as("a move without an end", &steps, true);
    }

    #[test]
    fn an_ordinary_election_cuts_nobody_at_the_followers() {
        run(
            "election",
            &[
                (0, |_| Seen::Follows, Verdict::Leave),
                (10, |_| Seen::Leaderless, Verdict::Wait),
                (900, |_| Seen::Leaderless, Verdict::Wait),
                (950, |_| Seen::Leads, Verdict::Leave),
            ],
        );
        run(
            "no quorum for long",
            &[
                (0, |_| Seen::Follows, Verdict::Leave),
                (10, |_| Seen::Leaderless, Verdict::Wait),
                (1010, |_| Seen::Leaderless, Verdict::Cut),
            ],
        );
    }

    #[test]
    fn a_slow_leader_keeps_its_clients_and_a_hanging_one_does_not() {
        run(
            "hangs",
            &[
                (0, |_| Seen::Leads, Verdict::Leave),
                (310, |start| Seen::Hangs { since: start }, Verdict::Wait),
                (3999, |start| Seen::Hangs { since: start }, Verdict::Wait),
                (4000, |start| Seen::Hangs { since: start }, Verdict::Cut),
                (4010, |_| Seen::Gone, Verdict::Leave),
            ],
        );
    }

    #[test]
    fn a_new_process_that_does_not_serve_yet_holds_no_clients() {
        run(
            "restarted",
            &[
                (0, |_| Seen::Leads, Verdict::Leave),
                (10, |_| Seen::Gone, Verdict::Leave),
                (500, |start| Seen::Hangs { since: start }, Verdict::Cut),
                (600, |_| Seen::Leaderless, Verdict::Wait),
                (650, |_| Seen::Follows, Verdict::Leave),
            ],
        );
    }

    #[test]
    fn a_leader_that_does_not_know_that_it_was_deposed_is_cut() {
        run(
            "deposed by the others",
            &[
                (0, |_| Seen::Leads, Verdict::Leave),
                (10, |_| Seen::Deposed, Verdict::Wait),
                (210, |_| Seen::Deposed, Verdict::Cut),
                (220, |_| Seen::Follows, Verdict::Leave),
            ],
        );
    }

    #[test]
    fn a_learner_and_a_dead_process_have_nobody_to_cut() {
        let quiet: [fn(Instant) -> Seen; 2] = [|_| Seen::Learns, |_| Seen::Gone];
        for seen in quiet {
            run(
                "quiet",
                &[(0, seen, Verdict::Leave), (9000, seen, Verdict::Leave)],
            );
        }
    }
}
