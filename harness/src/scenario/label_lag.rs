//! For how long the leader label may differ from raft's leader in a scenario, by what its faults hit.

use crate::faults::{ControlPlanePart, Fault, Replicas};

/// Milliseconds where every replica of the operator is hit: the first that is back labels the leader, as the gap of
/// such a scenario has it.
const NO_OPERATOR_MS: u64 = 10_000;

/// What is left of a promise: none where labels cannot be written, or where the members themselves have no time.
pub(super) fn of(promised_ms: Option<u64>, faults: &[Fault]) -> Option<u64> {
    let hit = |is: fn(&Fault) -> bool| faults.iter().any(is);
    let unwritable = |fault: &Fault| {
        matches!(
            fault,
            Fault::ControlPlane {
                part: ControlPlanePart::ApiServer,
                ..
            } | Fault::Starve { .. }
        )
    };
    let no_operator = |fault: &Fault| {
        matches!(
            fault,
            Fault::Operator {
                replicas: Replicas::All,
                ..
            }
        )
    };
    match promised_ms {
        _ if hit(unwritable) => None,
        Some(ms) if hit(no_operator) => Some(ms.max(NO_OPERATOR_MS)),
        promised => promised,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::{Act, catalog};

    /// Scenarios in which the label may be late for as long as it likes, until all must be well again.
    const UNBOUND: [&str; 11] = [
        // The API server is unavailable.
        "control_plane::api_server_away_during_failover",
        "control_plane::api_server_stopped_during_failover",
        "operation::scale_out_api_server_away",
        // Members have a twentieth of a processor.
        "failover::processors_starved",
        // There is no quorum, or no member.
        "disaster::quorum_lost_for_good",
        "guarded::all_pods_deleted",
        "operation::stop_and_start",
        "quorum::lost_and_regained",
        "restart::all_pods_deleted",
        "restart::all_pods_deleted_by_force",
        "restart::every_node",
    ];

    #[test]
    fn every_scenario_with_a_load_has_a_limit_or_a_reason_to_have_none() {
        let mut unbound = BTreeSet::new();
        for scenario in catalog::all() {
            let Act::Faults(trial) = &scenario.act else {
                continue;
            };
            let promised = scenario.promise.expectations(3, 1).label_lag_ms;
            match of(promised, &trial.faults) {
                Some(ms) => assert!((2_000..=10_000).contains(&ms), "{}", scenario.name),
                None => {
                    unbound.insert(scenario.name);
                }
            }
        }
        assert_eq!(unbound, BTreeSet::from(UNBOUND));
    }

    #[test]
    fn where_all_operators_are_hit_the_label_has_the_time_of_the_gap() {
        let of_named = |name: &str| {
            let mut all = catalog::all().into_iter();
            let scenario = all.find(|scenario| scenario.name == name).expect(name);
            let promised = scenario.promise.expectations(3, 1).label_lag_ms;
            of(promised, scenario.all_faults())
        };
        assert_eq!(
            of_named("operator::all_killed_during_failover"),
            Some(10_000)
        );
        assert_eq!(of_named("operator::replaced"), Some(10_000));
        assert_eq!(of_named("operator::killed_during_failover"), Some(2_000));
        assert_eq!(of_named("failover::leader_etcd_killed"), Some(2_000));
        assert_eq!(of_named("failover::leader_frozen"), Some(4_000));
    }
}
