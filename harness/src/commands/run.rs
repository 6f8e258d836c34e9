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
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
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
    if args.keep {
        bail!("--keep has no effect with --tier bare: the containers of a run are always removed");
    }
    let plan = BarePlan::named(&args.scenario, args.members, VERSION, seed)?;
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
