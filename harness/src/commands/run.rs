//! `harness run`: one scenario, by hand, against the cluster that is up, or with bare members.

use std::path::PathBuf;

use anyhow::bail;

use super::bare::lab as bare_lab;
use super::{CommandResult, Exit, TargetArgs};
use crate::bare::shared::Tier;
use crate::bare::{self, BarePlan, VERSION};
use crate::report::Severity;
use crate::scenario::{Interrupt, Lab, Live, Plan, run as run_plan};

/// Arguments of `harness run`.
#[derive(Debug, clap::Args)]
// Its `--version` is that of etcd.
#[command(disable_version_flag = true)]
pub struct Args {
    /// Name of the scenario, as `harness list` prints it.
    scenario: String,
    /// Where it runs: in the Kubernetes cluster, or with etcd members as plain containers (those of `harness list` that
    /// say `bare`, and all of `harness bare list`).
    #[arg(long, value_enum, default_value = "kind")]
    tier: Tier,
    /// Seed of all random choices; random itself when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Members of the etcd cluster; the scenario's first count when not given.
    #[arg(long)]
    members: Option<u32>,
    /// Version of etcd of bare members, the tag of an image `etcd-harness/etcd`; of several with commas members have
    /// one in turn.
    #[arg(long)]
    version: Option<String>,
    /// Keep the namespace and its members when the run is over.
    #[arg(long)]
    keep: bool,
    /// Folder of the run directories.
    #[arg(long, default_value = "runs", env = "ETCD_HARNESS_RUNS")]
    runs: PathBuf,
}

impl Args {
    /// True when it works on no Kubernetes cluster.
    pub(super) fn is_bare(&self) -> bool {
        self.tier == Tier::Bare
    }

    /// What would have no effect in its tier.
    fn without_effect(&self) -> Option<&'static str> {
        match self.tier {
            Tier::Bare if self.keep => Some(
                "--keep has no effect with --tier bare: the containers of a run are always removed",
            ),
            Tier::Kind if self.version.is_some() => Some(
                "--version has no effect without --tier bare: a scenario says itself which etcd it deploys in a cluster",
            ),
            _ => None,
        }
    }
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    if let Some(wrong) = args.without_effect() {
        bail!(wrong);
    }
    let seed = args
        .seed
        .unwrap_or_else(|| u64::from(rand::random::<u32>()));
    if args.is_bare() {
        return run_bare(args, seed).await;
    }
    let plan = Plan::named(&args.scenario, args.members, seed)?;
    let lab = Lab::attach(&target.choice(), Live::loud()).await?;
    let lab = Lab {
        keep: args.keep,
        runs: args.runs,
        interrupt: Interrupt::by_signal()?,
        ..lab
    };
    let ended = Box::pin(run_plan(&lab, &plan)).await?;
    if ended.interrupted {
        println!("{}, saved in {}", ended.cause, ended.dir.display());
        return Ok(Exit::Interrupted);
    }
    println!("{} {}", ended.severity.word(), ended.dir.display());
    println!("again: {}", plan.replay());
    Ok(ended.severity.into())
}

/// The same with bare members, of which nothing may be left.
async fn run_bare(args: Args, seed: u64) -> CommandResult {
    let version = args.version.as_deref().unwrap_or(VERSION);
    let plan = BarePlan::named(&args.scenario, args.members, version, seed)?;
    let lab = bare_lab(args.runs).await?;
    let ended = Box::pin(bare::run(&lab, &plan)).await?;
    if ended.interrupted {
        println!("{}, saved in {}", ended.cause, ended.dir.display());
        return Ok(Exit::Interrupted);
    }
    println!("{} {}", ended.severity.word(), ended.dir.display());
    println!("again: {}", plan.replay());
    let left = lab.left().await?;
    if left.is_empty() {
        return Ok(ended.severity.into());
    }
    println!("left behind: {}", left.join(", "));
    Ok(ended.severity.max(Severity::Inconclusive).into())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn what_a_tier_does_not_have_is_refused() {
        let refused = |options: &str| {
            let command = <Args as clap::Args>::augment_args(clap::Command::new("run"));
            let words = ["run", "failover::leader_frozen"];
            let words = words.into_iter().chain(options.split_whitespace());
            let given = command.try_get_matches_from(words).expect("arguments");
            let args = Args::from_arg_matches(&given).expect("arguments");
            args.without_effect().unwrap_or_default()
        };
        assert!(refused("--tier bare --keep").starts_with("--keep"));
        assert!(refused("--version v3.6.1").starts_with("--version"));
        for options in ["", "--keep", "--tier bare --version v3.5.35,v3.6.16"] {
            assert_eq!(refused(options), "", "{options}");
        }
    }
}
