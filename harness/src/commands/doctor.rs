//! `harness doctor`: what this machine can do; `--residue`: what faults left behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bollard::Docker;
use serde::Serialize;

use super::{CommandResult, Exit, TargetArgs};
use crate::bare::{BareError, leftovers};
use crate::cluster::ClusterLock;
use crate::doctor::examine;
use crate::faults::residue::{self, Leftover, Removal, Residue, Site};
use crate::timeouts;
use crate::wait::pause;

/// Arguments of `harness doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look for what faults left behind instead; ends with 1 when there is something, with 2 when it cannot be known.
    #[arg(long)]
    residue: bool,
    /// With --residue: remove it.
    #[arg(long, requires = "residue")]
    fix: bool,
    /// With --residue: wait so many seconds for the faults' own timers to remove it, and for what removes bare runs.
    #[arg(long, requires = "residue", default_value_t = 0)]
    wait: u64,
    /// Print JSON; with --residue an object of `removed`, `left` and `unknown`.
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

/// What `--residue` has to say, as JSON.
#[derive(Debug, Serialize)]
struct Found<'a> {
    /// What `--fix` removed, a sentence each.
    removed: &'a [String],
    left: &'a [Leftover],
    /// Where it cannot be known what is left, and why.
    unknown: &'a [Leftover],
}

async fn look_for_residue(args: &Args, target: &TargetArgs) -> CommandResult {
    let site = Site::of(&target.choice()).await;
    let mut removed = Vec::new();
    let mut gone = |line: String| {
        if !args.json {
            println!("{line}");
        }
        removed.push(line);
    };
    if args.fix {
        let _no_other_uses_it = ClusterLock::cleaning(&site.name)?;
        let Removal { done, failed } = residue::remove(&site).await;
        done.into_iter().for_each(&mut gone);
        for failure in failed {
            eprintln!("not removed: {failure}");
        }
    }
    let (begun, limit) = (Instant::now(), Duration::from_secs(args.wait));
    let mut residue = residue::settle(&site, limit, |_| {}).await;
    let limit = limit.saturating_sub(begun.elapsed());
    if let Ok(Some(docker)) = &site.docker {
        let left = |run| Leftover::new("Docker", format!("bare run {run} of a process that died"));
        match bare_runs(docker, (args.fix, limit), &mut gone).await {
            Ok(runs) => residue.left.extend(runs.into_iter().map(left)),
            Err(error) => residue
                .unknown
                .push(Leftover::new("Docker", error.to_string())),
        }
    }
    if args.json {
        println!("{}", json(&removed, &residue)?);
    } else {
        print!("{}", text(&residue));
    }
    Ok(exit(&residue))
}

fn json(removed: &[String], residue: &Residue) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Found {
        removed,
        left: &residue.left,
        unknown: &residue.unknown,
    })
}

fn text(residue: &Residue) -> String {
    if residue.is_clean() {
        return "nothing is left of any fault\n".to_owned();
    }
    let left = residue.left.iter().map(|left| format!("{left}\n"));
    let unknown = residue.unknown.iter();
    left.chain(unknown.map(|place| format!("{place} (unknown)\n")))
        .collect()
}

fn exit(residue: &Residue) -> Exit {
    if residue.is_clean() {
        Exit::Pass
    } else if residue.left.is_empty() {
        Exit::Inconclusive
    } else {
        Exit::Violation
    }
}

/// Bare runs that dead processes left, after they were removed where that is asked for, and so much time was given to
/// what removes them by itself.
async fn bare_runs(
    docker: &Docker,
    (fix, limit): (bool, Duration),
    gone: &mut impl FnMut(String),
) -> Result<BTreeSet<String>, BareError> {
    let removals = if fix { REMOVALS } else { 0 };
    for _ in 0..removals {
        for run in leftovers::remove_orphaned(docker).await? {
            gone(format!("bare run {run} removed"));
        }
    }
    let begun = Instant::now();
    loop {
        let left = leftovers::orphaned(docker).await?;
        if left.is_empty() || begun.elapsed() >= limit {
            return Ok(left);
        }
        pause(timeouts::POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn residue_is_told_to_people_and_to_machines() {
        let mut residue = Residue::default();
        let answer = |removed: &[String], residue: &Residue| {
            let text = super::json(removed, residue).expect("JSON");
            serde_json::from_str::<Value>(&text).expect("JSON")
        };
        let nothing = json!({"removed": [], "left": [], "unknown": []});
        assert_eq!(answer(&[], &residue), nothing);
        assert_eq!(text(&residue), "nothing is left of any fault\n");
        assert_eq!(exit(&residue), Exit::Pass);
        residue.unknown.push(Leftover::new("worker", "no answer"));
        assert_eq!(exit(&residue), Exit::Inconclusive);
        residue.left.push(Leftover::new("Docker", "a timer"));
        assert_eq!(exit(&residue), Exit::Violation);
        let told = "Docker: a timer\nworker: no answer (unknown)\n";
        assert_eq!(text(&residue), told);
        let expected = json!({
            "removed": ["bare run 7 removed"],
            "left": [{"place": "Docker", "what": "a timer"}],
            "unknown": [{"place": "worker", "what": "no answer"}],
        });
        let removed = ["bare run 7 removed".to_owned()];
        assert_eq!(answer(&removed, &residue), expected);
    }
}
