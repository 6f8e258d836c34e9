//! Every scenario as a trial: `failover::leader_etcd_killed::members_3`, of kind `failover` (or `smoke`).
//!
//! A trial attaches to a cluster that is up (`ETCD_HARNESS_CLUSTER`, `ETCD_HARNESS_CONTEXT`) and never makes or deletes
//! one, so that a runner with one process per trial works as well as one process for all. Without a cluster every trial
//! is ignored and the reason is printed; a trial whose faults this machine cannot inject is ignored too, with the
//! reason, as `harness doctor` tells it. `E2E_REQUIRED=1` makes both a failure, but for what `E2E_LACKS` names
//! (`E2E_LACKS=manifests,loop_mount`), and a filter that leaves no trial, too.
//!
//! `E2E_SMOKE=1` leaves only the short subset, `E2E_PART=2/6` the second sixth of what that subset leaves out,
//! `E2E_LONG=1` only those that take minutes, which are left out else. The seed of all random choices is drawn and
//! printed; `E2E_SEED` repeats one. Where the machine is too busy to judge times a trial passes by its safety and says
//! so; `E2E_STRICT=1` makes it red. One that is late by a median alone is made again, and the rounds of both decide.
//!
//! While a run is saved and judged the cluster of the next trial is set up, but not with `E2E_ALONE=1`, with more than
//! one thread, or where each trial is a process of its own.

mod on_cluster;
mod table;

use std::env::VarError;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::part::Part;
use e2e::relay::Relay;
use e2e::required::{Allowed, Fate, Missing, Named, fate};
use harness::cluster::{Choice, Cluster};
use harness::faults::{Capabilities, Need, need};
use harness::report::Severity;
use harness::scenario::attempts::{Attempt, Decision, decide};
use harness::scenario::interrupt::EXIT_CODE;
use harness::scenario::{Act, Interrupt, Plan, Scenario, TrialResult, catalog};
use libtest_mimic::{Arguments, Failed, Trial};

use on_cluster::OnCluster;
use table::Table;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let mut arguments = Arguments::from_args();
    // Faults hit nodes that trials share. A caller that asks for more threads gets them.
    arguments.test_threads.get_or_insert(1);
    let required = required()?;
    let plans = plans()?;
    let wanted: Vec<&Plan> = plans
        .iter()
        .filter(|plan| wants(&arguments, plan))
        .collect();
    let place = if arguments.list {
        Ok(None)
    } else if wanted.is_empty() && required.is_some() {
        let named = Named {
            filter: arguments.filter.as_deref(),
            exact: arguments.exact,
            skipped: &arguments.skip,
        };
        return Err(named.none_of(plans.len()));
    } else {
        place(&wanted, required.is_some()).map(Some)
    };
    let interrupt = Interrupt::by_signal();
    let interrupt = interrupt.map_err(|error| format!("signals cannot be listened to: {error}"))?;
    let suite = Arc::new(Suite::new(interrupt));
    let mut trials = Vec::new();
    let mut order = Vec::new();
    for plan in plans {
        let fate = fate(missing(&plan, &place), required.as_ref());
        if let (Fate::Ignored(reason), Ok(_), true) = (&fate, &place, wants(&arguments, &plan)) {
            eprintln!("{} is ignored: {reason}", plan.trial());
        }
        let runs = fate == Fate::Runs;
        let trial = trial(plan.clone(), fate, &suite);
        if runs && !arguments.is_filtered_out(&trial) && !arguments.is_ignored(&trial) {
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
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// Whether the command line names this trial; with its kind, as a runner that starts a process for each trial does.
fn wants(arguments: &Arguments, plan: &Plan) -> bool {
    let by_name = Arguments {
        ignored: false,
        ..arguments.clone()
    };
    let trial = Trial::test(plan.trial(), || Ok(())).with_kind(kind(plan));
    !by_name.is_filtered_out(&trial)
}

/// What may be missing where the suite is required; nothing where it is not.
fn required() -> Result<Option<Allowed>, String> {
    let text = match std::env::var("E2E_LACKS") {
        Ok(text) => text,
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(text)) => text.to_string_lossy().into_owned(),
    };
    let mut known = vec![MANIFESTS];
    known.extend(Need::OF_MACHINES.map(Need::word));
    let allowed = Allowed::read(&text, &known)?;
    match (flag("E2E_REQUIRED"), text.as_str()) {
        (true, _) => Ok(Some(allowed)),
        (false, "") => Ok(None),
        (false, text) => Err(format!(
            "E2E_LACKS={text} is of no effect: it says what may be missing with E2E_REQUIRED=1, which is not set"
        )),
    }
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

/// The kind of its trial.
fn kind(plan: &Plan) -> &'static str {
    if is_smoke(plan) {
        "smoke"
    } else {
        plan.scenario.room()
    }
}

fn trial(plan: Plan, fate: Fate, suite: &Arc<Suite>) -> Trial {
    let (name, kind) = (plan.trial(), kind(&plan));
    let suite = Arc::clone(suite);
    let ignored = matches!(fate, Fate::Ignored(_));
    // A runner may ask for ignored trials too.
    let run = move || match fate {
        Fate::Runs => suite.run(&plan),
        Fate::Ignored(reason) | Fate::Fails(reason) => Err(Failed::from(reason)),
    };
    Trial::test(name, run)
        .with_kind(kind)
        .with_ignored_flag(ignored)
}

/// Name in `E2E_LACKS` of KubeBlocks' examples, which are not in this repository.
const MANIFESTS: &str = "manifests";

/// What a plan needs and this environment does not give.
fn missing(plan: &Plan, place: &Place) -> Option<Missing> {
    let capabilities = match place {
        Ok(capabilities) => capabilities.as_ref(),
        Err(absent) => {
            let reason = absent.clone();
            return Some(Missing { word: None, reason });
        }
    };
    let given = std::env::var_os("ETCD_HARNESS_KUBEBLOCKS_EXAMPLES")
        .is_some_and(|folder| !folder.is_empty());
    if matches!(plan.scenario.act, Act::Manifests) && !given {
        return Some(Missing {
            word: Some(MANIFESTS),
            reason: "no folder of KubeBlocks' manifests: ETCD_HARNESS_KUBEBLOCKS_EXAMPLES"
                .to_owned(),
        });
    }
    let lack = plan.scenario.impossible(capabilities?)?;
    Some(Missing {
        word: lack.need.map(Need::word),
        reason: lack.reason,
    })
}

/// What the cluster to test can do, or why there is none. Nothing is known of it where trials are only listed.
type Place = Result<Option<Capabilities>, String>;

/// Looks at the cluster, and tries there what these plans need.
fn place(plans: &[&Plan], required: bool) -> Result<Capabilities, String> {
    let mut faults = plans.iter().flat_map(|plan| plan.scenario.all_faults());
    let power = faults.any(|fault| need(fault) == Need::NodePower);
    let runtime = runtime().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let choice = Choice::from_env();
        let cluster = if required {
            Cluster::attach_required(&choice).await
        } else {
            Cluster::attach(&choice).await
        };
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
        let mut runs: Vec<Attempt> = Vec::new();
        let mut late = None;
        let result = loop {
            let ended = self.relay.run(plan);
            self.table.add(plan, ended.as_ref().ok());
            if self.interrupt.is_asked() {
                self.relay.give_up();
                self.table.print();
                std::process::exit(i32::from(EXIT_CODE));
            }
            runs.push(attempt(ended.as_ref().ok(), late.is_some()));
            let why = match decide(&runs) {
                Decision::Again(why) => why,
                Decision::Last(severity) => {
                    break match ended {
                        Ok(ended) => told(severity, &ended, runs.len()),
                        Err(error) => Err(unmade(&error, runs.len())),
                    };
                }
                Decision::Together(Severity::Violation, over) => {
                    let page = late.unwrap_or_default();
                    break Err(Failed::from(format!("violation: {over}\n{page}")));
                }
                Decision::Together(severity, judged) => {
                    eprintln!("{}: {judged}", plan.trial());
                    break match ended {
                        Ok(ended) => told(severity, &ended, runs.len()),
                        Err(error) => Err(unmade(&error, runs.len())),
                    };
                }
            };
            match &ended {
                Ok(ended) => {
                    eprintln!("{} is made again: {why}", plan.trial());
                    if runs
                        .last()
                        .is_some_and(|run| run.severity == Severity::Violation)
                    {
                        late = Some(page(ended));
                    }
                }
                Err(error) => eprintln!("{} is made again: {error:#}", plan.trial()),
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

/// What a run counts as. Its gaps are looked at once more where it may be late by medians alone, or one before it was.
fn attempt(ended: Option<&TrialResult>, after_late: bool) -> Attempt {
    let Some(ended) = ended else {
        return Attempt::of(Severity::Inconclusive);
    };
    if !ended.only_the_gap && !after_late {
        return Attempt::of(ended.severity);
    }
    match ended.lateness() {
        Ok(lateness) => Attempt {
            severity: ended.severity,
            lateness,
        },
        Err(error) => {
            eprintln!("{}: its gaps cannot be compared: {error}", ended.trial);
            Attempt::of(ended.severity)
        }
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

/// No run could be made, or none could be saved.
fn unmade(error: &anyhow::Error, runs: usize) -> Failed {
    Failed::from(format!("not to be had in {runs} attempts: {error:#}"))
}

fn red(what: &str, last: &TrialResult) -> Failed {
    Failed::from(format!("{what}: {}\n{}", last.cause, page(last)))
}

fn page(of: &TrialResult) -> String {
    of.dir.join("report.html").display().to_string()
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
