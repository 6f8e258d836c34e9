//! What to simulate.

use super::random::Random;

/// What [`simulate`](super::simulate) makes a history of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed of all random choices: the same plan gives the same history.
    pub seed: u64,
    /// Number of members of the cluster.
    pub members: u32,
    /// Number of closed-loop clients: each sends its next request when the one before has returned.
    pub clients: u32,
    /// Number of operations of all closed-loop clients together.
    pub operations: u64,
    /// Number of keys, which the clients share.
    pub keys: u64,
    /// Milliseconds between the writes of an open-loop writer; 0 for none.
    pub writer_period_ms: i64,
    /// Percentage of operations whose outcome is unknown although no fault is active.
    pub unknown_percent: u64,
    /// True to kill the leader halfway.
    pub kill_leader: bool,
    /// True to let the operator restart two followers one after the other, late in the run.
    pub restart_follower: bool,
    /// True for one more watcher, of a part of the keys.
    pub narrow_watcher: bool,
    /// Number of watchers of all keys.
    pub watchers: u32,
    /// What is special about this run.
    pub variety: Variety,
}

/// Special conditions of the cluster or of the recording. All can be combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variety {
    /// Milliseconds that a watcher waits at most before it reconnects: what some have missed is compacted by then.
    pub watchers_away_ms: i64,
    /// There are two more watchers: one from a revision in the future, one from revision 0.
    pub late_watchers: bool,
    /// Transactions put keys with a lease.
    pub leases_in_txns: bool,
    /// One member reports a smaller applied index than the others, until the final phase.
    pub lagging: bool,
    /// That member is behind in the final phase, too.
    pub behind: bool,
    /// The killed leader comes back with less than it had, and is then where the others are at once, as after a
    /// snapshot.
    pub snapshot: bool,
    /// Pods are replaced while no watch of them is open: the list after it shows that the old ones are gone.
    pub pods_unseen: bool,
    /// The recording ends somewhere in the middle.
    pub cut_off: bool,
    /// The recording client is killed while requests are on their way, and started again.
    pub restart_client: bool,
    /// Not a correct etcd: from the middle of the run on one member has another value for one key.
    pub diverges: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 0,
            members: 3,
            clients: 6,
            operations: 600,
            keys: 10,
            writer_period_ms: 20,
            unknown_percent: 3,
            kill_leader: true,
            restart_follower: true,
            narrow_watcher: false,
            watchers: 3,
            variety: Variety::default(),
        }
    }
}

impl Plan {
    /// A plan of which every field is chosen by the seed.
    pub fn varied(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let narrow_watcher = random.chance(40);
        Self {
            seed,
            members: if random.chance(30) { 5 } else { 3 },
            operations: random.between(300, 600).unsigned_abs(),
            unknown_percent: random.below(11),
            writer_period_ms: random.between(15, 40),
            kill_leader: true,
            restart_follower: random.chance(80),
            narrow_watcher,
            watchers: if narrow_watcher && random.chance(20) {
                0
            } else {
                3
            },
            variety: Variety {
                watchers_away_ms: if random.chance(30) { 3_000 } else { 0 },
                late_watchers: random.chance(50),
                leases_in_txns: random.chance(50),
                lagging: random.chance(40),
                behind: random.chance(10),
                snapshot: random.chance(50),
                pods_unseen: random.chance(40),
                cut_off: random.chance(20),
                restart_client: random.chance(15),
                diverges: false,
            },
            ..Self::default()
        }
    }

    /// True when every check passes on its history, instead of finding too little to judge. What became of the requests
    /// of a client that was killed may be shown by nothing.
    pub fn tells_all(&self) -> bool {
        let variety = &self.variety;
        let watched = self.watchers > 0 && variety.watchers_away_ms == 0;
        watched && !variety.cut_off && !variety.behind && !variety.restart_client
    }
}
