//! Which run's cluster may be set up while the run before is saved and judged. Pure.

use crate::scenario::sizes::sizes;
use crate::scenario::{Act, Plan};

/// Most members on a worker: what fits into two processors by what members ask for, and onto the volumes of a node.
const PER_WORKER: usize = 2;

/// The run whose cluster is set up while the one of this trial is judged: the one that comes next in this order, if the
/// two fit beside each other on so many workers.
pub fn next<'a>(order: &'a [Plan], trial: &str, workers: usize) -> Option<&'a Plan> {
    let at = order.iter().position(|plan| plan.trial() == trial)?;
    let next = order.get(at + 1)?;
    fits(next, &order[at], workers).then_some(next)
}

/// True when the cluster that `next` begins with fits beside the one that `judged` leaves behind.
fn fits(next: &Plan, judged: &Plan, workers: usize) -> bool {
    let Act::Faults(trial) = &next.scenario.act else {
        // It has no set-up of its own: what it makes is what it looks at.
        return false;
    };
    // Of the small volumes each worker has one, which the other cluster may still hold.
    let small = trial.small_volumes && has_small_volumes(judged);
    let members = next.members as usize + most(judged) as usize;
    !small && members <= PER_WORKER * workers
}

fn has_small_volumes(plan: &Plan) -> bool {
    match &plan.scenario.act {
        Act::Faults(trial) => trial.small_volumes,
        Act::Conform
        | Act::Admission
        | Act::Manifests
        | Act::Documents
        | Act::Backups
        | Act::BreakIns
        | Act::NetworkPolicies => false,
    }
}

/// Most members that a run has.
fn most(plan: &Plan) -> u32 {
    let all = match &plan.scenario.act {
        Act::Faults(trial) => sizes(plan.members, &trial.operations),
        Act::Conform
        | Act::Admission
        | Act::Manifests
        | Act::Documents
        | Act::Backups
        | Act::BreakIns
        | Act::NetworkPolicies => Vec::new(),
    };
    all.into_iter().max().unwrap_or(plan.members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::catalog;

    fn plan(name: &str) -> Plan {
        Plan::named(name, None, 1).expect("a plan")
    }

    fn next_of(names: &[&str], workers: usize) -> Option<String> {
        let order: Vec<Plan> = names.iter().map(|name| plan(name)).collect();
        next(&order, &order[0].trial(), workers).map(Plan::trial)
    }

    #[test]
    fn the_next_in_order_and_no_other() {
        let order = [
            "failover::leader_etcd_killed",
            "failover::leader_etcd_killed::members_5",
            "failover::leader_frozen",
        ];
        let found = next_of(&order, 5);
        assert_eq!(
            found.as_deref(),
            Some("failover::leader_etcd_killed::members_5")
        );
        assert_eq!(
            next_of(&order[..1], 5),
            None,
            "a runner with a process each"
        );
        let order = order.map(plan);
        assert_eq!(next(&order, "failover::leader_frozen::members_3", 5), None);
        assert_eq!(next(&order, "failover::unknown", 5), None);
    }

    #[test]
    fn what_looks_at_its_own_creation_is_never_set_up_ahead() {
        let order = ["failover::leader_frozen", "provision::conform"];
        assert_eq!(next_of(&order, 5), None);
        assert!(next_of(&["provision::conform", "failover::leader_frozen"], 5).is_some());
    }

    #[test]
    fn two_clusters_fit_beside_each_other() {
        let five = "failover::leader_frozen::members_5";
        assert!(next_of(&[five, "failover::leader_etcd_killed::members_5"], 5).is_some());
        assert_eq!(next_of(&[five, "failover::leader_etcd_killed"], 3), None);
        let order = [five, "failover::leader_etcd_killed"];
        assert_eq!(
            next_of(&order, 0),
            None,
            "a cluster that the harness did not create"
        );
        // Seven in its course, five at its end.
        assert_eq!(next_of(&["operation::seven_members", five], 5), None);
        assert!(next_of(&["operation::seven_members", "failover::leader_frozen"], 5).is_some());
    }

    #[test]
    fn small_volumes_are_never_wanted_twice() {
        let small = "storage::disk_full";
        let order = [
            plan(small),
            Plan {
                seed: 2,
                ..plan(small)
            },
        ];
        assert!(!fits(&order[1], &order[0], 5));
        assert!(next_of(&[small, "failover::leader_frozen"], 5).is_some());
        assert!(next_of(&["failover::leader_frozen", small], 5).is_some());
    }

    #[test]
    fn most_of_the_suite_is_set_up_ahead() {
        let scenarios = catalog::all().into_iter().filter(|scenario| !scenario.long);
        let order: Vec<Plan> = scenarios
            .flat_map(|scenario| {
                let counts = scenario.members.clone().into_iter();
                counts.map(move |members| Plan {
                    scenario: scenario.clone(),
                    members,
                    seed: 1,
                })
            })
            .collect();
        let ahead = order
            .iter()
            .filter(|plan| next(&order, &plan.trial(), 5).is_some());
        let (ahead, all) = (ahead.count(), order.len());
        assert!(ahead * 10 >= all * 9, "{ahead} of {all}");
    }
}
