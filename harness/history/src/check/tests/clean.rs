//! No false alarm: simulated histories of a correct etcd pass every check.

use crate::check::mutate::expectations;
use crate::check::{self, OperationKind};
use crate::simulate::{Plan, simulate};

/// Clean histories that must pass.
const SEEDS: u64 = 120;

#[test]
fn clean_histories_pass_every_check() {
    for seed in 0..SEEDS {
        let plan = Plan {
            seed,
            members: if seed % 3 == 0 { 5 } else { 3 },
            operations: 300 + seed % 7 * 50,
            unknown_percent: seed % 11,
            narrow_watcher: seed % 4 == 0,
            writer_period_ms: 20 + i64::try_from(seed % 3).unwrap_or(0) * 10,
            ..Plan::default()
        };
        let history = simulate(&plan);
        for verdict in check::all(&history, &expectations(plan.members)) {
            assert!(verdict.passed(), "seed {seed}: {verdict:#?}");
        }
    }
}

#[test]
fn clean_histories_hold_what_the_checks_are_about() {
    let plan = Plan {
        operations: 3_000,
        ..Plan::default()
    };
    let verdicts = check::all(&simulate(&plan), &expectations(plan.members));
    let figure = |check: &str, name: &str| {
        let verdict = verdicts
            .iter()
            .find(|verdict| verdict.check == check)
            .expect("the check is there");
        verdict.figures.get(name).copied().unwrap_or_default()
    };
    assert!(figure("linearizable", "unknown_writes_found") > 20.0);
    assert!(figure("linearizable", "leases_ended") > 2.0);
    assert!(figure("reads", "serializable_reads_compared") > 50.0);
    assert!(figure("durability", "acknowledged_writes") > 500.0);
    assert!(figure("leases", "leases_ended") > 2.0);
    assert!(figure("quorum", "disruptions") > 0.0);
    assert!(figure("continuity", "round_0.service_fresh.gap_ms") > 50.0);
    assert!(figure("continuity", "round_0.elected_ms") > 0.0);
    assert!(figure("labels", "label_lag_ms") > 0.0);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let plan = Plan {
        seed: 7,
        ..Plan::default()
    };
    assert_eq!(simulate(&plan), simulate(&plan));
    assert_ne!(simulate(&plan), simulate(&Plan { seed: 8, ..plan }));
}

#[test]
fn every_kind_of_operation_has_a_name() {
    let kinds = expectations(3).operations;
    assert!(
        kinds.contains(&OperationKind::Watch) && kinds.len() == 7,
        "{kinds:?}"
    );
}
