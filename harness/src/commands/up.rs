//! `harness up`. Being written.

use super::{CommandResult, Exit, TargetArgs};

/// Arguments of `harness up`.
#[derive(Debug, clap::Args)]
pub struct Args {}

#[expect(clippy::needless_pass_by_value, reason = "being written")]
pub(super) async fn run(_args: Args, _target: &TargetArgs) -> CommandResult {
    Ok(Exit::Environment)
}
