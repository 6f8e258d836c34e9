//! Every scenario as a trial: `failover::leader_etcd_killed::members_3`, of kind `failover` (or `smoke`).
//!
//! A trial attaches to a cluster that is up (`ETCD_HARNESS_CLUSTER`, `ETCD_HARNESS_CONTEXT`) and never makes or deletes
//! one, so that a runner with one process per trial works as well as one process for all. Without a cluster every trial
//! is ignored and the reason is printed; `E2E_REQUIRED=1` makes that a failure. A trial whose faults this machine
//! cannot inject is ignored too, with the reason, as `harness doctor` tells it.
//!
//! `E2E_SMOKE=1` leaves only the short subset, `E2E_PART=2/6` the second sixth of what that subset leaves out,
//! `E2E_LONG=1` only those that take minutes, which are left out else. The seed of all random choices is drawn and
//! printed; `E2E_SEED` repeats one. Where the machine is too busy to judge times a trial passes by its safety and says
//! so; `E2E_STRICT=1` makes it red.
//!
//! While a run is saved and judged the cluster of the next trial is set up, but not with `E2E_ALONE=1`, with more than
//! one thread, or where each trial is a process of its own.

mod on_cluster;
mod table;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::part::Part;
use e2e::relay::Relay;
use harness::cluster::{Choice, Cluster};
use harness::faults::{Capabilities, Need, need};
use harness::report::Severity;
use harness::scenario::attempts::verdict;
use harness::scenario::interrupt::EXIT_CODE;
use harness::scenario::{Act, Interrupt, Plan, Scenario, TrialResult, catalog};
use libtest_mimic::{Arguments, Failed, Trial};

use on_cluster::OnCluster;
use table::Table;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Faults hit nodes that trials share. A caller that asks for more threads gets them.
    arguments.test_threads.get_or_insert(1);
    let plans = match plans() {
        Ok(plans) => plans,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // A runner that starts a process for each trial names it in the filter.
    let wanted = |plan: &&Plan| {
        let filter = arguments.filter.as_ref();
        filter.is_none_or(|filter| plan.trial().contains(filter.as_str()))
    };
    let place = if arguments.list {
        Ok(None)
    } else {
        place(&plans.iter().filter(wanted).collect::<Vec<_>>()).map(Some)
    };
    let interrupt = match Interrupt::by_signal() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("signals cannot be listened to: {error}");
            return ExitCode::FAILURE;
        }
    };
    let suite = Arc::new(Suite::new(interrupt));
    let mut trials = Vec::new();
    let mut order = Vec::new();
    for plan in plans {
        let trial = trial(plan.clone(), &place, &suite);
        if !arguments.is_filtered_out(&trial) && !arguments.is_ignored(&trial) {
            order.push(plan);
        }
        trials.push(trial);
    }
    suite.left.store(order.len(), Ordering::SeqCst);
    if arguments.test_threads == Some(1) && !flag("E2E_ALONE") {
        suite.relay.runs().look_ahead(order);
    }
    if let Err(reason) = &place {
        eprintln!("no cluster to test: {reason}");
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What the trials of this process share.
struct Suite {
    interrupt: Interrupt,
    table: Table,
    left: AtomicUsize,
    relay: Relay<OnCluster>,
}

/// All plans of the suite, of its short subset, of a part of the rest, or of the long ones.
fn plans() -> Result<Vec<Plan>, String> {
    let seed = match std::env::var("E2E_SEED").as_deref() {
        Err(_) | Ok("") => u64::from(rand::random::<u32>()),
        Ok(seed) => seed
            .parse()
            .map_err(|_| format!("E2E_SEED={seed} is no seed: give a whole number"))?,
    };
    let (short, long) = (flag("E2E_SMOKE"), flag("E2E_LONG"));
    let part = match std::env::var("E2E_PART").as_deref() {
        Err(_) | Ok("") => None,
        Ok(_) if short || long => {
            return Err("E2E_PART goes neither with E2E_SMOKE nor with E2E_LONG".to_owned());
        }
        Ok(text) => Some(text.parse::<Part>()?),
    };
    let scenarios = catalog::all()
        .into_iter()
        .filter(|scenario| scenario.smoke || !short);
    let plans = scenarios.flat_map(|scenario| {
        counts(&scenario, short, long)
            .into_iter()
            .map(move |members| Plan {
                scenario: scenario.clone(),
                members,
                seed,
            })
    });
    Ok(match part {
        Some(part) => part.of(plans.filter(|plan| !is_smoke(plan))),
        None => plans.collect(),
    })
}

/// True for a trial of the short subset.
fn is_smoke(plan: &Plan) -> bool {
    plan.scenario.smoke && plan.members == 3
}

/// The short subset is about three members only.
fn counts(scenario: &Scenario, short: bool, long: bool) -> Vec<u32> {
    let counts = scenario.counts(long).into_iter();
    counts.filter(|count| !short || *count == 3).collect()
}

fn trial(plan: Plan, place: &Place, suite: &Arc<Suite>) -> Trial {
    let kind = if is_smoke(&plan) {
        "smoke"
    } else {
        plan.scenario.room()
    };
    let name = plan.trial();
    let reason = match place {
        Err(absent) => Some(absent.clone()),
        Ok(capabilities) => lacks(&plan, capabilities.as_ref()),
    };
    let suite = Arc::clone(suite);
    // Decided again in the trial, because a runner may ask for ignored trials too.
    let required = flag("E2E_REQUIRED") && place.is_err();
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
fn lacks(plan: &Plan, capabilities: Option<&Capabilities>) -> Option<String> {
    let given = std::env::var_os("ETCD_HARNESS_KUBEBLOCKS_EXAMPLES")
        .is_some_and(|folder| !folder.is_empty());
    let reason = match plan.scenario.act {
        Act::Manifests if !given => {
            Some("no folder of KubeBlocks' manifests: ETCD_HARNESS_KUBEBLOCKS_EXAMPLES".to_owned())
        }
        _ => plan.scenario.impossible(capabilities?),
    }?;
    eprintln!("{} is ignored: {reason}", plan.trial());
    Some(reason)
}

/// What the cluster to test can do, or why there is none. Nothing is known of it where trials are only listed.
type Place = Result<Option<Capabilities>, String>;

/// Looks at the cluster, and tries there what these plans need.
fn place(plans: &[&Plan]) -> Result<Capabilities, String> {
    let mut faults = plans.iter().flat_map(|plan| plan.scenario.all_faults());
    let power = faults.any(|fault| need(fault) == Need::NodePower);
    let runtime = runtime().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let cluster = Cluster::attach(&Choice::from_env()).await;
        let cluster = cluster.map_err(|error| error.to_string())?;
        Ok(if power {
            Capabilities::tried(&cluster).await
        } else {
            Capabilities::of(&cluster).await
        })
    })
}

impl Suite {
    fn new(interrupt: Interrupt) -> Self {
        Self {
            interrupt: interrupt.clone(),
            table: Table::default(),
            left: AtomicUsize::new(0),
            relay: Relay::new(OnCluster::new(interrupt)),
        }
    }

    /// Makes runs until a verdict is reached. Each has its line in the table.
    fn run(&self, plan: &Plan) -> Result<(), Failed> {
        let mut runs = Vec::new();
        let result = loop {
            let ended = self.relay.run(plan);
            self.table.add(plan, ended.as_ref().ok());
            if self.interrupt.is_asked() {
                self.relay.give_up();
                self.table.print();
                std::process::exit(i32::from(EXIT_CODE));
            }
            let ended = match ended {
                Ok(ended) => ended,
                Err(error) => break Err(Failed::from(format!("{error:#}"))),
            };
            runs.push(ended.severity);
            if let Some(severity) = verdict(&runs) {
                break told(severity, &ended, runs.len());
            }
            // The run is made again: another cluster beside it would take its processor.
            self.relay.give_up();
        };
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.table.print();
        }
        result
    }
}

/// Red when it is red, and when it is not known; on request also when times could not be judged.
fn told(severity: Severity, last: &TrialResult, runs: usize) -> Result<(), Failed> {
    match severity {
        Severity::Pass => Ok(()),
        Severity::NotJudged if !flag("E2E_STRICT") => Ok(()),
        Severity::NotJudged => Err(red("time was not judged (E2E_STRICT)", last)),
        Severity::Inconclusive => Err(red(&format!("nothing proved in {runs} runs"), last)),
        Severity::Violation => Err(red(severity.word(), last)),
    }
}

fn red(what: &str, last: &TrialResult) -> Failed {
    let page = last.dir.join("report.html");
    Failed::from(format!("{what}: {}\n{}", last.cause, page.display()))
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
