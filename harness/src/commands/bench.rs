//! `harness bench`: failovers, creations and restores again and again, as a distribution beside a peer of the same
//! moment.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use etcd_history::check::GapSamples;
use etcd_history::record::Route;

use super::series::{FailoverArgs, Series, make_runs, measure};
use super::{CommandResult, Exit, TargetArgs, json, killed, suspicion, throughput};
use crate::bench::power::power;
use crate::bench::{CreationReport, FailoverReport, FastElection, table};
use crate::report::RunDir;
use crate::scenario::creation::{self, Storage};
use crate::scenario::recovery::{self, Amount};
use crate::scenario::{Lab, Live, Plan};

/// Arguments of `harness bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    /// The leader is hit N times under open-loop writers, five times in each cluster.
    Failover(FailoverArgs),
    /// A cluster is created N times, each time beside a StatefulSet of as many bare etcd pods.
    Creation(CreationArgs),
    /// What an archive would lose at moments of a load, and how long restores of a large backup take.
    Restore(RestoreArgs),
    /// The gap when the leader is frozen, beside elections under load and on starved members, for each value of
    /// fastElection.
    Suspicion(suspicion::Args),
    /// Writes a second of clusters that differ in one thing, measured in turn.
    Throughput(throughput::Args),
    /// What the limits find: delays are added to the failovers of saved healthy runs, and the outcome is judged.
    Power(PowerArgs),
    /// Every kind of fault, N times, with the harness killed at a random moment: its timer must end it.
    Killed(killed::Args),
}

#[derive(Debug, clap::Args)]
struct PowerArgs {
    /// Saved runs with three rounds or more; each is one trial of the suite.
    #[arg(required = true, value_name = "DIR")]
    from: Vec<PathBuf>,
    /// Suites that are made up for each line of the table.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    suites: u32,
    /// Seed of the draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
struct CreationArgs {
    /// How often.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Members of the etcd cluster.
    #[arg(long, default_value_t = 3)]
    members: u32,
    /// Where the data is.
    #[arg(long, value_enum, default_value = "ready")]
    storage: Storage,
    /// Where the JSON goes; beside the runs unless said otherwise.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RestoreArgs {
    /// Members of the etcd cluster.
    #[arg(long, default_value_t = 3)]
    members: u32,
    /// Mebibytes of values that are backed up and restored.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=3072))]
    mebibytes: u32,
    /// Moments at which the archive is looked at.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    moments: u32,
    /// Restores.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,
    /// Where the JSON goes; beside the runs unless said otherwise.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Args {
    /// True when it reads saved runs and no cluster.
    pub(super) fn is_offline(&self) -> bool {
        match &self.what {
            What::Power(_) => true,
            What::Failover(args) => !args.from.is_empty(),
            _ => false,
        }
    }
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    match args.what {
        What::Failover(args) => bench_failover(args, target).await,
        What::Creation(args) => bench_creation(args, target).await,
        What::Restore(args) => bench_restore(args, target).await,
        What::Suspicion(args) => Box::pin(suspicion::run(args, target)).await,
        What::Throughput(args) => throughput::run(args, target).await,
        What::Power(args) => bench_power(&args),
        What::Killed(args) => Box::pin(killed::run(args, target)).await,
    }
}

async fn bench_failover(args: FailoverArgs, target: &TargetArgs) -> CommandResult {
    let (series, json) = if args.from.is_empty() {
        make_runs(&args, target).await?
    } else {
        let mut saved = Series::of(FastElection::Shipped);
        saved.dirs.clone_from(&args.from);
        (vec![saved], None)
    };
    let (mut reports, mut exit) = (Vec::new(), Exit::Pass);
    for Series { fast, dirs, broken } in &series {
        let (failovers, members) = measure(dirs, args.kind)?;
        let kind = format!("{}{}", args.kind.word(), fast.suffix());
        let report = FailoverReport::of(&kind, members, failovers, &args.client);
        println!("{}", table::failover(&report));
        let budgets = args.kind.judge(&report);
        for line in budgets.iter().map(|(_, line)| line).chain(broken) {
            println!("{line}");
        }
        let silent = report.probes.values().any(|probe| probe.unusable > 0);
        exit = match exit {
            Exit::Violation => exit,
            _ if !broken.is_empty() || budgets.iter().any(|(kept, _)| !kept) => Exit::Violation,
            _ if report.unusable > 0 || budgets.is_empty() || silent => Exit::Inconclusive,
            _ => exit,
        };
        reports.push(report);
    }
    if let Some(path) = args.json.or(json) {
        json::write(&path, &reports)?;
        let drawn = json::write_picture(&path, &crate::bench::picture::picture(&reports))?;
        println!("{}\n{}", path.display(), drawn.display());
    }
    Ok(exit)
}

async fn bench_creation(args: CreationArgs, target: &TargetArgs) -> CommandResult {
    let lab = Lab::attach(&target.choice(), Live::loud()).await?;
    let (mut creations, mut stages) = (Vec::new(), Vec::new());
    for turn in 1..=args.times {
        let made = creation::create(&lab, args.members, args.storage).await?;
        eprintln!(
            "creation {turn} of {}: {:.1} s, bare pods {:.1} s",
            args.times, made.cluster_s, made.bare_s
        );
        creations.push([made.cluster_s, made.bare_s]);
        stages.push(made.stages);
    }
    let report = CreationReport::of(args.members, args.storage.words(), creations, &stages);
    print!("{}", report.text());
    let name = format!(
        "bench-creation-{}-{}.json",
        args.storage.word(),
        args.members
    );
    let path = args.json.unwrap_or_else(|| lab.runs.join(name));
    json::write(&path, &report)?;
    println!("{}", path.display());
    Ok(Exit::Pass)
}

async fn bench_restore(args: RestoreArgs, target: &TargetArgs) -> CommandResult {
    let lab = Lab::attach(&target.choice(), Live::loud()).await?;
    let amount = Amount {
        members: args.members,
        mebibytes: args.mebibytes as usize,
        moments: args.moments,
        times: args.times,
    };
    let report = Box::pin(recovery::measure(&lab, amount)).await?;
    print!("{}", report.text());
    let name = format!("bench-restore-{}-{}.json", args.members, args.mebibytes);
    let path = args.json.unwrap_or_else(|| lab.runs.join(name));
    json::write(&path, &report)?;
    println!("{}", path.display());
    Ok(Exit::Pass)
}

fn bench_power(args: &PowerArgs) -> CommandResult {
    let mut runs = Vec::new();
    for dir in &args.from {
        let run = RunDir::open(dir)?;
        let header = run.header()?;
        let Ok(plan) = Plan::named(&header.scenario, None, 0) else {
            eprintln!(
                "{}: no scenario {}, left out",
                dir.display(),
                header.scenario
            );
            continue;
        };
        // The limits of today, whatever those of the run were. A slower service leaves the dial-all client as it is.
        let mut budgets = plan.scenario.promise.expectations(header.members, 1).gaps;
        budgets.retain(|budget| budget.route != Route::DialAll);
        let judged = !budgets.is_empty();
        let samples = GapSamples::of(&run.history()?, budgets);
        let rounds = samples.rounds().len();
        if !judged || rounds < 3 {
            eprintln!("{}: {rounds} rounds to judge, left out", dir.display());
            continue;
        }
        runs.push(samples);
    }
    if runs.is_empty() {
        bail!(
            "failed to find a run with three rounds that could be judged: give directories of `make e2e`"
        );
    }
    let found = power(&runs, args.suites, args.seed);
    print!("{}", table::power(runs.len(), args.suites, &found));
    Ok(Exit::Pass)
}
