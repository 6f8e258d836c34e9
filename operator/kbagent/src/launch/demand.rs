//! Pure: what the agent may demand of the launcher, and when it is done.

use std::fmt;
use std::time::{Duration, Instant};

/// Shortest time between two restarts.
const PAUSE: Duration = Duration::from_secs(5);
/// Restarts that may follow each other; one more is allowed each [`REFILL`].
const MOST: u32 = 4;
/// Time after which one more restart is allowed.
const REFILL: Duration = Duration::from_secs(30);

/// Shortest time between two drains: one whose member is not removed after all comes back in between.
const DRAIN_PAUSE: Duration = Duration::from_secs(60);

/// Something that the agent demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing: is there a launcher?
    Ready,
    /// Kill etcd and start it again: it lost leadership or its leader in this term.
    Restart {
        /// The term that etcd was last seen in.
        term: u64,
    },
    /// Have etcd stop, and start it again later: its member is about to be removed.
    Drain,
    /// Kill etcd, which was told to stop and does not end because clients hold streams.
    End,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Demand::Ready => f.write_str("ready"),
            Demand::Restart { term } => write!(f, "restart {term}"),
            Demand::Drain => f.write_str("drain"),
            Demand::End => f.write_str("end"),
        }
    }
}

impl Demand {
    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        match line.trim().split_once(' ') {
            None if line.trim() == "ready" => Some(Demand::Ready),
            None if line.trim() == "drain" => Some(Demand::Drain),
            None if line.trim() == "end" => Some(Demand::End),
            Some(("restart", term)) => Some(Demand::Restart {
                term: term.parse().ok()?,
            }),
            _ => None,
        }
    }
}

/// What etcd is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Running {
    /// It serves, or hangs.
    Serves,
    /// It was killed, and has not ended yet or is not started again yet.
    Killed,
    /// It was told to stop, and is started again later.
    Drains,
    /// It was told to stop, as the launcher was.
    Stops,
}

/// Bounds restarts: once a term, not in quick succession, and no more than [`MOST`] in a row; and drains.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    last: Option<(Instant, u64)>,
    drained: Option<Instant>,
    left: u32,
    filled: Instant,
}

impl Gate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: None,
            drained: None,
            left: MOST,
            filled: now,
        }
    }

    /// Whether it is done, or why not. A restart that is allowed is counted.
    pub(super) fn judge(
        &mut self,
        demand: Demand,
        etcd: Running,
        now: Instant,
    ) -> Result<(), &'static str> {
        match (demand, etcd) {
            (Demand::Ready, _) | (Demand::End, Running::Stops | Running::Drains) => Ok(()),
            (Demand::End, _) => Err("etcd was not told to stop"),
            (_, Running::Killed) => Err("etcd is being restarted"),
            (_, Running::Stops | Running::Drains) => Err("etcd was told to stop"),
            (Demand::Restart { term }, Running::Serves) => self.restart(term, now),
            (Demand::Drain, Running::Serves) => self.drain(now),
        }
    }

    fn drain(&mut self, now: Instant) -> Result<(), &'static str> {
        let soon = |at| now.saturating_duration_since(at) < DRAIN_PAUSE;
        if self.drained.is_some_and(soon) {
            return Err("etcd was drained a moment ago");
        }
        self.drained = Some(now);
        Ok(())
    }

    fn restart(&mut self, term: u64, now: Instant) -> Result<(), &'static str> {
        while self.left < MOST && now.saturating_duration_since(self.filled) >= REFILL {
            self.left += 1;
            self.filled += REFILL;
        }
        if let Some((at, last)) = self.last {
            if term <= last {
                return Err("etcd was restarted in this term already");
            }
            if now.saturating_duration_since(at) < PAUSE {
                return Err("etcd was restarted a moment ago");
            }
        }
        if self.left == 0 {
            return Err("etcd was restarted too often");
        }
        if self.left == MOST {
            self.filled = now;
        }
        self.left -= 1;
        self.last = Some((now, term));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_read_as_it_was_written_and_nothing_else_is() {
        for demand in [
            Demand::Ready,
            Demand::Restart { term: u64::MAX },
            Demand::Drain,
            Demand::End,
        ] {
            assert_eq!(Demand::parse(&format!("{demand}\n")), Some(demand));
        }
        for line in [
            "",
            "restart",
            "restart -1",
            "restart 1 2",
            "restart x",
            "kill 1",
            "end 1",
        ] {
            assert_eq!(Demand::parse(line), None, "{line}");
        }
    }

    #[test]
    fn etcd_is_restarted_once_a_term_and_not_in_quick_succession() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let mut ask = |term, after| {
            let now = start + Duration::from_secs(after);
            gate.judge(Demand::Restart { term }, Running::Serves, now)
                .is_ok()
        };
        assert!(ask(4, 0));
        assert!(!ask(4, 100), "once a term");
        assert!(!ask(3, 100), "an old term");
        assert!(ask(5, 100));
        assert!(!ask(6, 104), "not so soon");
        assert!(ask(6, 105));
    }

    #[test]
    fn restarts_in_a_row_are_bounded_and_come_back_one_by_one() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let mut now = start;
        let mut allowed = 0;
        for term in 1..=60 {
            now += PAUSE;
            allowed += u32::from(
                gate.judge(Demand::Restart { term }, Running::Serves, now)
                    .is_ok(),
            );
        }
        // Four, and one for each half of the minutes that passed.
        assert!((MOST..=MOST + 10).contains(&allowed), "{allowed}");
        now += REFILL * MOST;
        for term in 100..100 + u64::from(MOST) {
            now += PAUSE;
            assert_eq!(
                gate.judge(Demand::Restart { term }, Running::Serves, now),
                Ok(())
            );
        }
    }

    #[test]
    fn a_member_that_is_not_removed_is_left_alone_for_a_minute() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let allowed = [0, 11, 59, 60, 100, 120].map(|after| {
            let now = start + Duration::from_secs(after);
            gate.judge(Demand::Drain, Running::Serves, now).is_ok()
        });
        assert_eq!(allowed, [true, false, false, true, false, true]);
    }

    #[test]
    fn what_stops_is_not_restarted_and_what_serves_is_not_ended() {
        let now = Instant::now();
        let restart = Demand::Restart { term: 1 };
        for (demand, etcd, expected) in [
            (Demand::Ready, Running::Killed, true),
            (Demand::End, Running::Stops, true),
            (Demand::End, Running::Drains, true),
            (Demand::End, Running::Serves, false),
            (Demand::End, Running::Killed, false),
            (restart, Running::Stops, false),
            (restart, Running::Drains, false),
            (Demand::Drain, Running::Serves, true),
            (Demand::Drain, Running::Drains, false),
            (Demand::Drain, Running::Killed, false),
            (Demand::Drain, Running::Stops, false),
            (restart, Running::Killed, false),
            (restart, Running::Serves, true),
        ] {
            let found = Gate::new(now).judge(demand, etcd, now);
            assert_eq!(
                found.is_ok(),
                expected,
                "{demand} of one that {etcd:?}: {found:?}"
            );
        }
    }
}
