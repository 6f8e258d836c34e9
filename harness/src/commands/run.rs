//! `harness run`: one scenario, by hand, against the cluster that is up.

use std::path::PathBuf;

use super::{CommandResult, Exit, TargetArgs};
use crate::scenario::{Interrupt, Lab, Live, Plan, run as run_plan};

/// Arguments of `harness run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the scenario, as `harness list` prints it.
    scenario: String,
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

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    let seed = args
        .seed
        .unwrap_or_else(|| u64::from(rand::random::<u32>()));
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
