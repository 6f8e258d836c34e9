//! What to simulate.

use super::random::Random;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Everything random comes from it.
    pub seed: u64,
    /// Members of the cluster.
    pub members: u32,
    /// Closed-loop clients.
    pub clients: u32,
    /// Operations of the closed-loop clients in all.
    pub operations: u64,
    /// Keys that the clients share.
    pub keys: u64,
    /// Milliseconds between the writes of an open-loop writer; 0 for none.
    pub writer_period_ms: i64,
    /// Of a hundred operations, how many have an unknown outcome even in quiet times.
    pub unknown_percent: u64,
    /// True to kill the leader halfway.
    pub kill_leader: bool,
    /// True to let the operator restart two followers one after the other, late in the run.
    pub restart_follower: bool,
    /// True for a watcher of a part of the keys beside those of all.
    pub narrow_watcher: bool,
    /// Watchers of all keys.
    pub watchers: u32,
    /// What is not so in every run.
    pub variety: Variety,
}

/// What a cluster or a recording may go through, each by itself or with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variety {
    /// Watchers stay away for up to this many milliseconds when their stream breaks: some find what they missed
    /// compacted.
    pub watchers_away_ms: i64,
    /// A watcher of what is not there yet and one of whatever is next join.
    pub late_watchers: bool,
    /// Transactions attach keys to leases.
    pub leases_in_txns: bool,
    /// One member says that it has applied less than the others, until the end.
    pub lagging: bool,
    /// That member is behind at the end, too.
    pub behind: bool,
    /// The killed leader comes back with less than it had, and jumps to where the others are, as with a snapshot.
    pub snapshot: bool,
    /// Pods are replaced while no watch is open: a list reports the end of the old one.
    pub pods_unseen: bool,
    /// The recording ends somewhere in the middle.
    pub cut_off: bool,
    /// Not a correct etcd: from halfway one member has another value for one key.
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
    /// A plan whose shape, too, comes from the seed.
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
                diverges: false,
            },
            ..Self::default()
        }
    }

    /// True when its history tells enough for every check to pass.
    pub fn tells_all(&self) -> bool {
        let variety = &self.variety;
        self.watchers > 0 && variety.watchers_away_ms == 0 && !variety.cut_off && !variety.behind
    }
}
