//! Whether raft in the own member takes part while its etcd answers no status. etcd answers that call once it has the
//! lock of its database, which a defragmentation holds to its end, as a hash of the key space does while writes wait
//! for it. Raft needs no such lock: it votes, takes entries and answers heartbeats meanwhile, and shows its state.

use std::time::{Duration, Instant};

use kbagent_protocol::Id;

use crate::config::Config;
use crate::election::raft::{self, RaftState};
use crate::tls::Tls;

/// Pause between two readings: each stops etcd for a moment, to count its memory.
const EVERY: Duration = Duration::from_millis(250);
/// How long raft may give etcd nothing of what is committed. It waits for its log to be on the disk: for longer than
/// any disk that is only busy, which a defragmentation makes it.
const STUCK: Duration = Duration::from_secs(10);

/// Reads it.
pub(super) struct OwnRaft {
    address: String,
    tls: Tls,
    read_at: Option<Instant>,
    newest: Option<RaftState>,
    steps: Steps,
}

impl OwnRaft {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            address: config.etcd_address(),
            tls: config.tls.clone(),
            read_at: None,
            newest: None,
            steps: Steps::default(),
        }
    }

    /// The leader that raft follows in the member `own`, if it takes part.
    pub(super) async fn follows(&mut self, own: Id) -> Option<Id> {
        if self.read_at.is_none_or(|at| at.elapsed() >= EVERY) {
            self.newest = raft::read(&self.address, &self.tls).await;
            self.read_at = Some(Instant::now());
        }
        let raft = self.newest.as_ref().filter(|raft| raft.member == own)?;
        let continues = self.steps.continues(raft, Instant::now());
        raft.leader.filter(|_| continues)
    }

    /// Its etcd answers: what was seen before says nothing of the next silence.
    pub(super) fn forget(&mut self) {
        (self.read_at, self.newest) = (None, None);
        self.steps = Steps::default();
    }
}

/// Pure: how far raft has come.
#[derive(Debug, Default)]
struct Steps {
    applied: u64,
    moved_at: Option<Instant>,
}

impl Steps {
    /// True unless what is committed has waited for too long.
    fn continues(&mut self, raft: &RaftState, now: Instant) -> bool {
        if raft.applied != self.applied || raft.applied >= raft.commit {
            *self = Self {
                applied: raft.applied,
                moved_at: Some(now),
            };
        }
        let moved_at = *self.moved_at.get_or_insert(now);
        now.saturating_duration_since(moved_at) < STUCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raft_that_gives_etcd_nothing_for_long_takes_no_part() {
        let (start, mut steps) = (Instant::now(), Steps::default());
        // Seconds, committed, applied, whether it takes part.
        let seen = [
            (0, 7, 7, true),
            (60, 7, 7, true),
            (61, 9, 7, true),
            (62, 9, 8, true),
            (71, 20, 8, true),
            (72, 20, 8, false),
            (73, 20, 9, true),
        ];
        for (at, commit, applied, expected) in seen {
            let raft = RaftState {
                member: Id(1),
                term: 4,
                leader: Some(Id(2)),
                commit,
                applied,
            };
            let now = start + Duration::from_secs(at);
            assert_eq!(steps.continues(&raft, now), expected, "at {at} s");
        }
    }
}
