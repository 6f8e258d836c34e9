//! `harness doctor`: what this machine can do; `--residue`: what faults left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::Docker;

use super::{CommandResult, Exit, TargetArgs};
use crate::bare::{BareError, leftovers};
use crate::doctor::examine;
use crate::faults::residue::{self, Leftover, Site};

/// Arguments of `harness doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look for what faults left behind instead; ends with 1 when there is something, with 2 when it cannot be known.
    #[arg(long)]
    residue: bool,
    /// With --residue: remove it.
    #[arg(long, requires = "residue")]
    fix: bool,
    /// With --residue: wait so many seconds for the faults' own timers to remove it.
    #[arg(long, requires = "residue", default_value_t = 0)]
    wait: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Times that bare runs are removed: Docker may still make what a process had asked for before it died.
const REMOVALS: usize = 3;

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    if args.residue {
        return look_for_residue(&args, target).await;
    }
    let checkup = examine(&target.choice()).await;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&checkup)?);
    } else {
        print!("{checkup}");
    }
    Ok(if checkup.is_sound() {
        Exit::Pass
    } else {
        Exit::Environment
    })
}

async fn look_for_residue(args: &Args, target: &TargetArgs) -> CommandResult {
    let site = Site::of(&target.choice()).await;
    if args.fix {
        for line in residue::remove(&site).await.map_err(anyhow::Error::msg)? {
            println!("{line}");
        }
    }
    let limit = Duration::from_secs(args.wait);
    let mut residue = residue::settle(&site, limit, |_| {}).await;
    // No timer removes these, so that they are not waited for.
    if let Ok(Some(docker)) = &site.docker {
        let left = |run| Leftover::new("Docker", format!("bare run {run} of a process that died"));
        match bare_runs(docker, args.fix).await {
            Ok(runs) => residue.left.extend(runs.into_iter().map(left)),
            Err(error) => residue
                .unknown
                .push(Leftover::new("Docker", error.to_string())),
        }
    }
    for leftover in &residue.left {
        println!("{leftover}");
    }
    for unknown in &residue.unknown {
        println!("{unknown} (unknown)");
    }
    if residue.is_clean() {
        println!("nothing is left of any fault");
        return Ok(Exit::Pass);
    }
    Ok(if residue.left.is_empty() {
        Exit::Inconclusive
    } else {
        Exit::Violation
    })
}

/// Bare runs that dead processes left, after they were removed where that is asked for.
async fn bare_runs(docker: &Docker, fix: bool) -> Result<BTreeSet<String>, BareError> {
    let removals = if fix { REMOVALS } else { 0 };
    for _ in 0..removals {
        for run in leftovers::remove_orphaned(docker).await? {
            println!("bare run {run} removed");
        }
    }
    leftovers::orphaned(docker).await
}
