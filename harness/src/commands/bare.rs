//! `harness bare`: scenarios with etcd members as plain containers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::task::{JoinError, JoinSet};

use super::within::{Over, SAID};
use super::{CommandResult, Exit};
use crate::bare::{
    BareError, BareLab, BarePlan, VERSION, catalog, remover, run as run_plan, run_apart,
};
use crate::report::Severity;
use crate::scenario::{Interrupt, Live, PlanError, Scenario};

/// Arguments of `harness bare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Runs one scenario.
    // Its `--version` is that of etcd.
    #[command(disable_version_flag = true)]
    Run(RunArgs),
    /// Runs every scenario once, or those that --filter selects, and says how many runs an hour that makes. Those
    /// without their image are left out and named.
    #[command(disable_version_flag = true)]
    All(AllArgs),
    /// Lists the scenarios of bare members; `harness list` says which of a cluster's they can run, too.
    List,
    /// Waits for the end of its input, and removes what this process left, as its labels name it. The harness itself
    /// starts it.
    #[command(hide = true)]
    RemoveLeft {
        /// The process.
        owner: String,
    },
}

/// Arguments of `harness bare all`.
#[derive(Debug, clap::Args)]
struct AllArgs {
    /// Only scenarios whose names contain this.
    #[arg(long, default_value = "")]
    filter: String,
    /// Version of etcd, the tag of an image `etcd-harness/etcd`. Of several with commas members have one in turn.
    #[arg(long, default_value = VERSION)]
    version: String,
    /// Seed of all random choices; random itself when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs that are under way at a time: most of a run is waiting. What each says comes when it has ended.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    at_once: u8,
    /// Longest time in seconds for all runs together, but for what ends and judges the last ones. Where it does not
    /// suffice the outcome is inconclusive, and what was not run to its end is named.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    within: Option<u64>,
    /// Folder of the run directories.
    #[arg(long, default_value = "runs", env = "ETCD_HARNESS_RUNS")]
    runs: PathBuf,
}

/// Arguments of `harness bare run`.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Name of the scenario, as `harness bare list` prints it.
    scenario: String,
    /// Members of the etcd cluster; the scenario's first count when not given.
    #[arg(long)]
    members: Option<u32>,
    /// Version of etcd, the tag of an image `etcd-harness/etcd`. Of several with commas members have one in turn.
    #[arg(long, default_value = VERSION)]
    version: String,
    /// Seed of all random choices; random itself when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs, each with the next seed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    times: u64,
    /// Longest time in seconds for all runs together, but for what ends and judges the last ones. Where it does not
    /// suffice the outcome is inconclusive, and what was not run to its end is named.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    within: Option<u64>,
    /// Folder of the run directories.
    #[arg(long, default_value = "runs", env = "ETCD_HARNESS_RUNS")]
    runs: PathBuf,
}

pub(super) async fn run(args: Args) -> CommandResult {
    match args.command {
        Command::Run(args) => run_times(args).await,
        Command::All(args) => run_all(args).await,
        Command::List => {
            for scenario in catalog::all() {
                let counts: Vec<String> = scenario.members.iter().map(u32::to_string).collect();
                println!(
                    "{:<28} {:<6} {}",
                    scenario.name,
                    counts.join(","),
                    scenario.story
                );
            }
            Ok(Exit::Pass)
        }
        Command::RemoveLeft { owner } => {
            remover::remove_left(&owner).await?;
            Ok(Exit::Pass)
        }
    }
}

async fn run_times(args: RunArgs) -> CommandResult {
    let first = args.seed.unwrap_or_else(any_seed);
    let plan = BarePlan::named(&args.scenario, args.members, &args.version, first)?;
    let with_seed = |number| plan.clone().with_seed(first.wrapping_add(number));
    let plans = (0..args.times).map(with_seed);
    let lab = lab(args.runs).await?;
    let over = Over::after(args.within, &lab.interrupt);
    run_plans((&lab, &over), plans, 1).await
}

/// Where the runs of a command happen, which signals end.
pub(super) async fn lab(runs: PathBuf) -> anyhow::Result<BareLab> {
    // Without a name it cannot be started, and the run says so.
    let own = std::env::current_exe().unwrap_or_default();
    let lab = BareLab::connect(runs, Live::loud(), own).await?;
    Ok(BareLab {
        interrupt: Interrupt::by_signal()?,
        ..lab
    })
}

/// Scenarios whose names contain this.
///
/// # Errors
/// When there is none.
fn chosen(filter: &str) -> anyhow::Result<Vec<Scenario>> {
    let mut all = catalog::all();
    all.retain(|scenario| scenario.name.contains(filter));
    if all.is_empty() {
        bail!(
            "failed to find a scenario with {filter:?} in its name; `harness bare list` names them"
        );
    }
    Ok(all)
}

/// Every scenario with its first member count.
async fn run_all(args: AllArgs) -> CommandResult {
    let seed = args.seed.unwrap_or_else(any_seed);
    let plans = possible(&chosen(&args.filter)?, &args.version, seed)?;
    let lab = lab(args.runs).await?;
    let plans = with_images(&lab, plans).await?;
    let (count, begin) = (plans.len(), Instant::now());
    let over = Over::after(args.within, &lab.interrupt);
    let exit = run_plans((&lab, &over), plans, args.at_once).await?;
    if exit != Exit::Interrupted && !over.is_over() {
        println!("{}", pace(count, begin.elapsed()));
    }
    Ok(exit)
}

/// The plans of these scenarios without those that this version of etcd cannot run, which are named.
///
/// # Errors
/// When it can run none of them, or no member would have it.
fn possible(scenarios: &[Scenario], version: &str, seed: u64) -> Result<Vec<BarePlan>, PlanError> {
    let mut plans = Vec::new();
    let mut refused = None;
    for scenario in scenarios {
        match BarePlan::named(scenario.name, None, version, seed) {
            Ok(plan) => plans.push(plan),
            Err(error @ PlanError::Release { .. }) => {
                println!("left out: {error}");
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match refused {
        Some(error) if plans.is_empty() => Err(error),
        _ => Ok(plans),
    }
}

/// How many scenarios an hour has.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn pace(count: usize, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let an_hour = count as f64 * 3600.0 / seconds.max(0.001);
    format!("{count} scenarios in {seconds:.0} s: {an_hour:.0} an hour")
}

fn any_seed() -> u64 {
    u64::from(rand::random::<u32>())
}

/// The plans without those whose build of etcd with failpoints is not there: no registry has one. They are named.
///
/// # Errors
/// When another image is not there, or no plan is left, or Docker does not answer.
async fn with_images(lab: &BareLab, plans: Vec<BarePlan>) -> Result<Vec<BarePlan>, BareError> {
    let mut there = Vec::new();
    let mut missing = None;
    for plan in plans {
        match lab.find_images(&plan.images()).await {
            Ok(()) => there.push(plan),
            Err(error @ BareError::FindImages { .. }) if plan.has_failpoints() => {
                println!("left out: {}: {error}", plan.plan.scenario.name);
                missing = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if there.is_empty() => Err(error),
        _ => Ok(there),
    }
}

/// Runs the plans, so many at a time. None is left under way: after an error or an interrupt no further one begins, and
/// each of the others removes what it made.
async fn run_plans(
    (lab, over): (&BareLab, &Over),
    plans: impl IntoIterator<Item = BarePlan>,
    at_once: u8,
) -> CommandResult {
    let mut worst = Severity::Pass;
    let mut stopped: Option<CommandResult> = None;
    let work = move |plan: BarePlan| {
        let lab = lab.clone();
        async move {
            let again = plan.replay();
            let ended = match at_once {
                1 => run_plan(&lab, &plan).await,
                _ => run_apart(&lab, &plan).await,
            };
            (again, ended)
        }
    };
    let next = at_a_time(plans, usize::from(at_once), work, |ended| {
        match ended {
            Err(panicked) => stopped = Some(Err(panicked.into())),
            Ok((_, Err(error))) => stopped = Some(Err(error.into())),
            Ok((again, Ok(ended))) if ended.interrupted => {
                println!("{}, saved in {}", ended.cause, ended.dir.display());
                if over.is_over() {
                    println!("{SAID} {again}");
                }
                if stopped.is_none() {
                    stopped = Some(Ok(Exit::Interrupted));
                }
            }
            Ok((again, Ok(ended))) => {
                let word = ended.severity.word();
                println!("{word} {:.1} s {}", ended.seconds, ended.dir.display());
                println!("again: {again}");
                worst = worst.max(ended.severity);
            }
        }
        stopped.is_none()
    })
    .await;
    if let Some(next) = next.filter(|_| over.is_over()) {
        println!("{SAID} {}, and what follows", next.replay());
    }
    if let Some(stopped) = stopped {
        return stopped.map(|exit| over_or(exit, worst, over));
    }
    let left = lab.left().await?;
    if !left.is_empty() {
        println!("left behind: {}", left.join(", "));
        worst = worst.max(Severity::Inconclusive);
    }
    Ok(worst.into())
}

/// How a command ends that was ended early, by a signal or because its time is over. What was violated by then is.
fn over_or(exit: Exit, so_far: Severity, over: &Over) -> Exit {
    match exit {
        Exit::Interrupted if over.is_over() => so_far.max(Severity::Inconclusive).into(),
        exit => exit,
    }
}

/// Does all of it in tasks, so many at a time. `ended` is told how each ended, also by a panic, and says whether
/// another one may begin. Those that have begun are waited for; returned is the first that did not begin.
async fn at_a_time<I, T, F>(
    all: impl IntoIterator<Item = I>,
    at_once: usize,
    work: impl Fn(I) -> F,
    mut ended: impl FnMut(Result<T, JoinError>) -> bool,
) -> Option<I>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut all = all.into_iter();
    let mut running = JoinSet::new();
    let mut may_begin = true;
    loop {
        while may_begin && running.len() < at_once {
            let Some(one) = all.next() else { break };
            running.spawn(work(one));
        }
        let Some(done) = running.join_next().await else {
            return all.next();
        };
        may_begin &= ended(done);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn one_that_panics_leaves_no_other_one_under_way_and_none_begins() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let work = |number: u32| {
            let done = Arc::clone(&done);
            async move {
                tokio::task::yield_now().await;
                assert_ne!(number, 0, "the harness is wrong");
                // It is still under way when the other one has ended.
                tokio::task::yield_now().await;
                done.lock().expect("no panic").push(number);
            }
        };
        let mut told = Vec::new();
        let next = at_a_time([0, 1, 2], 2, work, |ended| {
            told.push(ended.is_ok());
            ended.is_ok()
        });
        assert_eq!(next.await, Some(2));
        assert_eq!(told, [false, true]);
        assert_eq!(*done.lock().expect("no panic"), [1]);
        let next = at_a_time([3, 4, 5], 1, work, |ended| ended.is_ok());
        assert_eq!(next.await, None);
        assert_eq!(*done.lock().expect("no panic"), [1, 3, 4, 5]);
    }

    #[test]
    fn what_there_was_no_time_for_proves_nothing() {
        let ended = |exit, so_far| over_or(exit, so_far, &Over::passed());
        let (early, passed) = (Exit::Interrupted, Severity::Pass);
        assert_eq!(ended(early, passed), Exit::Inconclusive);
        assert_eq!(ended(early, Severity::Violation), Exit::Violation);
        assert_eq!(ended(Exit::Environment, passed), Exit::Environment);
        let by_a_signal = over_or(early, passed, &Over::default());
        assert_eq!(by_a_signal, Exit::Interrupted);
    }

    #[test]
    fn a_filter_chooses_by_name_and_one_that_fits_none_is_refused() {
        let names = |filter| chosen(filter).map(|all| all.len());
        assert_eq!(names("").ok(), Some(catalog::all().len()));
        assert_eq!(names("slow_disk").ok(), Some(2));
        let error = chosen("no_such").expect_err("nothing fits").to_string();
        assert!(
            error.contains("no_such") && error.contains("bare list"),
            "{error}"
        );
    }

    #[test]
    fn what_a_version_cannot_run_is_left_out_and_a_version_that_can_run_nothing_is_refused() {
        let names = |filter: &str, version: &str| {
            let scenarios = chosen(filter).expect("scenarios");
            let plans = possible(&scenarios, version, 7);
            plans
                .map(|plans| plans.len())
                .map_err(|error| error.to_string())
        };
        let all = catalog::all().len();
        assert_eq!(names("", "v3.6.16"), Ok(all));
        let of_3_4 = names("", "v3.4.9").expect("most of them");
        assert!(of_3_4 < all && of_3_4 > all / 2, "{of_3_4} of {all}");
        let error = names("panics_in", "v3.4.9").expect_err("none is possible");
        assert!(error.contains("bare::leader_panics_in"), "{error}");
        assert!(names("", "v3.3.27").is_err_and(|error| error.contains("v3.3.27")));
    }

    #[test]
    fn the_pace_is_that_of_an_hour() {
        let told = pace(7, Duration::from_secs(63));
        assert_eq!(told, "7 scenarios in 63 s: 400 an hour");
    }
}
