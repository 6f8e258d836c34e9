//! The agent or the exporter beside etcd fails.

use crate::faults::{Container, Direction, Fault, Selector, Traffic};
use crate::scenario::promise::Continuity::{AgentSilent, LeaderStays, ProcessKilled};
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let leader_dies = || Fault::KillProcess {
        container: Container::Etcd,
        of: Selector::Leader,
    };
    vec![
        Scenario::faults(
            "agent::dead_during_failover",
            "The leader's agent is dead when its etcd dies: a report of a follower's agent suffices.",
            [Fault::KeepKilling { container: Container::Kbagent, of: Selector::Leader }, leader_dies()],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::faults(
            "agent::hung_during_failover",
            "The leader's agent hangs when its etcd dies.",
            [Fault::FreezeProcess { container: Container::Kbagent, of: Selector::Leader }, leader_dies()],
        )
        .and_long([5])
        .promise(Promise::continuity(AgentSilent)),
        Scenario::faults(
            "agent::cut_off_during_failover",
            "The leader's agent is unreachable when its etcd dies.",
            [
                Fault::Isolate {
                    of: Selector::Leader,
                    traffic: Traffic::Agent,
                    direction: Direction::Both,
                },
                leader_dies(),
            ],
        )
        .and_long([5])
        .promise(Promise::continuity(AgentSilent)),
        Scenario::faults(
            "agent::exporter_killed",
            "The leader's metrics exporter dies: no client notices.",
            [Fault::KillProcess { container: Container::Exporter, of: Selector::Leader }],
        )
        .and_long([5])
        .promise(Promise::continuity(LeaderStays)),
    ]
}
