//! `harness report DIR...`: writes the reports of saved runs again, from what was saved. Judges nothing.

use std::path::PathBuf;

use super::{CommandResult, Exit, TargetArgs};
use crate::report::RunDir;

/// Arguments of `harness report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directories.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

pub(super) async fn run(args: Args, _target: &TargetArgs) -> CommandResult {
    for dir in args.dirs {
        let run = RunDir::open(&dir)?;
        run.write_reports(&run.history()?, &run.verdicts()?)?;
        println!("{}", run.page_path().display());
    }
    Ok(Exit::Pass)
}
