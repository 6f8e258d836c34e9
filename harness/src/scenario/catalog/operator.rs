//! The operator fails when the leader dies.

use crate::faults::{Container, Fault, OperatorFault, Replicas, Selector};
use crate::scenario::promise::Continuity::{LeaderStays, ProcessKilled, Within};
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
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
        Scenario::faults(
            "operator::replaced",
            "Every replica of the operator is replaced by a rollout, as an upgrade does: the leader stays, no client notices.",
            [operator(OperatorFault::Replaced, Replicas::All)],
        )
        .once()
        .and_long([5])
        .promise(Promise::continuity(LeaderStays).no_failed_write()),
    ]
}
