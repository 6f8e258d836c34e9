//! `harness check PATH...`: judges saved histories with today's checks.
//!
//! What a run found by itself, not from its history (a cluster that did not come up, say), is kept as it was saved. The
//! file of a history, in lines of JSON or in the binary form, is judged without expectations of a scenario; `-` is
//! standard input.

use std::path::{Path, PathBuf};

use anyhow::bail;
use etcd_history::History;
use etcd_history::check::{self, AutoCompaction};

use super::exit::told;
use super::{CommandResult, Exit, TargetArgs, history_file};
use crate::report::Severity;
use crate::report::{RunDir, Verdict, prose, worst};

/// Arguments of `harness check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directories, or files of histories in lines of JSON or in the binary form; `-` for standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Replaces the saved verdicts and reports of run directories by the new ones.
    #[arg(long)]
    save: bool,
    /// Judges linearizability alone, record by record, in memory that does not grow with the history.
    #[arg(long, conflicts_with = "save")]
    stream: bool,
    /// What the etcd of a history's file was told to compact by itself, as its flags have it: `periodic=1h`,
    /// `revision=1000`. Run directories say it themselves.
    #[arg(long, value_name = "MODE=RETENTION", conflicts_with = "stream", value_parser = auto_compaction)]
    auto_compaction: Option<AutoCompaction>,
    /// Prints every verdict, not only the cause.
    #[arg(long, short)]
    verbose: bool,
}

pub(super) async fn run(args: Args, _target: &TargetArgs) -> CommandResult {
    let mut worst_seen = Severity::Pass;
    let mut unreadable = false;
    if args.save
        && let Some(file) = args.paths.iter().find(|path| history_file::is_file(path))
    {
        bail!(
            "failed to save verdicts of {}: --save is for run directories; leave it out for files",
            file.display()
        );
    }
    if args.auto_compaction.is_some()
        && let Some(dir) = args.paths.iter().find(|path| path.is_dir())
    {
        bail!(
            "failed to judge {} with --auto-compaction: the expectations of a run directory say in `auto_compaction` \
             what etcd compacts; leave the option out for directories",
            dir.display()
        );
    }
    for path in &args.paths {
        let checked = if args.stream {
            stream(path, args.verbose)
        } else if history_file::is_file(path) {
            history_file::check(path, args.verbose, args.auto_compaction)
        } else {
            check_one(path, &args)
        };
        match checked {
            Ok(severity) => worst_seen = worst_seen.max(severity),
            Err(error) => {
                eprintln!("{}: {}", path.display(), told(&error));
                unreadable = true;
            }
        }
    }
    Ok(exit(worst_seen, unreadable))
}

/// What was violated is, whatever else could not be read.
fn exit(worst: Severity, unreadable: bool) -> Exit {
    match Exit::from(worst) {
        Exit::Violation => Exit::Violation,
        _ if unreadable => Exit::Environment,
        other => other,
    }
}

/// Mode and retention as etcd's flags have them.
fn auto_compaction(text: &str) -> Result<AutoCompaction, String> {
    let Some((mode, retention)) = text.split_once('=') else {
        return Err(
            "write the mode and the retention, e.g. periodic=1h or revision=1000".to_owned(),
        );
    };
    let keeps = AutoCompaction::of_flags(mode, retention)?;
    keeps
        .ok_or_else(|| "etcd compacts nothing by a retention of 0: leave the option out".to_owned())
}

/// Judges the history of a run directory, or a file, as it is read.
fn stream(path: &Path, verbose: bool) -> anyhow::Result<Severity> {
    if history_file::is_file(path) {
        return history_file::stream(path, verbose);
    }
    history_file::stream(&RunDir::open(path)?.history_path(), verbose)
}

fn check_one(dir: &Path, args: &Args) -> anyhow::Result<Severity> {
    let run = RunDir::open(dir)?;
    let saved = run.verdicts()?;
    let (history, verdicts) = judged(&run, &saved)?;
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

/// The history of a run, and what is said of it now.
fn judged(run: &RunDir, saved: &[Verdict]) -> anyhow::Result<(History, Vec<Verdict>)> {
    let (history, cut_off) = history_file::read(&run.history_path())?;
    let Some(expectations) = run.expectations()? else {
        // A run without load has no history to judge: what it found is all there is.
        return Ok((history, saved.to_vec()));
    };
    let mut verdicts = check::all(&history, &expectations);
    verdicts.extend(cut_off);
    Ok((history, again(saved, verdicts)))
}

/// The new verdicts, and of the saved ones those that no check of today gives.
fn again(saved: &[Verdict], new: Vec<Verdict>) -> Vec<Verdict> {
    let own = saved.iter().filter(|old| {
        let judged = new.iter().any(|verdict| verdict.check == old.check);
        let of_file = old.check == history_file::FILE;
        !judged && !of_file && !check::RENAMED.contains(&&*old.check)
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
    use etcd_history::Expectations;
    use etcd_history::simulate::{Plan, simulate};

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
    fn the_history_of_a_run_that_ends_within_a_record_is_said_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunDir::open(folder.path()).expect("a run");
        let plan = serde_json::json!({"expectations": Expectations::default()});
        run.write_plan(&plan).expect("a plan");
        run.write_history(&simulate(&Plan::default()))
            .expect("a history");
        let of_file = || {
            let saved = [doubt(history_file::FILE)];
            let (_, verdicts) = judged(&run, &saved).expect("it is judged");
            verdicts.iter().any(|verdict| verdict.check == "file")
        };
        assert!(!of_file(), "what was said of it before is not kept");
        let whole = std::fs::read(run.history_path()).expect("a history");
        std::fs::write(run.history_path(), &whole[..whole.len() - 3]).expect("a part of it");
        assert!(of_file());
    }

    #[test]
    fn what_was_violated_outweighs_what_could_not_be_read() {
        let all = [Severity::Pass, Severity::Inconclusive, Severity::Violation];
        let [read, unreadable] = [false, true].map(|other| all.map(|worst| exit(worst, other)));
        assert_eq!(read, all.map(Exit::from));
        let other = Exit::Environment;
        assert_eq!(unreadable, [other, other, Exit::Violation]);
    }

    #[test]
    fn automatic_compaction_is_said_by_mode_and_retention() {
        let retention_ms = 5_000;
        let periodic = AutoCompaction::Periodic { retention_ms };
        assert_eq!(auto_compaction("periodic=5s"), Ok(periodic));
        let revision = AutoCompaction::Revision { retention: 1_000 };
        assert_eq!(auto_compaction("revision=1000"), Ok(revision));
        for (text, told) in [
            ("1h", "periodic=1h"),
            ("periodic=0", "leave the option out"),
            ("revision=1h", "a number of revisions"),
            ("hourly=1", "periodic or revision"),
        ] {
            let error = auto_compaction(text).expect_err("it must be refused");
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_check_that_is_new_is_said_to_be() {
        assert_eq!(
            changes(&[], &[doubt("leases")]),
            ["leases: new, inconclusive"]
        );
    }
}
