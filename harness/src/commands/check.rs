//! `harness check DIR...`: judges saved histories with today's checks.
//!
//! What a run found by itself, not from its history (a cluster that did not come up, say), is kept as it was saved.

use std::path::{Path, PathBuf};

use etcd_history::check;

use super::{CommandResult, Exit, TargetArgs};
use crate::report::Severity;
use crate::report::{RunDir, RunDirError, Verdict, prose, worst};

/// Arguments of `harness check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directories.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Replaces the saved verdicts and reports by the new ones.
    #[arg(long)]
    save: bool,
    /// Prints every verdict, not only the cause.
    #[arg(long, short)]
    verbose: bool,
}

pub(super) async fn run(args: Args, _target: &TargetArgs) -> CommandResult {
    let mut worst_seen = Severity::Pass;
    let mut unreadable = false;
    for dir in &args.dirs {
        match check_one(dir, &args) {
            Ok(severity) => worst_seen = worst_seen.max(severity),
            Err(error) => {
                eprintln!("{}: {error}", dir.display());
                unreadable = true;
            }
        }
    }
    Ok(if unreadable {
        Exit::Environment
    } else {
        worst_seen.into()
    })
}

fn check_one(dir: &Path, args: &Args) -> Result<Severity, RunDirError> {
    let run = RunDir::open(dir)?;
    let history = run.history()?;
    let saved = run.verdicts()?;
    let verdicts = match run.expectations()? {
        Some(expectations) => {
            let verdicts = check::all(&history, &expectations);
            again(&saved, verdicts)
        }
        // A run without load has no history to judge: what it found is all there is.
        None => saved.clone(),
    };
    let (severity, _) = worst(&verdicts);
    println!("{}: {}", dir.display(), prose::headline(&verdicts));
    for change in changes(&saved, &verdicts) {
        println!("  {change}");
    }
    if args.verbose {
        print!("{}", prose::verdict(&run.header()?, &verdicts));
    }
    if args.save {
        run.write_reports(&history, &verdicts)?;
    }
    Ok(severity)
}

/// The new verdicts, and of the saved ones those that no check of today gives.
fn again(saved: &[Verdict], new: Vec<Verdict>) -> Vec<Verdict> {
    let own = saved.iter().filter(|old| {
        let judged = new.iter().any(|verdict| verdict.check == old.check);
        !judged && !check::RENAMED.contains(&&*old.check)
    });
    let mut all: Vec<Verdict> = own.cloned().collect();
    all.extend(new);
    all
}

/// What is judged otherwise than when it was saved.
fn changes(saved: &[Verdict], new: &[Verdict]) -> Vec<String> {
    let mut changes = Vec::new();
    for verdict in new {
        let (now, name) = (verdict.severity(), &verdict.check);
        match saved
            .iter()
            .find(|old| old.check == *name)
            .map(Verdict::severity)
        {
            Some(before) if before == now => {}
            Some(before) => {
                changes.push(format!("{name}: was {}, is {}", before.word(), now.word()));
            }
            None => changes.push(format!("{name}: new, {}", now.word())),
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    fn doubt(check: &'static str) -> Verdict {
        Verdict::new(
            check,
            Finding::Inconclusive {
                reason: "no traffic".to_owned(),
            },
        )
    }

    #[test]
    fn what_the_run_found_by_itself_is_kept() {
        let saved = ["whole_again", "linearizable", "leader_stays"].map(doubt);
        let all = again(&saved, vec![Verdict::new("linearizable", Finding::Pass)]);
        let names: Vec<&str> = all.iter().map(|verdict| &*verdict.check).collect();
        assert_eq!(names, ["whole_again", "linearizable"]);
        assert_eq!(
            worst(&all).1.map(|cause| &*cause.check),
            Some("whole_again")
        );
        assert_eq!(
            changes(&saved, &all),
            ["linearizable: was inconclusive, is pass"]
        );
    }

    #[test]
    fn a_check_that_is_new_is_said_to_be() {
        assert_eq!(
            changes(&[], &[doubt("leases")]),
            ["leases: new, inconclusive"]
        );
    }
}
