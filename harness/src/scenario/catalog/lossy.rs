//! Packets and names that are lost, with no member cut off.

use crate::faults::{Container, Fault, Selector, Traffic};
use crate::scenario::promise::Continuity::{LeaderSilent, ProcessKilled};
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let lossy = Fault::LosePackets {
        of: Selector::All,
        traffic: Traffic::Peer,
        percent: 5,
    };
    vec![
        Scenario::faults(
            "partition::packets_lost",
            "One packet in twenty between members is lost: slower, never wrong.",
            [lossy],
        )
        .lasts(3)
        .and_long([5])
        .promise(Promise::continuity(LeaderSilent)),
        Scenario::faults(
            "partition::names_do_not_resolve",
            "The leader dies while no name resolves: members, agents and operator know their addresses.",
            [Fault::FreezeDns, Fault::KillProcess { container: Container::Etcd, of: Selector::Leader }],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled).elected_by_timers()),
        Scenario::faults(
            "partition::members_lookups_lost",
            "The members' own lookups go nowhere while the leader dies.",
            [
                Fault::DropDns { of: Selector::All },
                Fault::KillProcess { container: Container::Etcd, of: Selector::Leader },
            ],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled).elected_by_timers()),
    ]
}
