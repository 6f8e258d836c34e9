//! `harness list`: all scenarios, with their stories.

use super::{CommandResult, Exit, TargetArgs};
use crate::scenario::catalog;

/// Arguments of `harness list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the short subset.
    #[arg(long)]
    smoke: bool,
    /// Also the faults of each.
    #[arg(long, short)]
    verbose: bool,
}

#[expect(clippy::unused_async, reason = "every command has one form")]
pub(super) async fn run(args: Args, _target: &TargetArgs) -> CommandResult {
    for scenario in catalog::all()
        .iter()
        .filter(|scenario| scenario.smoke || !args.smoke)
    {
        let counts: Vec<String> = scenario.members.iter().map(u32::to_string).collect();
        let mark = match (scenario.smoke, scenario.long) {
            (true, _) => "smoke",
            (_, true) => "long",
            _ => "",
        };
        println!(
            "{:<56} {:<4} {mark:<6} {}",
            scenario.name,
            counts.join(","),
            scenario.story
        );
        if args.verbose {
            for fault in scenario.all_faults() {
                println!("{:<68} - {fault}", "");
            }
        }
    }
    Ok(Exit::Pass)
}
