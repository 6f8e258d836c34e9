//! Scenarios of a Kubernetes cluster that bare members can run, too: nothing but faults that they can have. Pure.

use crate::bare::faults::is_possible;
use crate::scenario::{Act, Guard, Reach, Scenario, Trial, catalog};

/// Where a scenario can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// In a Kubernetes cluster.
    Kind,
    /// With etcd members as plain containers.
    Bare,
}

impl Tier {
    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Kind => "kind",
            Tier::Bare => "bare",
        }
    }
}

/// The scenarios of the cluster's catalogue that bare members can run. What they promise of pods, labels and the
/// service is not claimed there.
pub fn all() -> Vec<Scenario> {
    let mut all = catalog::all();
    all.retain(|scenario| tiers(scenario).contains(&Tier::Bare));
    all
}

/// Where a scenario of the cluster's catalogue can run.
pub fn tiers(scenario: &Scenario) -> Vec<Tier> {
    let bare = match &scenario.act {
        Act::Faults(trial) => is_bare(trial) && scenario.all_faults().iter().all(is_possible),
        _ => false,
    };
    let bare = bare.then_some(Tier::Bare);
    [Tier::Kind].into_iter().chain(bare).collect()
}

/// True when a trial asks for faults alone, and for settings of etcd itself: the operator's own have capitals.
fn is_bare(trial: &Trial) -> bool {
    let of_etcd = |(name, _): &(&str, &str)| !name.contains(char::is_uppercase);
    !trial.faults.is_empty()
        && trial.operations.is_empty()
        && trial.probes.is_empty()
        && trial.replaced_after.is_none()
        && !(trial.small_volumes || trial.growing || trial.outside)
        && !trial.recovers_under_fault
        && trial.guard == Guard::Open
        && trial.reach == Reach::Usual
        && trial.settings.iter().all(of_etcd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Deletion, Fault, Selector};

    #[test]
    fn what_needs_pods_nodes_or_the_operator_runs_in_a_cluster_alone() {
        let names: Vec<&str> = all().iter().map(|scenario| scenario.name).collect();
        for both in [
            "failover::leader_etcd_killed",
            "failover::follower_etcd_killed",
            "failover::election_on_demand",
            "failover::leader_frozen",
            "failover::two_leaders_in_a_row",
            "partition::leader_cut_off_from_peers",
            "partition::leader_cut_off_from_everybody",
            "partition::leader_in_the_minority",
            "partition::leader_cannot_send",
            "partition::bridge",
            "partition::packets_lost",
            "compaction::under_load",
        ] {
            assert!(names.contains(&both), "{both}: {names:?}");
        }
        for kind in [
            "failover::leader_pod_deleted",
            "failover::leader_etcd_killed_clients_led",
            "partition::leader_cut_off_from_clients",
            "partition::names_do_not_resolve",
            "node::leader_node_paused",
            "operation::rolling_restart",
            "guarded::leader_etcd_killed",
            "outside::leader_etcd_killed",
        ] {
            assert!(!names.contains(&kind), "{kind}");
        }
    }

    #[test]
    fn one_fault_that_bare_members_cannot_have_keeps_a_scenario_from_them() {
        let kill = Fault::Elect {
            of: Selector::AnyFollower,
        };
        let pod = Fault::DeletePod {
            of: Selector::Leader,
            how: Deletion::Forced,
        };
        let of = |faults: &[Fault]| tiers(&Scenario::faults("a::b", "A story.", faults));
        assert_eq!(of(std::slice::from_ref(&kill)), [Tier::Kind, Tier::Bare]);
        assert_eq!(of(&[kill, pod]), [Tier::Kind]);
        assert_eq!(of(&[]), [Tier::Kind]);
    }
}
