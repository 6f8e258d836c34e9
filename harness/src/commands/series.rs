//! Failovers again and again, in runs of one kind: made in turn for each value of a setting, or saved ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use clap::builder::{PathBufValueParser, TypedValueParser as _};

use super::{TargetArgs, json, probes};
use crate::bench::{Failover, FastElection, Kind, Probe, failover};
use crate::report::run_header::RunHeader;
use crate::report::{RunDir, Severity};
use crate::scenario::{Lab, Live, Plan, run as run_plan};

#[derive(Debug, clap::Args)]
pub(super) struct FailoverArgs {
    /// How often.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) kills: u32,
    /// Members of the etcd cluster.
    #[arg(long, default_value_t = 3)]
    pub(super) members: u32,
    /// What is done to the leader.
    #[arg(long, value_enum, default_value = "sigkill")]
    pub(super) kind: Kind,
    /// Values of the clusters' setting fastElection that are measured in turn, e.g. off,on: one table for each. `relay`
    /// sets relayClients instead, `tls` and `users` close the clusters.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "shipped")]
    pub(super) fast_election: Vec<FastElection>,
    /// Clients that write through the service beside the recording one, each of another library. Their images are built
    /// and loaded. What they write is in no history: of these runs only times are judged.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    pub(super) client: Vec<Probe>,
    /// Seed of the first run; the others count on from it.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Where the JSON goes, an array of one report for each value of --fast-election; beside the runs unless said
    /// otherwise. The picture is beside it, by the same name with .svg.
    #[arg(long, value_parser = PathBufValueParser::new().try_map(json::beside_picture))]
    pub(super) json: Option<PathBuf>,
    /// Measures these saved runs, of the scenario of --kind, and makes none.
    #[arg(
        long,
        value_name = "DIR",
        num_args = 1..,
        conflicts_with_all = ["kills", "members", "fast_election", "seed"]
    )]
    pub(super) from: Vec<PathBuf>,
}

/// Runs with one value of the setting.
pub(super) struct Series {
    pub(super) fast: FastElection,
    pub(super) dirs: Vec<PathBuf>,
    /// A line for each run that broke a promise other than the gap.
    pub(super) broken: Vec<String>,
}

impl Series {
    pub(super) fn of(fast: FastElection) -> Self {
        Self {
            fast,
            dirs: Vec::new(),
            broken: Vec::new(),
        }
    }
}

/// Makes the runs of all series in turn, so that all see the same machine; also where the JSON goes.
pub(super) async fn make_runs(
    args: &FailoverArgs,
    target: &TargetArgs,
) -> anyhow::Result<(Vec<Series>, Option<PathBuf>)> {
    fits_clients(args)?;
    if !args.client.is_empty() {
        probes::prepare(&args.client, &target.choice()).await?;
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

/// Refuses clients that would not be there, before any image is built.
fn fits_clients(args: &FailoverArgs) -> anyhow::Result<()> {
    if !args.client.is_empty() && args.fast_election.iter().any(|fast| fast.guard().has_tls()) {
        bail!(
            "--client measures open clusters: leave it out, or `tls` and `users` of --fast-election"
        );
    }
    let mut named = BTreeSet::new();
    if let Some(twice) = args.client.iter().find(|client| !named.insert(**client)) {
        let word = twice.word();
        bail!("--client names {word} twice, and a cluster has one of each: name it once");
    }
    Ok(())
}

/// Refuses a run that would be held against the budget of what was not done in it.
fn fits(dir: &Path, header: &RunHeader, kind: Kind) -> anyhow::Result<()> {
    // Its name there has its members behind it.
    let plan = Plan::named(&header.scenario, None, 0).ok();
    let scenario = plan.map_or(header.scenario.as_str(), |plan| plan.scenario.name);
    let dir = dir.display();
    if scenario != kind.scenario() {
        let own = Kind::of(scenario).and_then(|own| own.to_possible_value());
        let remedy = match own {
            Some(own) => format!("give --kind {} for it", own.get_name()),
            None => "no --kind has it".to_owned(),
        };
        let wanted = kind.scenario();
        bail!("failed to take {dir} for a run of {wanted}: it is one of {scenario:?}; {remedy}");
    }
    if header.members == 0 {
        bail!("failed to find how many members {dir} had: its plan does not say");
    }
    Ok(())
}

/// The failovers of saved runs of one kind, and their member count, which all must have.
pub(super) fn measure(dirs: &[PathBuf], kind: Kind) -> anyhow::Result<(Vec<Failover>, u32)> {
    let mut failovers = Vec::new();
    let mut members = BTreeSet::new();
    for dir in dirs {
        let run = RunDir::open(dir)?;
        let header = run.header()?;
        fits(dir, &header, kind)?;
        members.insert(header.members);
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
        let written = probes::written(dir)?;
        failovers.extend(failover::measure(&name, &run.history()?, &written));
    }
    if members.len() > 1 {
        bail!("failed to put runs with {members:?} members in one table: give those of one count");
    }
    let members = members.pop_first().context("failed to find a run")?;
    Ok((failovers, members))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_has_a_scenario_and_a_word_of_its_own() {
        let mut words = BTreeSet::new();
        for kind in Kind::value_variants() {
            assert!(Plan::named(kind.scenario(), Some(3), 1).is_ok(), "{kind:?}");
            assert!(words.insert(kind.word()), "{kind:?}");
            assert_eq!(Kind::of(kind.scenario()), Some(*kind));
        }
    }

    #[test]
    fn clients_that_would_not_be_there_are_refused() {
        let fits = |client: &[Probe], fast| {
            let fast_election = vec![fast];
            let client = client.to_vec();
            fits_clients(&FailoverArgs {
                kills: 1,
                members: 3,
                kind: Kind::Sigkill,
                fast_election,
                client,
                seed: 1,
                json: None,
                from: Vec::new(),
            })
        };
        let [one, other] = [Probe::ALL[0], Probe::ALL[1]];
        assert!(fits(&[one, other], FastElection::Shipped).is_ok());
        assert!(fits(&[], FastElection::Tls).is_ok());
        let error = fits(&[one], FastElection::Tls).expect_err("no open cluster");
        assert!(error.to_string().contains("--client"), "{error}");
        let error = fits(&[one, other, one], FastElection::Shipped).expect_err("twice");
        let told = error.to_string();
        assert!(
            told.contains(one.word()) && told.contains("twice"),
            "{told}"
        );
    }

    #[test]
    fn saved_runs_of_another_scenario_are_not_held_against_a_kinds_budget() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |plan: serde_json::Value| {
            let dir = folder.path().join("run");
            std::fs::create_dir_all(&dir).expect("a folder");
            std::fs::write(dir.join("plan.json"), plan.to_string()).expect("a plan");
            let error = measure(&[dir], Kind::Sigkill).expect_err("refused");
            format!("{error:#}")
        };
        let frozen = refused(json!({"scenario": Kind::Freeze.scenario(), "members": 3}));
        assert!(frozen.contains("give --kind freeze"), "{frozen}");
        let starved = "failover::processors_starved";
        let other = refused(json!({"scenario": {"name": starved}, "members": 3}));
        let told = [starved, "no --kind"];
        assert!(told.iter().all(|word| other.contains(word)), "{other}");
        let counts = refused(json!({"scenario": Kind::Sigkill.scenario()}));
        assert!(counts.contains("how many members"), "{counts}");
        // These plans fit, and the run has nothing else.
        let name = Kind::Sigkill.scenario();
        for saved in [name.to_owned(), format!("{name}::members_3")] {
            let fits = refused(json!({"scenario": saved, "members": 3}));
            assert!(fits.contains("logs"), "{saved}: {fits}");
        }
    }
}
