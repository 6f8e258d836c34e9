//! `harness list`: all scenarios, with their stories.

use super::{CommandResult, Exit, TargetArgs};
use crate::bare::shared::{Tier, tiers};
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
        let words = |counts: &[u32]| {
            let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
            counts.join(",")
        };
        let mut counts = words(&scenario.members);
        if !scenario.long_members.is_empty() {
            counts = format!("{counts} ({} long)", words(&scenario.long_members));
        }
        let mark = match (scenario.smoke, scenario.long) {
            (true, _) => "smoke",
            (_, true) => "long",
            _ => "",
        };
        let tiers: Vec<&str> = tiers(scenario).into_iter().map(Tier::word).collect();
        println!(
            "{:<56} {counts:<10} {mark:<6} {:<10} {}",
            scenario.name,
            tiers.join(","),
            scenario.story
        );
        if args.verbose {
            for fault in scenario.all_faults() {
                println!("{:<79} - {fault}", "");
            }
        }
    }
    Ok(Exit::Pass)
}
