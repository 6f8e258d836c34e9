//! `harness down`: deletes the cluster that `up` made.

use super::{CommandResult, Exit, TargetArgs};
use crate::cluster::{Progress, kind};

/// Arguments of `harness down`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(_: Args, target: &TargetArgs) -> CommandResult {
    kind::down(&target.choice(), &mut Progress::new()).await?;
    Ok(Exit::Pass)
}
