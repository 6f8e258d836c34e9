//! `harness bench`: failovers, creations and restores again and again, as a distribution beside a peer of the same
//! moment.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use etcd_history::check::GapSamples;
use serde::Serialize;

use super::{CommandResult, Exit, TargetArgs, killed, probes};
use crate::bench::power::power;
use crate::bench::{
    CreationReport, Failover, FailoverReport, FastElection, Kind, Probe, failover, suspicion, table,
};
use crate::report::RunDir;
use crate::report::Severity;
use crate::scenario::creation::{self, Storage};
use crate::scenario::recovery::{self, Amount};
use crate::scenario::throughput::{self, Variant};
use crate::scenario::{Lab, Live, Plan, run as run_plan};

/// The scenario in which nothing dies and processors are too few.
const STARVED: &str = "failover::processors_starved";

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
    /// The gap when the leader is frozen, beside elections on starved members, for each value of fastElection.
    Suspicion(SuspicionArgs),
    /// Writes a second of clusters that differ in one thing, measured in turn.
    Throughput(ThroughputArgs),
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
    #[arg(long, default_value_t = 1000)]
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

#[derive(Debug, clap::Args)]
struct ThroughputArgs {
    /// The clusters, which are there at the same time; the others are held against the first.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "shipped,tls,users"
    )]
    of: Vec<FastElection>,
    /// Members of each.
    #[arg(long, default_value_t = 3)]
    members: u32,
    /// Clients, each with a connection of its own through the leader service.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    bytes: u32,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Turns of each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Where the JSON goes; beside the runs unless said otherwise.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct SuspicionArgs {
    /// How often the leader is frozen for each value.
    #[arg(long, default_value_t = 5)]
    freezes: u32,
    /// How long all members are starved for each value, in seconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    starved_s: u64,
    /// Members of the etcd clusters.
    #[arg(long, default_value_t = 3)]
    members: u32,
    /// The values.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "off,on,suspicion"
    )]
    fast_election: Vec<FastElection>,
    /// Seed of the first run; the others count on from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the JSON goes; beside the runs unless said otherwise.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct FailoverArgs {
    /// How often.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Members of the etcd cluster.
    #[arg(long, default_value_t = 3)]
    members: u32,
    /// What is done to the leader.
    #[arg(long, value_enum, default_value = "sigkill")]
    kind: Kind,
    /// Values of the clusters' setting fastElection that are measured in turn, e.g. off,on: one table for each. `relay`
    /// sets relayClients instead, `tls` and `users` close the clusters.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "shipped")]
    fast_election: Vec<FastElection>,
    /// Clients that write through the service beside the recording one, each of another library. Their images are built
    /// and loaded. What they write is in no history: of these runs only times are judged.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    client: Vec<Probe>,
    /// Seed of the first run; the others count on from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the JSON goes, an array of one report for each value of --fast-election; beside the runs unless said
    /// otherwise.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures these saved runs and makes none.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    from: Vec<PathBuf>,
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    match args.what {
        What::Failover(args) => bench_failover(args, target).await,
        What::Creation(args) => bench_creation(args, target).await,
        What::Restore(args) => bench_restore(args, target).await,
        What::Suspicion(args) => Box::pin(bench_suspicion(args, target)).await,
        What::Throughput(args) => bench_throughput(args, target).await,
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
        let (failovers, members) = measure(dirs)?;
        let kind = format!("{}{}", args.kind.word(), fast.suffix());
        let members = members.unwrap_or(args.members);
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
        write_json(&path, &reports)?;
        println!("{}", path.display());
    }
    Ok(exit)
}

async fn bench_suspicion(args: SuspicionArgs, target: &TargetArgs) -> CommandResult {
    let freezes = FailoverArgs {
        kills: args.freezes,
        members: args.members,
        kind: Kind::Freeze,
        fast_election: args.fast_election,
        client: Vec::new(),
        seed: args.seed,
        json: None,
        from: Vec::new(),
    };
    let (series, _) = make_runs(&freezes, target).await?;
    let lab = Lab::attach(&target.choice(), Live::loud()).await?;
    let (mut points, mut exit) = (Vec::new(), Exit::Pass);
    for Series { fast, dirs, broken } in series {
        let (failovers, _) = measure(&dirs)?;
        let mut plan = Plan::named(STARVED, Some(args.members), args.seed)?;
        plan.scenario = plan.scenario.lasts(args.starved_s);
        if let Some((name, value)) = fast.setting() {
            plan.scenario = plan.scenario.setting(name, value);
        }
        let ended = Box::pin(run_plan(&lab, &plan)).await?;
        let starved = suspicion::starved(&RunDir::open(&ended.dir)?.history()?);
        for line in &broken {
            println!("{line}");
        }
        if ended.severity == Severity::Violation {
            println!("{}: {}", ended.dir.display(), ended.cause);
        }
        exit = match exit {
            _ if ended.severity == Severity::Violation || !broken.is_empty() => Exit::Violation,
            Exit::Pass if starved.is_none() => Exit::Inconclusive,
            other => other,
        };
        points.push(suspicion::Point {
            setting: fast
                .setting()
                .map_or("as shipped", |(_, value)| value)
                .to_owned(),
            frozen: FailoverReport::of(Kind::Freeze.word(), args.members, failovers, &[]),
            starved: starved.into_iter().collect(),
        });
    }
    print!("{}", suspicion::text(&points));
    let name = format!("bench-suspicion-{}-{}.json", args.members, args.seed);
    let path = args.json.unwrap_or_else(|| lab.runs.join(name));
    write_json(&path, &points)?;
    println!("{}", path.display());
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
    write_json(&path, &report)?;
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
    write_json(&path, &report)?;
    println!("{}", path.display());
    Ok(Exit::Pass)
}

async fn bench_throughput(args: ThroughputArgs, target: &TargetArgs) -> CommandResult {
    let lab = Lab::attach(&target.choice(), Live::loud()).await?;
    let variant = |of: &FastElection| Variant {
        name: match of.suffix().trim_start_matches(", ") {
            "" => "as shipped".to_owned(),
            words => words.to_owned(),
        },
        guard: of.guard(),
        setting: of.setting(),
    };
    let variants: Vec<Variant> = args.of.iter().map(variant).collect();
    let amount = throughput::Amount {
        members: args.members,
        clients: args.clients,
        bytes: args.bytes,
        seconds: args.seconds,
        turns: args.turns,
    };
    let report = Box::pin(throughput::measure(&lab, &variants, amount)).await?;
    print!("{}", report.text());
    let lacking = report.lacking();
    for line in lacking.iter().flatten() {
        println!("{line}");
    }
    let name = format!("bench-throughput-{}-{}.json", args.members, args.clients);
    let path = args.json.unwrap_or_else(|| lab.runs.join(name));
    write_json(&path, &report)?;
    println!("{}", path.display());
    Ok(match lacking {
        None => Exit::Inconclusive,
        Some(lacking) if lacking.is_empty() => Exit::Pass,
        Some(_) => Exit::Violation,
    })
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
        // The limits of today, whatever those of the run were.
        let budgets = plan.scenario.promise.expectations(header.members, 1).gaps;
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

/// Runs with one value of the setting.
struct Series {
    fast: FastElection,
    dirs: Vec<PathBuf>,
    /// A line for each run that broke a promise other than the gap.
    broken: Vec<String>,
}

impl Series {
    fn of(fast: FastElection) -> Self {
        Self {
            fast,
            dirs: Vec::new(),
            broken: Vec::new(),
        }
    }
}

/// Makes the runs of all series in turn, so that all see the same machine; also where the JSON goes.
async fn make_runs(
    args: &FailoverArgs,
    target: &TargetArgs,
) -> anyhow::Result<(Vec<Series>, Option<PathBuf>)> {
    if !args.client.is_empty() {
        probes::prepare(&args.client, &target.choice()).await?;
    }
    if !args.client.is_empty() && args.fast_election.iter().any(|fast| fast.guard().has_tls()) {
        bail!(
            "--client measures open clusters: leave it out, or `tls` and `users` of --fast-election"
        );
    }
    let lab = Lab::attach(&target.choice(), Live::loud()).await?;
    let mut all: Vec<Series> = args
        .fast_election
        .iter()
        .map(|fast| Series::of(*fast))
        .collect();
    let mut made = 0;
    while made < args.kills {
        let mut more = 0;
        for series in &mut all {
            let seed = args.seed.wrapping_add(u64::from(made));
            let mut plan = Plan::named(args.kind.scenario(), Some(args.members), seed)?;
            let rounds = args.kills - made;
            plan.scenario = plan.scenario.at_most(rounds).probes(&args.client);
            plan.scenario = plan.scenario.guarded(series.fast.guard());
            if let Some((name, value)) = series.fast.setting() {
                plan.scenario = plan.scenario.setting(name, value);
            }
            more = plan.scenario.rounds();
            eprintln!(
                "failovers {} to {} of {}{}",
                made + 1,
                made + more,
                args.kills,
                series.fast.suffix()
            );
            let ended = Box::pin(run_plan(&lab, &plan)).await?;
            // The gap of a single run is judged by the distribution.
            if ended.severity == Severity::Violation && !ended.only_the_gap {
                let line = format!("{}: {}", ended.dir.display(), ended.cause);
                series.broken.push(line);
            }
            series.dirs.push(ended.dir);
        }
        made += more;
    }
    let name = format!(
        "bench-failover-{}-{}-{}.json",
        args.kind.word(),
        args.members,
        args.seed
    );
    let json = lab.runs.join(name);
    Ok((all, Some(json)))
}

/// The failovers of saved runs, and their member count when all have the same.
fn measure(dirs: &[PathBuf]) -> anyhow::Result<(Vec<Failover>, Option<u32>)> {
    let mut failovers = Vec::new();
    let mut members = BTreeSet::new();
    for dir in dirs {
        let run = RunDir::open(dir)?;
        members.insert(run.header()?.members);
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
        let written = probes::written(dir)?;
        failovers.extend(failover::measure(&name, &run.history()?, &written));
    }
    if members.len() > 1 {
        bail!("failed to put runs with {members:?} members in one table: give those of one count");
    }
    Ok((
        failovers,
        members.pop_first().filter(|members| *members > 0),
    ))
}

fn write_json(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
    }
    std::fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_kind_has_a_scenario_and_a_word_of_its_own() {
        let mut words = BTreeSet::new();
        assert!(Plan::named(STARVED, Some(3), 1).is_ok());
        for kind in Kind::value_variants() {
            assert!(Plan::named(kind.scenario(), Some(3), 1).is_ok(), "{kind:?}");
            assert!(words.insert(kind.word()), "{kind:?}");
        }
    }
}
