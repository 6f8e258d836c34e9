//! Nodes that are paused, restarted, lost, or without a kubelet.

use etcd_operator_api::labels::UNREACHABLE_LEAST;

use super::counts::THREE_AND_FIVE;
use crate::faults::{Container, Declared, Fault, NodeSelector, Selector};
use crate::scenario::promise::Continuity::{LeaderSilent, ProcessKilled};
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let mut all = usual();
    all.push(out_of_service());
    all.push(not_ready_too_long());
    all
}

/// As a node that may come back: its pods may still run, and its owner has said how long they are waited for.
fn not_ready_too_long() -> Scenario {
    Scenario::faults(
        "node::leader_node_not_ready_too_long",
        "The leader's node is off and nothing is declared of it: its member is replaced elsewhere when the minutes are \
         over that its owner allows, and not before. The node's return changes nothing.",
        [Fault::KillNode {
            of: NodeSelector::Of(Selector::Leader),
            declared: Declared::Nothing,
        }],
    )
    .once()
    .replaced_after(UNREACHABLE_LEAST)
    .promise(
        Promise::continuity(LeaderSilent)
            .replaces_member()
            .whole_again_within(120),
    )
    .long()
}

/// As a node that is gone permanently, but that its Node object stays.
fn out_of_service() -> Scenario {
    Scenario::faults(
        "node::leader_node_out_of_service",
        "The leader's node is off, and its owner taints it out of service: its member is replaced elsewhere.",
        [Fault::KillNode {
            of: NodeSelector::Of(Selector::Leader),
            declared: Declared::OutOfService,
        }],
    )
    .members(THREE_AND_FIVE)
    .once()
    .recovers_under_fault()
    .promise(Promise::continuity(LeaderSilent).replaces_member().whole_again_within(120))
    .long()
}

fn usual() -> Vec<Scenario> {
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
            [Fault::KillNode { of: of_leader(), declared: Declared::Gone }],
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
