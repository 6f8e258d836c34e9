//! The scenarios of bare members.

use crate::faults::{Container, Direction, Fault, Selector, Traffic};
use crate::scenario::promise::Continuity::LeaderStays;
use crate::scenario::{Promise, Scenario};

/// All of them. What they promise about the leader service has no meaning here and is left out ([`super::plan`]).
pub fn all() -> Vec<Scenario> {
    let kill = |of| Fault::KillProcess {
        container: Container::Etcd,
        of,
    };
    let split = |side| Fault::Split {
        side,
        direction: Direction::Both,
    };
    let scenarios = vec![
        Scenario::faults(
            "bare::leader_killed",
            "The leader is killed and starts again: the others elect, and nothing acknowledged is lost.",
            [kill(Selector::Leader)],
        ),
        Scenario::faults(
            "bare::leader_frozen",
            "The leader stops running and keeps its connections: the others elect, and it follows when it continues.",
            [Fault::FreezeProcess { container: Container::Etcd, of: Selector::Leader }],
        ),
        Scenario::faults(
            "bare::follower_cut_off",
            "A follower loses its network, clients included: the leader stays, also when the follower is back.",
            [Fault::Isolate { of: Selector::AnyFollower, traffic: Traffic::All, direction: Direction::Both }],
        )
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::follower_split",
            "A follower loses the other members and keeps its clients: it serves nothing new, the leader stays, and its \
             watches miss nothing when it is back.",
            [split(Selector::AnyFollower)],
        )
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::leader_split",
            "The leader loses the other members and keeps its clients: the others elect, and what it still answers is \
             neither stale nor lost.",
            [split(Selector::Leader)],
        ),
        Scenario::faults(
            "bare::old_and_compacted",
            "Clients compact the store and read on both sides of it, short leases end by themselves, every watch is asked \
             for its progress under load, while the leader is killed.",
            [kill(Selector::Leader)],
        )
        .lasts(4)
        .compacts()
        .leases_expire()
        .progress_every_ms(50)
        .operations_s(300)
        .setting("snapshot-count", "100"),
        Scenario::faults(
            "bare::all_killed",
            "All members are killed at once and start again: what was acknowledged is on their disks.",
            [kill(Selector::All)],
        )
        .promise(Promise::default().loses_quorum()),
    ];
    // Another seed shows more than another round, and a new cluster is cheap.
    let sized = |scenario: Scenario| scenario.once().members([3, 5]);
    scenarios.into_iter().map(sized).collect()
}
