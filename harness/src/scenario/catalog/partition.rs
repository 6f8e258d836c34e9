//! Members are cut off from peers, from clients, from all.

use super::counts::THREE_AND_FIVE;
use crate::faults::{Direction, Fault, Selector, Traffic};
use crate::scenario::promise::Continuity::LeaderSilent;
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let isolate = |traffic, direction| Fault::Isolate {
        of: Selector::Leader,
        traffic,
        direction,
    };
    vec![
        Scenario::faults(
            "partition::leader_cut_off_from_peers",
            "The leader loses its peers and keeps its clients: it must close them, because clients keep them open.",
            [isolate(Traffic::Peer, Direction::Both)],
        )
        .members(THREE_AND_FIVE)
        .lasts(3)
        .patient_connections()
        .promise(Promise::continuity(LeaderSilent))
        .smoke(),
        Scenario::faults(
            "partition::leader_cut_off_from_clients",
            "The leader loses its clients and keeps its peers: it stays leader, and all members are healthy after the cut.",
            [isolate(Traffic::Client, Direction::Both)],
        )
        .once()
        .and_long([5]),
        Scenario::faults(
            "partition::leader_cut_off_from_everybody",
            "The leader is cut from all others: they continue without it.",
            [isolate(Traffic::All, Direction::Both)],
        )
        .lasts(3)
        .and_long([5])
        .promise(Promise::continuity(LeaderSilent)),
        Scenario::faults(
            "partition::leader_in_the_minority",
            "The leader and one more are cut off from the other three: those elect, the service follows.",
            [Fault::Split { side: Selector::MinorityWithLeader, direction: Direction::Both }],
        )
        .members([5])
        .lasts(3)
        .patient_connections()
        .promise(Promise::continuity(LeaderSilent)),
        Scenario::faults(
            "partition::leader_cannot_send",
            "Nothing that the leader sends reaches its peers.",
            [isolate(Traffic::Peer, Direction::Outgoing)],
        )
        .lasts(3)
        .and_long([5])
        .promise(Promise::continuity(LeaderSilent)),
        Scenario::faults(
            "partition::leader_cannot_hear",
            "Nothing that its peers send reaches the leader.",
            [isolate(Traffic::Peer, Direction::Incoming)],
        )
        .lasts(3)
        .and_long([5])
        .promise(Promise::continuity(LeaderSilent)),
        Scenario::faults(
            "partition::bridge",
            "Two halves cannot reach each other, one member reaches both: there is one leader, and writes continue.",
            [Fault::Bridge { through: Selector::AnyFollower }],
        )
        .members(THREE_AND_FIVE)
        .lasts(3)
        .promise(Promise::continuity(LeaderSilent)),
    ]
}
