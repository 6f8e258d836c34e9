//! All scenarios. Each is a few lines: what happens, to which target, how long, and what must come of it.
//!
//! Three members show what one failure does, five what two do; a scenario is run with both. Where five show what three
//! have shown, they are among what takes minutes (`make e2e-long`), for the suite is to take 25. What
//! every run promises besides - linearizable, nothing acknowledged lost, one leader a term, never two leader labels, no
//! quorum broken by the operator - is checked for all of them and said nowhere here.

mod operation;

use crate::faults::{
    Absence, Container, ControlPlanePart, DataLoss, Deletion, Direction, Fault, NodeSelector,
    OperatorFault, Replicas, Selector, Traffic,
};
use crate::scenario::promise::Continuity::{
    AgentSilent, LeaderSilent, LeaderStays, Planned, ProcessKilled, Within,
};
use crate::scenario::{Act, Promise, Scenario};

const THREE_AND_FIVE: [u32; 2] = [3, 5];

/// All scenarios, in the order in which they are run: what everything else rests on first, what shakes the whole
/// cluster last.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        provision(),
        failover(),
        partition(),
        lossy(),
        passing(),
        quorum(),
        agent(),
        operator(),
        storage(),
        control_plane(),
        node(),
        operation::all(),
        restart(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn provision() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "provision::conform",
            "A new cluster has every object, name, port and label of the design; every agent tells its member's role; \
             metrics are served; names resolve.",
            Act::Conform,
        )
        .members(THREE_AND_FIVE)
        .smoke(),
        Scenario::new(
            "provision::admission",
            "Odd counts are taken, even ones and bad specs are refused or named in a condition, and a running cluster is \
             never touched by a bad change.",
            Act::Admission,
        ),
        Scenario::new(
            "provision::kubeblocks_manifests",
            "KubeBlocks' own manifests are applied unchanged and bring a cluster up.",
            Act::Manifests,
        ),
        Scenario::new(
            "provision::documented_commands",
            "The commands of README and docs do what they say, as they stand there.",
            Act::Documents,
        ),
    ]
}

fn failover() -> Vec<Scenario> {
    let delete_leader = |how| Fault::DeletePod {
        of: Selector::Leader,
        how,
    };
    let kill = |of| Fault::KillProcess {
        container: Container::Etcd,
        of,
    };
    vec![
        Scenario::faults(
            "failover::leader_etcd_killed",
            "The leader's etcd is killed: the service follows the election.",
            [kill(Selector::Leader)],
        )
        .members(THREE_AND_FIVE)
        .promise(Promise::continuity(ProcessKilled))
        .smoke(),
        Scenario::faults(
            "failover::leader_pod_deleted",
            "The leader's pod is deleted as anybody may: leadership and service have moved before it stops.",
            [delete_leader(Deletion::Graceful)],
        )
        .members(THREE_AND_FIVE)
        .promise(Promise::continuity(Planned).no_failed_write())
        .smoke(),
        Scenario::faults(
            "failover::leader_pod_deleted_by_force",
            "The leader's pod is deleted without grace: its object is gone at once, its etcd leads on until kubelet stops it.",
            [delete_leader(Deletion::Forced)],
        )
        .and_long([5])
        // Meanwhile new connections can be led nowhere, while a client that dials members still writes.
        .promise(Promise::continuity(LeaderSilent)),
        Scenario::faults(
            "failover::leader_pod_evicted",
            "The leader's pod is evicted, as a drain does: a planned move.",
            [delete_leader(Deletion::Evicted)],
        )
        .and_long([5])
        .promise(Promise::continuity(Planned).no_failed_write()),
        Scenario::faults(
            "failover::follower_etcd_killed",
            "A follower's etcd is killed: no client of the service notices.",
            [kill(Selector::AnyFollower)],
        )
        .members(THREE_AND_FIVE)
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "failover::leader_out_of_memory",
            "The memory of the leader's etcd runs out and the kernel kills it: as any other death.",
            [Fault::ExhaustMemory { container: Container::Etcd, of: Selector::Leader }],
        )
        .and_long([5])
        .at_most(3)
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::faults(
            "failover::leader_frozen",
            "The leader's etcd stops running and keeps its connections: clients must not hang on it.",
            [Fault::FreezeProcess { container: Container::Etcd, of: Selector::Leader }],
        )
        .and_long([5])
        .lasts(3)
        .promise(Promise::continuity(LeaderSilent)),
    ]
}

fn partition() -> Vec<Scenario> {
    let isolate = |traffic, direction| Fault::Isolate {
        of: Selector::Leader,
        traffic,
        direction,
    };
    vec![
        Scenario::faults(
            "partition::leader_cut_off_from_peers",
            "The leader loses its peers and keeps its clients: it must let them go, for they will not.",
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

/// What time takes away by itself, while a leader dies.
fn passing() -> Vec<Scenario> {
    let leader_dies = || Fault::KillProcess {
        container: Container::Etcd,
        of: Selector::Leader,
    };
    vec![
        Scenario::faults(
            "lease::expire_across_failover",
            "Short leases are left to end by themselves while leaders die: none too early, none long after its time.",
            [leader_dies()],
        )
        .and_long([5])
        .at_most(3)
        .lasts(4)
        .leases_expire()
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::faults(
            "compaction::under_load",
            "Clients compact the store and read on both sides of it while leaders die: what is compacted is refused, and \
             nothing else is.",
            [leader_dies()],
        )
        .and_long([5])
        .at_most(3)
        .compacts()
        .promise(Promise::continuity(ProcessKilled)),
    ]
}

/// Packets and names that are lost, with no member cut off.
fn lossy() -> Vec<Scenario> {
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
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::faults(
            "partition::members_lookups_lost",
            "The members' own lookups go nowhere while the leader dies.",
            [
                Fault::DropDns { of: Selector::All },
                Fault::KillProcess { container: Container::Etcd, of: Selector::Leader },
            ],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled)),
    ]
}

fn quorum() -> Vec<Scenario> {
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
        .promise(Promise::continuity(ProcessKilled)),
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
    ]
}

fn agent() -> Vec<Scenario> {
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

fn operator() -> Vec<Scenario> {
    let leader_dies = || Fault::KillProcess {
        container: Container::Etcd,
        of: Selector::Leader,
    };
    let operator = |how, replicas| Fault::Operator { how, replicas };
    vec![
        Scenario::faults(
            "operator::killed_during_failover",
            "The active replica of the operator dies with the leader: the other one delays nothing.",
            [operator(OperatorFault::Killed, Replicas::LeaseHolder), leader_dies()],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::faults(
            "operator::all_killed_during_failover",
            "Every replica of the operator dies with the leader: the first that is back moves the service.",
            [operator(OperatorFault::Killed, Replicas::All), leader_dies()],
        )
        .and_long([5])
        .promise(Promise::continuity(Within(5000))),
        Scenario::faults(
            "operator::frozen_during_failover",
            "The active replica of the operator hangs when the leader dies.",
            [operator(OperatorFault::Paused, Replicas::LeaseHolder), leader_dies()],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::faults(
            "operator::cut_off_during_failover",
            "The active replica of the operator cannot reach the API server when the leader dies.",
            [operator(OperatorFault::CutOff, Replicas::LeaseHolder), leader_dies()],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled)),
    ]
}

fn storage() -> Vec<Scenario> {
    let lose = |of, how| Fault::LoseData { of, how };
    vec![
        Scenario::faults(
            "storage::claim_lost",
            "A follower's claim and pod are deleted: it is replaced by a member that learns first.",
            [lose(Selector::AnyFollower, DataLoss::ClaimDeleted)],
        )
        .and_long([5])
        .promise(Promise::continuity(LeaderStays).replaces_member().whole_again_within(45)),
        Scenario::faults(
            "storage::leaders_data_wiped",
            "The leader's data vanishes under it: it never comes back as the member that it was.",
            [lose(Selector::Leader, DataLoss::Wiped)],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled).replaces_member().whole_again_within(60)),
        Scenario::faults(
            "storage::disk_full",
            "A follower's disk is full to the last block: the others continue, and it recovers when there is space.",
            [Fault::FillDisk { of: Selector::AnyFollower }],
        )
        .small_volumes()
        .lasts(5)
        .and_long([5])
        .promise(Promise::continuity(LeaderStays).whole_again_within(90)),
        Scenario::faults(
            "storage::leaders_disk_full",
            "The leader's disk is full to the last block: another one leads, and it recovers when there is space.",
            [Fault::FillDisk { of: Selector::Leader }],
        )
        .small_volumes()
        .lasts(5)
        .and_long([5])
        .at_most(3)
        .promise(Promise::continuity(LeaderSilent).whole_again_within(90)),
        Scenario::faults(
            "storage::out_of_space",
            "Clients write until etcd is out of space: the operator compacts, defragments member by member and disarms, \
             and writes succeed again.",
            [Fault::FillQuota],
        )
        .setting("quota-backend-bytes", "16777216")
        .lasts(0)
        .members(THREE_AND_FIVE)
        .long()
        .promise(Promise::default().whole_again_within(60)),
        Scenario::faults(
            "storage::data_corrupted",
            "A follower's database is corrupted on its disk: etcd stops serving, and a learner replaces the member.",
            [Fault::CorruptData { of: Selector::AnyFollower }],
        )
        .setting("corrupt-check-time", "3s")
        .lasts(0)
        .members(THREE_AND_FIVE)
        .long()
        .promise(Promise::default().replaces_member().whole_again_within(60)),
    ]
}

fn control_plane() -> Vec<Scenario> {
    let leader_dies = || Fault::KillProcess {
        container: Container::Etcd,
        of: Selector::Leader,
    };
    let away = |part, how| Fault::ControlPlane { part, how };
    vec![
        Scenario::faults(
            "control_plane::api_server_away_during_failover",
            "The API server is unavailable when the leader dies: etcd elects, and the service follows as soon as labels can be \
             written again.",
            [away(ControlPlanePart::ApiServer, Absence::Frozen), leader_dies()],
        )
        .and_long([5])
        .once()
        .lasts(5),
        Scenario::faults(
            "control_plane::api_server_stopped_during_failover",
            "The API server is stopped, so that connections are refused, when the leader dies: as if it were frozen.",
            [away(ControlPlanePart::ApiServer, Absence::Stopped), leader_dies()],
        )
        .and_long([5])
        .once()
        .lasts(5),
        Scenario::faults(
            "control_plane::scheduler_stopped",
            "The scheduler is stopped when the leader's pod is deleted: leadership has moved, its successor waits for a node.",
            [
                away(ControlPlanePart::Scheduler, Absence::Stopped),
                Fault::DeletePod { of: Selector::Leader, how: Deletion::Graceful },
            ],
        )
        .and_long([5])
        .once()
        .promise(Promise::continuity(Planned).no_failed_write()),
        Scenario::faults(
            "control_plane::controller_manager_away_during_failover",
            "Endpoints do not follow labels when the leader dies: the service follows as soon as they do again.",
            [away(ControlPlanePart::ControllerManager, Absence::Frozen), leader_dies()],
        )
        .and_long([5])
        .once()
        .lasts(5),
    ]
}

fn node() -> Vec<Scenario> {
    let of_leader = || NodeSelector::Of(Selector::Leader);
    vec![
        Scenario::faults(
            "node::leader_node_paused",
            "The leader's whole node stops running: elected elsewhere, served elsewhere.",
            [Fault::PauseNode { of: of_leader() }],
        )
        .and_long([5])
        .lasts(4)
        .promise(Promise::continuity(LeaderSilent)),
        Scenario::faults(
            "node::leader_node_restarted",
            "The leader's node loses power and comes back: the same member with its data.",
            [Fault::RestartNode { of: of_leader() }],
        )
        .once()
        .and_long([5])
        .promise(Promise::continuity(LeaderSilent).whole_again_within(120)),
        Scenario::faults(
            "node::leader_node_killed_for_good",
            "The leader's node is gone permanently: its member is replaced elsewhere.",
            [Fault::KillNode { of: of_leader(), for_good: true }],
        )
        .once()
        .recovers_under_fault()
        .and_long([5])
        .promise(Promise::continuity(LeaderSilent).replaces_member().whole_again_within(120)),
        Scenario::faults(
            "node::kubelet_stopped_during_failover",
            "The kubelet of the leader's node is stopped when its etcd dies, so that nothing restarts it.",
            [
                Fault::StopKubelet { of: of_leader() },
                Fault::KillProcess { container: Container::Etcd, of: Selector::Leader },
            ],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::faults(
            "node::operators_node_paused_during_failover",
            "The leader's etcd dies, and the whole node of the operator's active replica stops running: the other replica \
             moves the service.",
            [
                Fault::KillProcess { container: Container::Etcd, of: Selector::Leader },
                Fault::PauseNode { of: NodeSelector::Operator },
            ],
        )
        .members([5])
        .and_long([3])
        .at_most(3)
        .lasts(4)
        // A member may run on that node, and be the new leader.
        .promise(Promise::continuity(LeaderSilent)),
    ]
}

fn restart() -> Vec<Scenario> {
    vec![
        Scenario::faults(
            "restart::all_pods_deleted",
            "All pods are deleted at once: they come back as the same members with all data.",
            [Fault::DeletePod {
                of: Selector::All,
                how: Deletion::Graceful,
            }],
        )
        .once()
        .and_long([5])
        .promise(Promise::default().loses_quorum().whole_again_within(90)),
        Scenario::faults(
            "restart::all_pods_deleted_by_force",
            "All pods are deleted at once without grace: they come back as the same members with all data.",
            [Fault::DeletePod {
                of: Selector::All,
                how: Deletion::Forced,
            }],
        )
        .and_long([5])
        .once()
        .promise(Promise::default().loses_quorum().whole_again_within(90)),
        Scenario::faults(
            "restart::every_node",
            "Every node loses power, the control plane too: all comes back with all data.",
            [Fault::RestartNode {
                of: NodeSelector::All,
            }],
        )
        .once()
        .outlives_node()
        .and_long([5])
        .promise(Promise::default().loses_quorum().whole_again_within(240)),
    ]
}

#[cfg(test)]
mod tests;
