//! Clients outside of the Kubernetes cluster, by addresses of load balancers.

use crate::faults::{Container, Fault, Selector};
use crate::scenario::promise::Continuity::{Planned, ProcessKilled};
use crate::scenario::{Operation, Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::faults(
            "outside::leader_etcd_killed",
            "The leader's etcd is killed while a client outside of the Kubernetes cluster writes through an address of a \
             load balancer: it follows the leader.",
            [Fault::KillProcess {
                container: Container::Etcd,
                of: Selector::Leader,
            }],
        )
        .from_outside()
        .and_long([5])
        .long()
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::operations(
            "outside::load_balancer_exposed",
            "An address for the leader is requested, answers clients outside of the Kubernetes cluster, and goes again.",
            [Operation::Balance, Operation::Conceal],
        )
        .from_outside()
        .promise(Promise::continuity(Planned).no_failed_write()),
    ]
}
