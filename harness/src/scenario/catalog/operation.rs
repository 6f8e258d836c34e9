//! What owners do on a running cluster, under load, and with a fault in the middle.

use super::THREE_AND_FIVE;
use crate::faults::{Container, Fault, OperatorFault, Replicas, Selector};
use crate::scenario::promise::Continuity::{Planned, ProcessKilled};
use crate::scenario::{Operation, Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let planned = || Promise::continuity(Planned).no_failed_write();
    vec![
        Scenario::operations(
            "operation::scale_out_and_in",
            "Three members become five and three again: each comes as a learner, nobody through the service notices.",
            [Operation::Scale(5), Operation::Scale(3)],
        )
        .promise(planned()),
        Scenario::operations(
            "operation::rolling_restart",
            "Every pod is made anew, followers first, the leader last and after it has handed over.",
            [Operation::Restart],
        )
        .members(THREE_AND_FIVE)
        .promise(planned()),
        Scenario::operations(
            "operation::switchover_and_resize",
            "Leadership is moved by request, then every member gets more processor time.",
            [Operation::Switchover, Operation::Resize],
        )
        .promise(planned()),
        Scenario::operations(
            "operation::upgrade",
            "Every member gets a newer patch of etcd, one at a time, the leader last.",
            [Operation::Upgrade {
                from: "3.6.1",
                to: "3.6.16",
            }],
        )
        .promise(planned()),
        Scenario::operations(
            "operation::stop_and_start",
            "All members are stopped and started again: the same members, with their data.",
            [Operation::StopAndStart],
        )
        .promise(Promise::default().loses_quorum()),
        Scenario::operations(
            "operation::scale_out_leader_killed",
            "The leader's etcd is killed while two members join: they join all the same.",
            [Operation::Scale(5)],
        )
        .and_meanwhile([Fault::KillProcess {
            container: Container::Etcd,
            of: Selector::Leader,
        }])
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::operations(
            "operation::restart_operator_killed",
            "Both operators are killed in the middle of a rolling restart: it goes on when one is back.",
            [Operation::Restart],
        )
        .and_meanwhile([Fault::Operator {
            how: OperatorFault::Killed,
            replicas: Replicas::All,
        }])
        .promise(planned()),
    ]
}
