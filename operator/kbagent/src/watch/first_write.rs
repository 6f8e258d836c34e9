//! The first write in a term that the own member got by an election: as the polls see it, which come anyway. Pure.
//!
//! A status has the term of the newest entry that was applied, so when it names the new one, whatever the former leader
//! had left in the log is applied, and a revision that grows after it is a write of the new term. One that was applied
//! by then is not told from the former leader's.

use std::time::{Duration, Instant};

use kbagent_protocol::{Id, MemberStatus};

/// Longest time in which it belongs to the failover: later ones came late because no client wrote.
const LATEST: Duration = Duration::from_secs(60);

/// The first write of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstWrite {
    /// etcd's cluster.
    pub(crate) cluster: Id,
    pub(crate) term: u64,
    /// When the member was seen to lead.
    pub(crate) led: Instant,
    /// When the write was seen.
    pub(crate) written: Instant,
}

/// A term that the own member leads, and in which it was not seen to write.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    revision: i64,
    since: Instant,
}

/// Follows the own member from poll to poll.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// The newest term with a leader.
    led: Option<(Id, u64)>,
    awaited: Option<Awaited>,
}

impl Writes {
    /// Takes in a status that was read at `now`.
    pub(super) fn look(&mut self, status: &MemberStatus, now: Instant) -> Option<FirstWrite> {
        let leader = status.leader_id?;
        let (cluster, term) = (status.cluster_id, status.term);
        if self.led != Some((cluster, term)) {
            let before = self.led.replace((cluster, term));
            // The first leader that is known may have led for long.
            let elected = before.is_some_and(|(of, before)| of == cluster && before < term);
            let awaits = elected && leader == status.member_id;
            self.awaited = awaits.then_some(Awaited {
                revision: status.revision,
                since: now,
            });
            return None;
        }
        let Awaited { revision, since } = self.awaited?;
        if status.revision <= revision {
            return None;
        }
        self.awaited = None;
        let in_time = now.saturating_duration_since(since) <= LATEST;
        in_time.then_some(FirstWrite {
            cluster,
            term,
            led: since,
            written: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    /// A status of member 1 of cluster 9.
    fn status(leader: Option<u64>, term: u64, revision: i64) -> MemberStatus {
        MemberStatus {
            revision,
            ..test_support::status(1, leader, term)
        }
    }

    /// When, in milliseconds, each first write was seen in polls so far apart: the term, and the time since it led.
    fn seen(every_ms: u64, polls: &[MemberStatus]) -> Vec<(u64, u128)> {
        let mut writes = Writes::default();
        let mut now = Instant::now();
        let mut all = Vec::new();
        for status in polls {
            now += Duration::from_millis(every_ms);
            let first = writes.look(status, now);
            all.extend(first.map(|first| {
                assert_eq!((first.cluster, first.written), (Id(9), now));
                (first.term, (first.written - first.led).as_millis())
            }));
        }
        all
    }

    #[test]
    fn the_first_revision_after_the_new_term_was_seen_is_told_once() {
        let polls = [
            status(Some(2), 4, 70),
            status(None, 4, 70),
            // What the former leader had left in the log is applied before the term is.
            status(Some(1), 5, 73),
            status(Some(1), 5, 73),
            status(Some(1), 5, 74),
            status(Some(1), 5, 99),
        ];
        assert_eq!(seen(10, &polls), [(5, 20)]);
    }

    #[test]
    fn writes_of_another_leader_and_of_one_that_led_before_are_none() {
        let other = [
            status(Some(2), 4, 70),
            status(Some(3), 5, 70),
            status(Some(3), 5, 80),
        ];
        let before = [status(Some(1), 5, 70), status(Some(1), 5, 80)];
        let mut replaced = [
            status(Some(2), 4, 70),
            status(Some(1), 5, 70),
            status(Some(1), 5, 80),
        ];
        for status in &mut replaced[1..] {
            status.cluster_id = Id(8);
        }
        let deposed = [
            status(Some(2), 4, 70),
            status(Some(1), 5, 70),
            status(Some(3), 6, 80),
            status(Some(3), 6, 90),
        ];
        for none in [other.as_slice(), &before, &replaced, &deposed] {
            assert_eq!(seen(10, none), []);
        }
    }

    #[test]
    fn a_member_that_leads_again_has_another_first_write() {
        let polls = [
            status(Some(1), 4, 70),
            status(Some(1), 5, 70),
            status(Some(1), 5, 71),
            status(Some(1), 7, 71),
            status(Some(1), 7, 75),
        ];
        assert_eq!(seen(50, &polls), [(5, 50), (7, 50)]);
    }

    #[test]
    fn what_clients_write_much_later_is_no_part_of_a_failover() {
        let polls = [
            status(Some(2), 4, 70),
            status(Some(1), 5, 70),
            status(Some(1), 5, 71),
        ];
        assert_eq!(seen(60_000, &polls), [(5, 60_000)]);
        assert_eq!(seen(60_001, &polls), []);
    }
}
