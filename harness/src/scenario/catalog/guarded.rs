//! Scenarios of other families once more, on clusters with TLS and users. What is sampled of each family stands in the
//! table; what a guarded cluster adds of its own follows.

use crate::deploy::{Guard, Reach};
use crate::faults::{Container, Fault, OperatorFault, Replicas, Selector};
use crate::scenario::promise::Continuity::{Planned, ProcessKilled};
use crate::scenario::rotation::CA_STEPS;
use crate::scenario::{Act, Operation, Promise, Scenario};

/// A scenario, and its name when it is run guarded. Of `failover`: the leader dies, and is moved by plan. Of
/// `partition`: the leader loses its peers, the fence and the relabelling without its own agent. Of `operation`: what
/// moves leadership and what recreates every member, without users: a member that was restarted knows no token, and the
/// log-in is no part of a planned move's gap; and what is backed up and restored. Of `restart`: everything at once.
/// With a user's own CA members are who their certificate says.
const SAMPLED: [(&str, &str, Guard); 9] = [
    (
        "failover::leader_etcd_killed",
        "guarded::leader_etcd_killed",
        Guard::TlsAndUsers,
    ),
    (
        "failover::leader_pod_deleted",
        "guarded::leader_pod_deleted",
        Guard::TlsAndUsers,
    ),
    (
        "partition::leader_cut_off_from_peers",
        "guarded::leader_cut_off_from_peers",
        Guard::TlsAndUsers,
    ),
    (
        "operation::switchover_and_resize",
        "guarded::switchover_and_resize",
        Guard::TlsAndUsers,
    ),
    (
        "operation::rolling_restart",
        "guarded::rolling_restart",
        Guard::Tls,
    ),
    (
        "restart::all_pods_deleted",
        "guarded::all_pods_deleted",
        Guard::TlsAndUsers,
    ),
    (
        "failover::leader_etcd_killed",
        "guarded::own_ca_leader_etcd_killed",
        Guard::OwnCa,
    ),
    ("operation::backup", "guarded::backup", Guard::TlsAndUsers),
    (
        "operation::archive",
        "guarded::own_ca_archive",
        Guard::OwnCa,
    ),
];

/// A scenario, its name in a namespace that denies by default, and its story there.
const DENIED: (&str, &str, &str) = (
    "failover::leader_etcd_killed",
    "guarded::default_deny",
    "In a namespace that denies by default and lets the documented flows alone, a cluster comes up; the leader's etcd \
     is killed, and the service follows the election.",
);

/// What strangers try, and what is replaced while clients write and all operators die in the middle.
fn own() -> Vec<Scenario> {
    let operators_die = || {
        [Fault::Operator {
            how: OperatorFault::Killed,
            replicas: Replicas::All,
        }]
    };
    let rotates = |name, story, operation| {
        Scenario::operations(name, story, [operation])
            .and_meanwhile(operators_die())
            .guarded(Guard::TlsAndUsers)
            .promise(Promise::continuity(Planned).no_failed_write())
            .long()
    };
    vec![
        Scenario::new(
            "guarded::break_ins",
            "From another pod, with no certificate, a foreign one, one that is over, one of another cluster, an \
             application's as a member's, a member's as the operator's, and in plain text: all are refused.",
            Act::BreakIns,
        ),
        Scenario::new(
            "guarded::network_policies",
            "Pods of the same and of another namespace dial the members' ports under each policy that a Cluster can \
             choose: what it forbids gets no answer, and what it lets in gets through.",
            Act::NetworkPolicies,
        ),
        rotates(
            "guarded::ca_rotated",
            "The CA is replaced under load, and all replicas of the operator die at each of its steps.",
            Operation::RotateCa,
        )
        .at_each_of(CA_STEPS),
        ca_rotated_leader_etcd_killed(),
        ca_rotated_scaled(),
        rotates(
            "guarded::password_rotated",
            "A user's password is replaced under load: the new one lets in, the one of before no longer.",
            Operation::RotatePassword,
        ),
    ]
}

/// The leader's etcd is killed at each step of another CA.
fn ca_rotated_leader_etcd_killed() -> Scenario {
    Scenario::operations(
        "guarded::ca_rotated_leader_etcd_killed",
        "The CA is replaced under load, and the leader's etcd is killed at each step: another member is elected by members \
         that believe one CA or both.",
        [Operation::RotateCa],
    )
    .and_meanwhile([Fault::KillProcess {
        container: Container::Etcd,
        of: Selector::Leader,
    }])
    .at_each_of(CA_STEPS)
    .guarded(Guard::TlsAndUsers)
    .promise(Promise::continuity(ProcessKilled).elected_by_timers())
    .long()
}

/// Members come and go while the CA is replaced.
fn ca_rotated_scaled() -> Scenario {
    Scenario::operations(
        "guarded::ca_rotated_scaled",
        "While the CA is replaced two members join, and leave again two steps later; all replicas of the operator die at each step.",
        [Operation::RotateCa, Operation::Scale(5), Operation::Scale(3)],
    )
    .overlapping()
    .and_meanwhile([Fault::Operator {
        how: OperatorFault::Killed,
        replicas: Replicas::All,
    }])
    .at_each_of(CA_STEPS)
    .guarded(Guard::TlsAndUsers)
    .promise(Promise::continuity(Planned).no_failed_write())
    .long()
}

/// What is sampled of these, and what only a guarded cluster has.
pub(super) fn all(open: &[Scenario]) -> Vec<Scenario> {
    let sampled = SAMPLED.iter().filter_map(|(of, name, guard)| {
        let scenario = open.iter().find(|scenario| scenario.name == *of)?;
        let mut scenario = scenario.clone().guarded(*guard).members([3]);
        scenario.name = name;
        scenario.smoke = false;
        scenario.long_members = Vec::new();
        Some(scenario)
    });
    let denied = open
        .iter()
        .filter(|scenario| scenario.name == DENIED.0)
        .map(|scenario| {
            let mut denied = scenario
                .clone()
                .reached(Reach::DeniedByDefault)
                .members([3]);
            (denied.name, denied.story) = (DENIED.1, DENIED.2);
            denied.smoke = false;
            denied
        });
    sampled.chain(denied).chain(own()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Selector;
    use crate::scenario::catalog;

    /// What goes to etcd by ways that know no certificates.
    fn is_for_open_clusters(fault: &Fault) -> bool {
        matches!(
            fault,
            Fault::Elect { .. } | Fault::FillQuota | Fault::CorruptData { .. }
        )
    }

    #[test]
    fn every_sampled_scenario_is_there_once_more_and_differs_by_its_cluster_alone() {
        let all = catalog::all();
        let named = |name: &str| all.iter().find(|scenario| scenario.name == name);
        for (of, name, guard) in SAMPLED {
            let (open, guarded) = (named(of).expect(of), named(name).expect(name));
            assert_eq!(open.guard(), Guard::Open);
            assert_eq!(guarded.guard(), guard);
            assert_eq!(guarded.promise, open.promise, "{name}");
            let (Act::Faults(open), Act::Faults(guarded)) = (&open.act, &guarded.act) else {
                panic!("{name} has no load");
            };
            let mut opened = guarded.clone();
            opened.guard = Guard::Open;
            assert_eq!(&opened, open, "{name}");
        }
    }

    #[test]
    fn what_is_denied_by_default_differs_by_its_namespace_alone() {
        let all = catalog::all();
        let named = |name: &str| all.iter().find(|scenario| scenario.name == name);
        let (open, denied) = (named(DENIED.0).expect("it"), named(DENIED.1).expect("it"));
        assert_eq!(denied.reach(), Reach::DeniedByDefault);
        assert_eq!(denied.promise, open.promise);
        let (Act::Faults(open), Act::Faults(denied)) = (&open.act, &denied.act) else {
            panic!("no load");
        };
        let mut opened = denied.clone();
        opened.reach = Reach::Usual;
        assert_eq!(&opened, open);
    }

    #[test]
    fn what_strangers_try_meets_the_members_and_no_policy() {
        for scenario in catalog::all() {
            let floods = scenario.all_faults().contains(&Fault::FloodAgents);
            let unbound = floods || scenario.act == Act::BreakIns || scenario.is_outside();
            assert_eq!(
                scenario.reach() == Reach::Unbound,
                unbound,
                "{}",
                scenario.name
            );
        }
    }

    #[test]
    fn no_guarded_scenario_needs_what_only_an_open_cluster_gives() {
        for scenario in catalog::all() {
            if scenario.guard() == Guard::Open {
                continue;
            }
            assert!(
                !scenario.all_faults().iter().any(is_for_open_clusters),
                "{}",
                scenario.name
            );
            let Act::Faults(trial) = &scenario.act else {
                continue;
            };
            let open =
                |operation: &Operation| matches!(operation, Operation::Expose | Operation::Conceal);
            assert!(!trial.operations.iter().any(open), "{}", scenario.name);
        }
        assert!(is_for_open_clusters(&Fault::Elect {
            of: Selector::AnyFollower
        }));
    }
}
