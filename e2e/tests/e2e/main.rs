//! Every scenario as a trial: `failover::leader_etcd_killed::members_3`, of kind `failover` (or `smoke`).
//!
//! A trial attaches to a cluster that is up (`ETCD_HARNESS_CLUSTER`, `ETCD_HARNESS_CONTEXT`) and never makes or deletes
//! one, so that a runner with one process per trial works as well as one process for all. Without a cluster every trial
//! is ignored and the reason is printed; `E2E_REQUIRED=1` makes that a failure. `E2E_SMOKE=1` leaves only the short
//! subset, `E2E_LONG=1` only those that take minutes, which are left out else; `E2E_SEED` repeats a seed.

mod table;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::cluster::{Choice, Cluster};
use harness::report::judgement::Severity;
use harness::scenario::attempts::{Attempt, verdict};
use harness::scenario::{Act, Ended, Lab, Live, Plan, Scenario, catalog, run};
use libtest_mimic::{Arguments, Failed, Trial};

use table::Table;

/// Seed of a run that was given none: fixed, so that two runs of the suite differ only in what the cluster does.
const SEED: u64 = 1;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Faults hit nodes that trials share. Whoever asks for more threads gets them.
    arguments.test_threads.get_or_insert(1);
    let absent = if arguments.list { None } else { absence() };
    let suite = Arc::new(Suite {
        table: Table::default(),
        left: AtomicUsize::new(0),
    });
    let trials: Vec<Trial> = plans()
        .into_iter()
        .map(|plan| trial(plan, absent.as_ref(), &suite))
        .collect();
    let runs = |trial: &&Trial| !arguments.is_filtered_out(trial) && !arguments.is_ignored(trial);
    suite
        .left
        .store(trials.iter().filter(runs).count(), Ordering::SeqCst);
    if let Some(reason) = &absent {
        eprintln!("no cluster to test: {reason}");
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What the trials of this process share.
struct Suite {
    table: Table,
    left: AtomicUsize,
}

/// All plans of the suite, of its short subset, or of the long ones.
fn plans() -> Vec<Plan> {
    let seed = std::env::var("E2E_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(SEED);
    let (short, long) = (flag("E2E_SMOKE"), flag("E2E_LONG"));
    let scenarios = catalog::all()
        .into_iter()
        .filter(|scenario| scenario.long == long && (scenario.smoke || !short));
    scenarios
        .flat_map(|scenario| {
            counts(&scenario, short)
                .into_iter()
                .map(move |count| (scenario.clone(), count))
        })
        .map(|(scenario, members)| Plan {
            scenario,
            members,
            seed,
        })
        .collect()
}

/// The short subset is about three members only.
fn counts(scenario: &Scenario, short: bool) -> Vec<u32> {
    scenario
        .members
        .iter()
        .copied()
        .filter(|count| !short || *count == 3)
        .collect()
}

fn trial(plan: Plan, absent: Option<&String>, suite: &Arc<Suite>) -> Trial {
    let kind = if plan.scenario.smoke && plan.members == 3 {
        "smoke"
    } else {
        plan.scenario.room()
    };
    let name = plan.trial();
    let reason = absent.cloned().or_else(|| lacks(&plan));
    let suite = Arc::clone(suite);
    // Decided anew in the trial, because a runner may ask for ignored trials too.
    let required = flag("E2E_REQUIRED") && absent.is_some();
    let ignored = reason.is_some() && !required;
    let run = move || match reason {
        Some(reason) => Err(Failed::from(reason)),
        None => suite.run(&plan),
    };
    Trial::test(name, run)
        .with_kind(kind)
        .with_ignored_flag(ignored)
}

/// What a plan needs and this environment does not give.
fn lacks(plan: &Plan) -> Option<String> {
    let given = std::env::var_os("ETCD_HARNESS_KUBEBLOCKS_EXAMPLES")
        .is_some_and(|folder| !folder.is_empty());
    match plan.scenario.act {
        Act::Manifests if !given => {
            let reason = "no folder of KubeBlocks' manifests: ETCD_HARNESS_KUBEBLOCKS_EXAMPLES";
            eprintln!("{} is ignored: {reason}", plan.trial());
            Some(reason.to_owned())
        }
        _ => None,
    }
}

/// Why there is no cluster to test; `None` when there is one.
fn absence() -> Option<String> {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return Some(error.to_string()),
    };
    runtime.block_on(async {
        Cluster::attach(&Choice::from_env())
            .await
            .err()
            .map(|error| error.to_string())
    })
}

impl Suite {
    /// Makes runs until a verdict is reached. Each has its line in the table.
    fn run(&self, plan: &Plan) -> Result<(), Failed> {
        let mut attempts = Vec::new();
        let result = loop {
            let live = if flag("E2E_QUIET") {
                Live::quiet()
            } else {
                Live::loud()
            };
            let ended = attempt(plan, live);
            self.table.add(plan, ended.as_ref().ok());
            let ended = match ended {
                Ok(ended) => ended,
                Err(error) => break Err(Failed::from(format!("{error:#}"))),
            };
            attempts.push(Attempt::of(ended.severity, ended.only_the_gap));
            if let Some(severity) = verdict(&attempts) {
                break told(severity, &ended, attempts.len());
            }
        };
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.table.print();
        }
        result
    }
}

fn attempt(plan: &Plan, live: Live) -> anyhow::Result<Ended> {
    runtime()?.block_on(async {
        let lab = Lab::attach(&Choice::from_env(), live).await?;
        Ok(Box::pin(run(&lab, plan)).await?)
    })
}

/// Red when it is red, and when it is not known.
fn told(severity: Severity, last: &Ended, runs: usize) -> Result<(), Failed> {
    match severity {
        Severity::Pass => Ok(()),
        Severity::Violation | Severity::Inconclusive => Err(Failed::from(format!(
            "{} after {runs} runs: {}\n{}",
            severity.word(),
            last.cause,
            last.dir.join("report.html").display()
        ))),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

fn flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0")
}
