//! `harness bench suspicion`: what it costs to call a silent leader dead sooner.

use std::path::PathBuf;

use clap::ValueEnum as _;
use etcd_history::History;

use super::series::{FailoverArgs, make_runs, measure};
use super::{CommandResult, Exit, TargetArgs, json};
use crate::bench::suspicion::{self, Point, Unharmed};
use crate::bench::{FailoverReport, FastElection, Kind};
use crate::report::{RunDir, Severity};
use crate::scenario::{Lab, Live, Plan, run as run_plan};

/// The scenario in which nothing dies and processors are too few.
const STARVED: &str = "failover::processors_starved";
/// Longest run whose history is kept in memory, in seconds: 512 MiB were full after 52 minutes.
const IN_MEMORY_S: u64 = 1800;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often the leader is frozen for each value.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    freezes: u32,
    /// How long there is load and nothing else for each value, in seconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=7200))]
    loaded_s: u64,
    /// How long all members are starved for each value, in seconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    starved_s: u64,
    /// Members of the etcd clusters.
    #[arg(long, default_value_t = 3)]
    members: u32,
    /// The values, of shipped, on, suspicion and off.
    #[arg(
        long,
        value_parser = of_the_setting,
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

/// A value of the setting fastElection itself: what else clusters may differ in is no part of this comparison.
fn of_the_setting(text: &str) -> Result<FastElection, String> {
    let known = [
        FastElection::Shipped,
        FastElection::On,
        FastElection::Suspicion,
        FastElection::Off,
    ];
    let given = FastElection::from_str(text, false).ok();
    given
        .filter(|value| known.contains(value))
        .ok_or_else(|| "one of: shipped, on, suspicion, off".to_owned())
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    let freezes = FailoverArgs {
        kills: args.freezes,
        members: args.members,
        kind: Kind::Freeze,
        fast_election: args.fast_election.clone(),
        client: Vec::new(),
        seed: args.seed,
        json: None,
        from: Vec::new(),
    };
    let (series, _) = make_runs(&freezes, target).await?;
    let lab = Lab::attach(&target.choice(), Live::loud()).await?;
    let (mut points, mut exit) = (Vec::new(), Exit::Pass);
    for series in series {
        let (failovers, _) = measure(&series.dirs, Kind::Freeze)?;
        let mut broken = series.broken;
        // The leader is frozen when the time under load is over.
        let mut plan = Plan::named(Kind::Freeze.scenario(), Some(args.members), args.seed)?;
        plan.scenario = plan.scenario.at_most(1).warm_up_ms(args.loaded_s * 1000);
        let loaded = Alone {
            plan,
            seconds: args.loaded_s,
            measure: suspicion::loaded,
        };
        let mut plan = Plan::named(STARVED, Some(args.members), args.seed)?;
        plan.scenario = plan.scenario.lasts(args.starved_s);
        let starved = Alone {
            plan,
            seconds: args.starved_s,
            measure: suspicion::starved,
        };
        let point = Point {
            setting: series
                .fast
                .setting()
                .map_or("as shipped", |(_, value)| value)
                .to_owned(),
            frozen: FailoverReport::of(Kind::Freeze.word(), args.members, failovers, &[]),
            loaded: loaded.run(&lab, series.fast, &mut broken).await?,
            starved: starved.run(&lab, series.fast, &mut broken).await?,
        };
        for line in &broken {
            println!("{line}");
        }
        exit = match exit {
            Exit::Violation => exit,
            _ if !broken.is_empty() => Exit::Violation,
            _ if !point.is_whole() => Exit::Inconclusive,
            _ => exit,
        };
        points.push(point);
    }
    print!("{}", suspicion::text(&points));
    let name = format!("bench-suspicion-{}-{}.json", args.members, args.seed);
    let path = args.json.unwrap_or_else(|| lab.runs.join(name));
    json::write(&path, &points)?;
    println!("{}", path.display());
    Ok(exit)
}

/// A run for the time in which nothing died.
struct Alone {
    plan: Plan,
    seconds: u64,
    measure: fn(&History) -> Option<Unharmed>,
}

impl Alone {
    /// What was measured, nothing where something else was wrong: the time then says nothing. A violation is one more
    /// line in `broken`.
    async fn run(
        mut self,
        lab: &Lab,
        fast: FastElection,
        broken: &mut Vec<String>,
    ) -> anyhow::Result<Vec<Unharmed>> {
        if self.seconds > IN_MEMORY_S {
            self.plan.scenario = self.plan.scenario.outlives_node();
        }
        if let Some((name, value)) = fast.setting() {
            self.plan.scenario = self.plan.scenario.setting(name, value);
        }
        let ended = Box::pin(run_plan(lab, &self.plan)).await?;
        let line = format!("{}: {}", ended.dir.display(), ended.cause);
        match ended.severity {
            Severity::Pass | Severity::NotJudged => {}
            // The gap is judged by the distribution.
            Severity::Violation if ended.only_the_gap => {}
            Severity::Violation => {
                broken.push(line);
                return Ok(Vec::new());
            }
            _ => {
                println!("{line}");
                return Ok(Vec::new());
            }
        }
        let history = RunDir::open(&ended.dir)?.history()?;
        Ok((self.measure)(&history).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_scenarios_are_there() {
        for name in [STARVED, Kind::Freeze.scenario()] {
            assert!(Plan::named(name, Some(3), 1).is_ok(), "{name}");
        }
        assert_eq!(Kind::of(STARVED), None);
    }
}
