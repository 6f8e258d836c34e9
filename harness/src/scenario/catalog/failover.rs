//! The leader or a follower dies, is deleted or hangs.

use etcd_operator_api::settings;

use super::counts::THREE_AND_FIVE;
use crate::faults::{Container, Deletion, Fault, Selector};
use crate::scenario::promise::Continuity::{
    LeaderSilent, LeaderStays, Planned, ProcessKilled, Within,
};
use crate::scenario::{Event, Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
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
            "The leader's pod is deleted by a plain request: leadership and service have moved before it stops.",
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
    ]
    .into_iter()
    .chain(others())
    .collect()
}

/// Deaths of another kind, and none.
fn others() -> Vec<Scenario> {
    vec![
        Scenario::faults(
            "failover::leader_out_of_memory",
            "The memory of the leader's etcd runs out and the kernel kills it: as any other death.",
            [Fault::ExhaustMemory { container: Container::Etcd, of: Selector::Leader }],
        )
        .and_long([5])
        .at_most(3)
        .promise(Promise::continuity(ProcessKilled).ends_slowly()),
        Scenario::faults(
            "failover::election_on_demand",
            "A follower is told to campaign while the leader is healthy: the same message as after a crash, and nothing dies.",
            [Fault::Elect { of: Selector::AnyFollower }],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled)),
        Scenario::faults(
            "failover::processors_starved",
            "Each container of every member gets a twentieth of a processor: whatever is elected, no write is lost.",
            [Fault::Starve { of: Selector::All, percent: 5 }],
        )
        .lasts(30)
        .at_most(1)
        .and_long([5])
        .long(),
        Scenario::faults(
            "failover::leader_etcd_killed_clients_led",
            "The leader's etcd is killed, and its agent leads clients to the next leader: none is refused.",
            [Fault::KillProcess { container: Container::Etcd, of: Selector::Leader }],
        )
        .and_long([5])
        .setting(settings::RELAY_CLIENTS, "true")
        .promise(Promise::continuity(ProcessKilled)),
        two_leaders_in_a_row(),
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

fn two_leaders_in_a_row() -> Scenario {
    let kill = Fault::KillProcess {
        container: Container::Etcd,
        of: Selector::Leader,
    };
    Scenario::faults(
        "failover::two_leaders_in_a_row",
        "The leader's etcd dies, and that of the next leader as soon as it leads: the others elect again, the service follows.",
        [kill.clone()],
    )
    .when(Event::LeaderChanged, [kill])
    .members([5])
    .at_most(3)
    .long()
    // The second death may come before the service has followed the first leader: it loses that one's time, too.
    .promise(Promise::continuity(Within(1000)).elected_by_timers())
}
