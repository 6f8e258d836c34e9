//! A failover while others do what they can without credentials: the same promise as without them.

use super::counts::THREE_AND_FIVE;
use crate::deploy::Reach;
use crate::faults::{Container, Fault, Selector};
use crate::scenario::promise::Continuity::ProcessKilled;
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::faults(
            "hostile::leader_etcd_killed",
            "The leader's etcd is killed while a pod floods the agents and holds two hundred half-open connections to \
             them, beside Clusters that cannot be read: the service follows the election as soon as without that.",
            [
                Fault::FloodAgents,
                Fault::KillProcess {
                    container: Container::Etcd,
                    of: Selector::Leader,
                },
            ],
        )
        .members(THREE_AND_FIVE)
        // A flood that a policy drops would meet no agent.
        .reached(Reach::Unbound)
        .promise(Promise::continuity(ProcessKilled).elected_by_timers()),
    ]
}
