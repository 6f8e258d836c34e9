//! The scenarios of bare members.

use crate::bare::storage;
use crate::faults::{
    Container, Direction, Disturbance, EtcdClock, FailAction, Fault, PacketHarm, Selector, Traffic,
};
use crate::scenario::promise::Continuity::LeaderStays;
use crate::scenario::{Event, Promise, Scenario};

/// All of them. What they promise about the leader service has no meaning here and is left out ([`super::plan`]).
pub fn all() -> Vec<Scenario> {
    // Another seed shows more than another round, and a new cluster is cheap.
    let sized = |scenario: Scenario| scenario.once().members([3, 5]);
    // But for these, whose next round has the next failpoint.
    let repeated = |scenario: Scenario| scenario.at_most(3).members([3, 5]);
    let scenarios = [
        of_containers(),
        of_leaders(),
        of_late_links(),
        of_closed_links(),
        of_packets(),
        of_clocks(),
        storage::all(),
        of_locks(),
        of_objects(),
        of_events(),
        of_delays(),
    ];
    let all = scenarios.into_iter().flatten().map(sized);
    let crashes = of_crashes().into_iter().map(repeated);
    all.chain(crashes).collect()
}

/// Containers that are killed, frozen and cut off.
fn of_containers() -> Vec<Scenario> {
    let kill = |of| Fault::KillProcess {
        container: Container::Etcd,
        of,
    };
    let split = |side| Fault::Split {
        side,
        direction: Direction::Both,
    };
    vec![
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
            "bare::busy_leader_killed",
            "The leader is killed under a thousand operations a second: nothing acknowledged is lost, nothing read is stale.",
            [kill(Selector::Leader)],
        )
        .lasts(4)
        .compacts()
        .leases_expire()
        .operations_s(1000)
        .setting("snapshot-count", "1000"),
        Scenario::faults(
            "bare::all_killed",
            "All members are killed at once and start again: what was acknowledged is on their disks.",
            [kill(Selector::All)],
        )
        .promise(Promise::default().loses_quorum()),
    ]
}

/// Clients that hold locks under leases of a second or two.
fn of_locks() -> Vec<Scenario> {
    let locked = |scenario: Scenario| scenario.lasts(6).holders(6).leases_expire();
    vec![
        locked(Scenario::faults(
            "bare::locks_leader_killed",
            "Clients take a lock and stand in an election in turn, and let leases end that they still believe in, while the \
             leader is killed: two holders never both write.",
            [Fault::KillProcess {
                container: Container::Etcd,
                of: Selector::Leader,
            }],
        )),
        locked(Scenario::faults(
            "bare::locks_leader_frozen",
            "The same, while the leader is frozen for longer than any lease: what it still answers when it continues lets no \
             one write whose lock is gone.",
            [Fault::FreezeProcess {
                container: Container::Etcd,
                of: Selector::Leader,
            }],
        )),
    ]
}

/// Clients that keep objects as a kube-apiserver does.
fn of_objects() -> Vec<Scenario> {
    vec![
        Scenario::faults(
            "bare::objects_leader_killed",
            "Clients write objects as they saw them last, and list them in pages of one revision while others compact, and \
             the leader is killed: no write is on top of another one that was not seen, and pages fit together.",
            [Fault::KillProcess {
                container: Container::Etcd,
                of: Selector::Leader,
            }],
        )
        .lasts(4)
        .keepers(6)
        .compacts()
        .operations_s(100),
    ]
}

/// Leaders that hesitate, and that others succeed.
fn of_leaders() -> Vec<Scenario> {
    vec![
        Scenario::faults(
            "bare::leader_stutters",
            "The leader is frozen for 300 ms and runs for 200 in turn: near the time of an election, again and again.",
            [Fault::FreezeInTurns {
                of: Selector::Leader,
                frozen_ms: 300,
                runs_ms: 200,
            }],
        )
        .lasts(5),
        Scenario::faults(
            "bare::follower_elected",
            "The leader transfers leadership to a follower.",
            [Fault::Elect { of: Selector::AnyFollower }],
        ),
        Scenario::faults(
            "bare::all_upgraded",
            "All members are stopped and started with another version of etcd on their data, one after the other under load \
             (with their own where --version names no later one): nothing acknowledged is lost.",
            [Fault::ChangeVersion { of: Selector::All, in_turn: true }],
        ),
    ]
}

/// Links between members that pass everything, late or in spurts.
fn of_late_links() -> Vec<Scenario> {
    let disturb = |of, how| Fault::DisturbPeers {
        of,
        how,
        direction: Direction::Both,
    };
    let delay = |ms, jitter_ms| Disturbance::Delay { ms, jitter_ms };
    vec![
        Scenario::faults(
            "bare::late_follower",
            "All between a follower and the others arrives 60 to 100 ms late: the leader stays, and so do writes.",
            [disturb(Selector::AnyFollower, delay(60, 40))],
        )
        .lasts(4)
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::late_leader",
            "All between the leader and the others arrives 100 to 400 ms late, near the time of an election: nothing is \
             stale and nothing lost, whichever member leads.",
            [disturb(Selector::Leader, delay(100, 300))],
        )
        .lasts(5),
        Scenario::faults(
            "bare::slow_follower",
            "A follower gets 6 KiB a second of what the leader has for it and falls behind: the leader stays.",
            [Fault::DisturbPeers {
                of: Selector::AnyFollower,
                how: Disturbance::Throttle { bytes_s: 6 * 1024 },
                direction: Direction::Incoming,
            }],
        )
        .lasts(5)
        .operations_s(300)
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::flapping_leader",
            "The leader's links are down for 700 ms and up for 500 in turn: leadership may move each time.",
            [disturb(Selector::Leader, Disturbance::Flap { down_ms: 700, up_ms: 500 })],
        )
        .lasts(6),
        Scenario::faults(
            "bare::lossy_leader",
            "One packet in ten between the leader and the others is lost or damaged: TCP sends it again, and what is behind \
             it waits for longer than some elections take.",
            [disturb(Selector::Leader, Disturbance::Lose { percent: 10 })],
        )
        .lasts(6),
        Scenario::faults(
            "bare::reset_leader",
            "Every connection between the leader and the others is reset every 150 ms.",
            [disturb(Selector::Leader, Disturbance::Reset { every_ms: 150 })],
        )
        .lasts(5),
    ]
}

/// Links between members that pass nothing, mostly one way.
fn of_closed_links() -> Vec<Scenario> {
    let one_way = |side, direction| Fault::Split { side, direction };
    vec![
        Scenario::faults(
            "bare::deaf_leader",
            "The leader reaches the others and gets nothing of them: it steps down, and what it still answers is neither \
             stale nor lost.",
            [one_way(Selector::Leader, Direction::Incoming)],
        )
        .lasts(4),
        Scenario::faults(
            "bare::mute_leader",
            "The leader gets what the others send and reaches none of them: they elect.",
            [one_way(Selector::Leader, Direction::Outgoing)],
        )
        .lasts(4),
        Scenario::faults(
            "bare::mute_follower",
            "A follower follows and is not received: the leader stays.",
            [one_way(Selector::AnyFollower, Direction::Outgoing)],
        )
        .lasts(4)
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::bridge",
            "Two halves reach each other only through one member.",
            [Fault::Bridge { through: Selector::AnyFollower }],
        )
        .lasts(4),
        Scenario::faults(
            "bare::snapshot_after_split",
            "A follower gets nothing of the others until it is so far behind that the leader must send it a snapshot.",
            [one_way(Selector::AnyFollower, Direction::Incoming)],
        )
        .lasts(120)
        // Connections live for five seconds without a byte, and what waits on them arrives at the end.
        .until(Event::Behind(2_000))
        .sends_snapshot()
        .operations_s(600)
        .pinned()
        .setting("snapshot-count", "50")
        .setting("snapshot-catchup-entries", "50"),
    ]
}

/// Packets between members that are harmed, which TCP repairs.
fn of_packets() -> Vec<Scenario> {
    let harm = |of, how| Fault::HarmPackets {
        of,
        how,
        percent: 10,
    };
    vec![
        Scenario::faults(
            "bare::packets_lost_leader",
            "One packet in ten between the leader and the others is lost: nothing is stale and nothing lost, whichever \
             member leads.",
            [Fault::LosePackets {
                of: Selector::Leader,
                traffic: Traffic::Peer,
                percent: 10,
            }],
        )
        .lasts(6),
        Scenario::faults(
            "bare::packets_reordered",
            "One packet in ten between a follower and the others arrives after three later ones, or 60 ms late: the leader \
             stays.",
            [harm(Selector::AnyFollower, PacketHarm::Reorder)],
        )
        .lasts(5)
        .operations_s(300)
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::packets_duplicated",
            "One packet in ten between the leader and the others arrives twice: the leader stays, and nothing is applied \
             twice.",
            [harm(Selector::Leader, PacketHarm::Duplicate)],
        )
        .lasts(5)
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::packets_corrupted",
            "One packet in ten between the leader and the others arrives with a bit that is another: TCP's checksum keeps it \
             from etcd, whichever member leads.",
            [harm(Selector::Leader, PacketHarm::Corrupt)],
        )
        .lasts(6),
    ]
}

/// Members that have another time than the others. The monotonic clock is a follower's alone, and no lease ends beside
/// it: a leader with a fast one ends leases early, which is no fault of etcd and a violation to the check.
fn of_clocks() -> Vec<Scenario> {
    let stays = |name, what, fault: Fault| {
        Scenario::faults(name, what, [fault])
            .lasts(6)
            .promise(Promise::continuity(LeaderStays))
    };
    let changed = |name, what, fault| stays(name, what, fault).leases_expire();
    vec![
        changed(
            "bare::leader_clock_jumps",
            "The clock of the leader jumps ahead by an hour, and back: it stays the leader, and no lease ends for it, since \
             etcd measures both by another clock.",
            Fault::ShiftClock {
                of: Selector::Leader,
                seconds: 3_600,
            },
        ),
        changed(
            "bare::follower_clock_jumps_back",
            "The clock of a follower jumps back by an hour, and ahead again: the leader stays, and leases end when they must.",
            Fault::ShiftClock {
                of: Selector::AnyFollower,
                seconds: -3_600,
            },
        ),
        changed(
            "bare::leader_clock_fast",
            "The time of day of the leader runs at twice the rate, and jumps back at the end: it stays the leader, and no lease \
             ends early.",
            Fault::DriftClock {
                of: Selector::Leader,
                clock: EtcdClock::TimeOfDay,
                percent: 200,
            },
        ),
        changed(
            "bare::follower_clock_slow",
            "The time of day of a follower runs at half the rate: the leader stays, and leases end when they must.",
            Fault::DriftClock {
                of: Selector::AnyFollower,
                clock: EtcdClock::TimeOfDay,
                percent: 50,
            },
        ),
        stays(
            "bare::follower_monotonic_fast",
            "The clock by which a follower measures elections runs a fifth faster, and goes back at the end, so that its timers \
             wait: the leader stays.",
            Fault::DriftClock {
                of: Selector::AnyFollower,
                clock: EtcdClock::Monotonic,
                percent: 120,
            },
        ),
    ]
}

/// Faults that wait for what happens in the cluster.
fn of_events() -> Vec<Scenario> {
    let kill = |of| Fault::KillProcess {
        container: Container::Etcd,
        of,
    };
    let freeze = Fault::FreezeProcess {
        container: Container::Etcd,
        of: Selector::Leader,
    };
    vec![
        Scenario::faults(
            "bare::successor_frozen",
            "The leader is killed, and its successor is frozen as soon as it leads: what was acknowledged in between is kept.",
            [kill(Selector::Leader)],
        )
        .when(Event::LeaderChanged, [freeze])
        .promise(Promise::default().loses_quorum()),
        Scenario::faults(
            "bare::killed_at_revision",
            "All members are killed at once when the store is 200 revisions further, with a snapshot every 50 entries.",
            [],
        )
        .when(Event::Revisions(200), [kill(Selector::All)])
        .operations_s(300)
        .setting("snapshot-count", "50")
        .promise(Promise::default().loses_quorum()),
    ]
}

/// What etcd does at one of these failpoints.
fn failpoint(of: Selector, action: FailAction, at: &[&str]) -> Fault {
    Fault::Failpoint {
        of,
        at: at.iter().map(|name| (*name).to_owned()).collect(),
        action,
    }
}

/// Leaders that crash between two steps of etcd's own.
fn of_crashes() -> Vec<Scenario> {
    let panic_at = |at: &[&str]| [failpoint(Selector::Leader, FailAction::Panic, at)];
    vec![
        Scenario::faults(
            "bare::leader_panics_in_save",
            "The leader crashes before or behind a step of what it does with new entries of its log (send, write, sync, \
             continue), a step that the seed picks, three times: nothing acknowledged is lost.",
            panic_at(&[
                "raftBeforeLeaderSend",
                "raftBeforeSave",
                "walBeforeSync",
                "walAfterSync",
                "raftAfterSave",
                "raftBeforeAdvance",
            ]),
        )
        .operations_s(300)
        .setting("snapshot-count", "100"),
        Scenario::faults(
            "bare::leader_panics_in_commit",
            "The leader crashes before or behind a step of what puts applied entries into its database, a step that the \
             seed picks, three times: nothing acknowledged is lost, and nothing is applied twice.",
            panic_at(&[
                "beforeApplyOneEntryNormal",
                "beforeWritebackBuf",
                "afterWritebackBuf",
                "commitBeforePreCommitHook",
                "commitAfterPreCommitHook",
                "beforeCommit",
                "beforeSyncDataPages",
                "beforeSyncMetaPage",
                "afterCommit",
                "beforeStartDBTxn",
                "afterStartDBTxn",
            ]),
        )
        .operations_s(300)
        .setting("snapshot-count", "100"),
        Scenario::faults(
            "bare::leader_panics_in_compaction",
            "The leader crashes before or behind a step of a compaction, a step that the seed picks, three times, while \
             clients compact and read on both sides: it ends the compaction when it starts again.",
            panic_at(&[
                "compactBeforeCommitScheduledCompact",
                "compactAfterCommitScheduledCompact",
                "compactBeforeSetFinishedCompact",
                "compactAfterSetFinishedCompact",
            ]),
        )
        .operations_s(300)
        .compacts()
        .setting("snapshot-count", "100"),
        Scenario::faults(
            "bare::leader_panics_in_defragmentation",
            "The leader crashes while it defragments its database, before it copies it or before the copy takes its place, as \
             the seed picks, three times: nothing acknowledged is lost, and nothing is applied twice.",
            panic_at(&["defragBeforeCopy", "defragBeforeRename"]),
        )
        .operations_s(300),
    ]
}

/// Members that hesitate between two steps of etcd's own.
fn of_delays() -> Vec<Scenario> {
    let sleep_at = |of, ms, at| [failpoint(of, FailAction::Sleep { ms }, &[at])];
    vec![
        Scenario::faults(
            "bare::slow_commit_leader",
            "The leader sleeps 300 ms before each commit of its database: nothing is stale and nothing lost, whichever \
             member leads.",
            sleep_at(Selector::Leader, 300, "beforeCommit"),
        )
        .lasts(4)
        .operations_s(300),
        Scenario::faults(
            "bare::slow_send_follower",
            "A follower sleeps 100 ms before it answers the leader: it falls behind, and the leader stays.",
            sleep_at(Selector::AnyFollower, 100, "raftBeforeFollowerSend"),
        )
        .lasts(4)
        .promise(Promise::continuity(LeaderStays)),
    ]
}
