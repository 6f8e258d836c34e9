//! What etcd removes by itself, leases and compacted revisions, while a leader dies.

use crate::faults::{Container, Fault, Selector};
use crate::scenario::promise::Continuity::ProcessKilled;
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
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
