//! `harness logs`: everything for a bug report, in one directory.

use std::path::PathBuf;

use super::{CommandResult, Exit, TargetArgs};
use crate::cluster::{Cluster, Progress};
use crate::deploy::collect_cluster;
use crate::doctor::examine;

/// Arguments of `harness logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to; a new directory below runs/ by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    let choice = target.choice();
    let now = jiff::Timestamp::now()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    let dir = args
        .dir
        .unwrap_or_else(|| PathBuf::from(format!("runs/{now}-logs")));
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("doctor.txt"), examine(&choice).await.to_string())?;
    let cluster = Cluster::attach(&choice).await?;
    let mut progress = Progress::new();
    progress
        .phase(
            "collect objects and logs",
            Box::pin(collect_cluster(&cluster, &dir)),
        )
        .await?;
    println!("{}", dir.display());
    Ok(Exit::Pass)
}
