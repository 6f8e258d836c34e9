//! No false alarm: simulated histories of a correct etcd pass every check.

use crate::check::mutate::expectations;
use crate::check::test_support::one;
use crate::check::{self, Finding, OperationKind};
use crate::index::Index;
use crate::record::{Call, MemberSample, Record, Request, WatchEvent, WatchRecord};
use crate::simulate::{Plan, Variety, simulate};

/// Clean histories that must pass.
const SEEDS: u64 = 200;

#[test]
fn clean_histories_pass_every_check() {
    let (mut whole, mut told) = (0, String::new());
    for seed in 0..SEEDS {
        let plan = Plan::varied(seed);
        whole += u64::from(plan.tells_all());
        for verdict in check::all(&simulate(&plan), &expectations(plan.members)) {
            let wrong = match verdict.finding {
                Finding::Pass => false,
                Finding::Violation { .. } => true,
                _ => plan.tells_all(),
            };
            if wrong {
                told += &format!("\n{plan:?}: {}: {:?}", verdict.check, verdict.finding);
            }
        }
    }
    assert!(told.is_empty(), "{told}");
    assert!(whole > SEEDS / 3, "{whole} of {SEEDS} tell all");
}

/// The records of the first seeds together hold what the plans vary.
#[test]
fn varied_histories_hold_what_they_are_about() {
    let mut seen = [0; 6];
    for seed in 0..30 {
        for record in simulate(&Plan::varied(seed)).records {
            let what = match record {
                Record::Watch(WatchRecord { event, .. }) => match event {
                    WatchEvent::Cancelled { .. } => 0,
                    WatchEvent::Opened {
                        start_revision: 0, ..
                    } => 1,
                    WatchEvent::Opened { start_revision, .. } if start_revision > 30 => 2,
                    _ => continue,
                },
                Record::Member(MemberSample {
                    status: Some(status),
                    ..
                }) if status.applied_index + 10 < status.raft_index => 3,
                Record::Pod(pod) if pod.deleted && !pod.deleting => 4,
                Record::Call(Call {
                    request: Request::Txn { then, .. },
                    ..
                }) if then
                    .iter()
                    .any(|put| matches!(put, Request::Put { lease: 1.., .. })) =>
                {
                    5
                }
                _ => continue,
            };
            seen[what] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
}

/// What a killed client had asked may have happened, be it a delete that no mark tells.
#[test]
fn a_client_that_was_killed_is_no_false_alarm() {
    let (mut open, mut lone, mut found, mut in_round, mut told) = (0, 0, 0, 0, String::new());
    for seed in 0..SEEDS / 5 {
        let mut plan = Plan::varied(seed);
        plan.watchers = 3;
        plan.variety = Variety {
            watchers_away_ms: 0,
            cut_off: false,
            restart_client: true,
            ..plan.variety
        };
        let history = simulate(&plan);
        let index = Index::new(&history);
        assert_eq!(index.restarts.len(), 1, "seed {seed}");
        let again = index.watch.iter().any(|record| record.watcher >= 10_000);
        assert!(again, "seed {seed}: the next client watches too");
        for op in index.ops.iter().filter(|op| op.end.is_none()) {
            open += 1;
            lone += u32::from(matches!(op.call.request, Request::Delete { .. }));
        }
        for verdict in check::all(&history, &expectations(plan.members)) {
            match verdict.finding {
                Finding::Pass if verdict.check == "linearizable" => found += 1,
                Finding::Inconclusive { reason } if verdict.check == "continuity" => {
                    in_round += u32::from(reason.contains("client restarted in round"));
                }
                Finding::Violation { explanation, .. } => {
                    told += &format!("\n{plan:?}: {}: {explanation}", verdict.check);
                }
                _ => {}
            }
        }
    }
    assert!(told.is_empty(), "{told}");
    assert!(
        open > 160 && lone > 40,
        "{open} are open, {lone} lone deletes"
    );
    assert!(found > 10, "{found} are explained to their ends");
    assert!(in_round > 3, "{in_round} restarts in a round");
}

#[test]
fn a_member_that_diverges_is_seen() {
    let mut by_reads = 0;
    for seed in 0..20 {
        let mut plan = Plan::varied(seed);
        plan.watchers = 3;
        plan.variety = Variety {
            watchers_away_ms: 0,
            cut_off: false,
            behind: false,
            restart_client: false,
            diverges: true,
            ..plan.variety
        };
        let verdicts = check::all(&simulate(&plan), &expectations(plan.members));
        let seen = |check: &str| {
            let verdict = one(verdicts.clone(), check);
            matches!(verdict.finding, Finding::Violation { .. })
        };
        assert!(seen("agreement"), "seed {seed}");
        by_reads += u32::from(seen("reads"));
    }
    // Where a client happened to read that key from that member.
    assert!(by_reads >= 15, "{by_reads} of 20 are seen by reads");
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
