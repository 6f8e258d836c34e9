//! Several members at a time: with a quorum left, and without.

use super::counts::THREE_AND_FIVE;
use crate::faults::{Container, Direction, Fault, Selector, Traffic};
use crate::scenario::promise::Continuity::{LeaderStays, ProcessKilled};
use crate::scenario::{Operation, Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let keep_killing = |of| Fault::KeepKilling {
        container: Container::Etcd,
        of,
    };
    vec![
        Scenario::faults(
            "quorum::two_of_five_down",
            "Two followers of five stay down: the other three serve.",
            [keep_killing(Selector::Minority)],
        )
        .members([5])
        .lasts(3)
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "quorum::leader_killed_and_follower_cut_off",
            "The leader's etcd dies while a follower is cut off from its peers: the other three elect, the service follows.",
            [
                Fault::Isolate {
                    of: Selector::AnyFollower,
                    traffic: Traffic::Peer,
                    direction: Direction::Both,
                },
                Fault::KillProcess { container: Container::Etcd, of: Selector::Leader },
            ],
        )
        .members([5])
        .at_most(3)
        .promise(Promise::continuity(ProcessKilled).elected_by_timers()),
        Scenario::faults(
            "quorum::lost_and_regained",
            "A majority stays down: nothing is acknowledged, nothing is lost, no second cluster is bootstrapped, and all \
             members are healthy when it is back.",
            [keep_killing(Selector::Majority)],
        )
        .once()
        .members(THREE_AND_FIVE)
        .lasts(6)
        .promise(Promise::default().loses_quorum()),
        Scenario::operations(
            "disaster::quorum_lost_for_good",
            "A majority is lost with its data, and the owner accepts that: one of the others continues alone with all that was \
             acknowledged, and others join it.",
            [Operation::RecoverQuorum],
        )
        .members(THREE_AND_FIVE)
        .promise(Promise::default().loses_quorum().replaces_member().whole_again_within(120)),
    ]
}
