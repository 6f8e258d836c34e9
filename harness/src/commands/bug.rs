//! `harness bug N`: looks for a known bug in a version that has it, and in one that does not.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::{CommandResult, Exit, bare};
use crate::bare::bugs::{self, Bug};
use crate::bare::{BareLab, Series, Sighting, hunt, recorded};
use crate::report::Severity;
use crate::scenario::Interrupt;
use crate::scenario::attempts;
use crate::wait::pause;

/// Arguments of `harness bug`.
#[derive(Debug, clap::Args)]
// Its `--version` is that of etcd.
#[command(disable_version_flag = true)]
pub struct Args {
    /// Number of an issue of etcd, or `unsafe-no-fsync`; lists all plans when not given.
    bug: Option<String>,
    /// Runs of the version that has it.
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1000),
        requires = "bug"
    )]
    seeds: u32,
    /// Runs of the version that does not have it, each as long as the bug's budget.
    #[arg(
        long,
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(0..=1000),
        requires = "bug"
    )]
    clean: u32,
    /// Looks in this version of etcd only.
    #[arg(long, conflicts_with_all = ["record", "clean"], requires = "bug")]
    version: Option<String>,
    /// Seed of the first run; the others count on from it.
    #[arg(long, default_value_t = 1, requires = "bug")]
    seed: u64,
    /// Longest time in seconds for all runs together, but for what ends and judges the last one. Where it does not
    /// suffice the outcome is inconclusive, and what was not run is named.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with = "record",
        requires = "bug"
    )]
    within: Option<u64>,
    /// Writes the bug's row of the table in this document.
    #[arg(long, value_name = "FILE", requires = "bug")]
    record: Option<PathBuf>,
    /// Folder of the run directories.
    #[arg(long, default_value = "runs", env = "ETCD_HARNESS_RUNS")]
    runs: PathBuf,
}

pub(super) async fn run(args: Args) -> CommandResult {
    let Some(name) = &args.bug else {
        for bug in bugs::all() {
            let Bug {
                name,
                affected,
                fixed,
                budget,
                ..
            } = &bug;
            println!(
                "{name:<6} {affected} has it, {fixed} does not, {} s: {}",
                budget.as_secs(),
                bug.story()
            );
            println!("       {}", bug.how);
            println!("       {}", bug.images_by());
        }
        return Ok(Exit::Pass);
    };
    let bug = bugs::find(name).ok_or_else(|| {
        let title = bugs::title(name);
        anyhow!("failed to find a plan for {title}; `harness bug` lists them")
    })?;
    if let Some(version) = &args.version {
        bug.plan(version, args.seed).can_run()?;
    }
    let lab = bare::lab(args.runs.clone()).await?;
    if let Some(version) = &args.version {
        let over = Over::after(args.within, &lab.interrupt);
        return look_in(&lab, &bug, version, (&args, &over)).await;
    }
    // Before the first run, not after the last of the version that has it.
    lab.find_images(&bug.images(args.clean > 0)).await?;
    let over = Over::after(args.within, &lab.interrupt);
    compare(&lab, &bug, (&args, &over)).await
}

/// Whether the time for all runs is over.
#[derive(Clone, Debug, Default)]
struct Over(Arc<AtomicBool>);

impl Over {
    /// It is after so many seconds, and the run that is under way is ended then.
    fn after(seconds: Option<u64>, interrupt: &Interrupt) -> Self {
        let over = Self::default();
        if let Some(seconds) = seconds {
            let (over, interrupt) = (over.clone(), interrupt.clone());
            tokio::spawn(async move {
                pause(Duration::from_secs(seconds)).await;
                // Who was asked before has its reason.
                if !interrupt.is_asked() {
                    over.0.store(true, Ordering::SeqCst);
                    interrupt.ask();
                }
            });
        }
        over
    }

    /// The planned runs that are left where the command ends with the one of this place, because that was ended early.
    /// It is among them unless it had shown the bug by then. Where that leaves none, time that is over ends nothing.
    fn left<'a>(
        &self,
        planned: &'a [(&'a str, u64)],
        (done, seen): (usize, &Sighting),
    ) -> Option<&'a [(&'a str, u64)]> {
        let left = &planned[done + usize::from(seen.has_looked())..];
        let ends = seen.interrupted && !(left.is_empty() && self.0.load(Ordering::SeqCst));
        ends.then_some(left)
    }

    /// How a command ends whose run was ended early; `left` was not run to its end. What was violated by then is.
    fn exit(&self, bug: &Bug, left: &[(&str, u64)], so_far: Exit) -> Exit {
        if !self.0.load(Ordering::SeqCst) {
            return Exit::Interrupted;
        }
        println!("{}: {}", bugs::title(bug.name), unrun(left));
        match so_far {
            Exit::Violation => Exit::Violation,
            _ => Exit::Inconclusive,
        }
    }
}

/// The runs that the time did not suffice for, in words: versions and seeds.
fn unrun(left: &[(&str, u64)]) -> String {
    let left: Vec<String> = left
        .iter()
        .map(|(version, seed)| format!("{version} with seed {seed}"))
        .collect();
    format!(
        "inconclusive: the time for all runs (--within) is over; not run to the end: {}",
        left.join(", ")
    )
}

/// So many runs of a version: it and the seed of each.
fn runs_of(version: &str, first: u64, count: u32) -> Vec<(&str, u64)> {
    let seeds = (0..count).map(|number| first.wrapping_add(u64::from(number)));
    seeds.map(|seed| (version, seed)).collect()
}

/// One version alone: is it there?
async fn look_in(
    lab: &BareLab,
    bug: &Bug,
    version: &str,
    (args, over): (&Args, &Over),
) -> CommandResult {
    let planned = runs_of(version, args.seed, args.seeds);
    let mut runs = Vec::new();
    for (done, run) in planned.iter().enumerate() {
        let seen = one(lab, bug, *run).await?;
        if seen.has_looked() {
            runs.push(worth(&seen));
        }
        if let Some(left) = over.left(&planned, (done, &seen)) {
            return Ok(over.exit(bug, left, found(&runs).1));
        }
    }
    let (told, exit) = found(&runs);
    println!("{} was shown by {told} of {version}", bugs::title(bug.name));
    Ok(exit)
}

/// In how many runs a bug was shown, in words. It was not found where no run showed it and all could have: a run whose
/// set-up failed, or whose fault did not come, has not looked.
fn found(runs: &[(bool, Severity)]) -> (String, Exit) {
    let shown = runs.iter().filter(|(shown, _)| *shown).count();
    let others = runs.iter().filter(|(shown, _)| !shown);
    let bad: Vec<Severity> = others
        .map(|(_, severity)| *severity)
        .filter(|severity| Exit::from(*severity) != Exit::Pass)
        .collect();
    let mut told = format!("{shown} of {} runs", runs.len());
    if !bad.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(told, " ({} of the others did not pass)", bad.len());
    }
    let exit = match bad.into_iter().max() {
        _ if shown > 0 => Exit::Violation,
        Some(worst) => worst.into(),
        None => Exit::Pass,
    };
    (told, exit)
}

/// Both versions: it must be found in one and not in the other.
async fn compare(lab: &BareLab, bug: &Bug, (args, over): (&Args, &Over)) -> CommandResult {
    let mut series = Series::default();
    let mut planned = runs_of(bug.affected, args.seed, args.seeds);
    let affected = planned.len();
    planned.extend(runs_of(bug.fixed, args.seed, args.clean));
    for (done, run) in planned.iter().enumerate() {
        let seen = one(lab, bug, *run).await?;
        if seen.has_looked() {
            count(&mut series, &seen, done < affected);
        }
        if let Some(left) = over.left(&planned, (done, &seen)) {
            return Ok(over.exit(bug, left, exit(None, &series)));
        }
    }
    let date = jiff::Zoned::now().date().to_string();
    let row = series.row(bug, &date);
    println!("{row}");
    for (severity, line) in &series.unclean {
        println!("{}: {line}", severity.word());
    }
    if let Some(path) = &args.record {
        record(path, bug.name, &row)?;
    }
    // Who records measures, on a machine of their choice. Elsewhere the time is the machine's as much as the harness's.
    let limit = args.record.as_ref().map(|_| bug.budget);
    Ok(exit(limit, &series))
}

/// Counts a run, of the version that has the bug or of the one that does not.
fn count(series: &mut Series, seen: &Sighting, affected: bool) {
    if affected {
        series.runs += 1;
        series.shown.extend(seen.shown_after);
        return;
    }
    series.clean.push(seen.lasted);
    if !matches!(seen.severity, Severity::Pass | Severity::NotJudged) {
        let told = format!("{}: {}", seen.dir.display(), seen.cause);
        series.unclean.push((seen.severity, told));
    }
}

/// What was not found proves nothing of the harness, nor does what was found after the limit, where there is one; what
/// is found where it is not is a violation. A run there whose set-up failed, or whose fault did not come, has found
/// nothing and has not looked.
fn exit(limit: Option<Duration>, series: &Series) -> Exit {
    let worst = series.unclean.iter().map(|(severity, _)| *severity).max();
    let in_time = |after: &&Duration| limit.is_none_or(|limit| **after <= limit);
    let found = series.shown.iter().filter(in_time).count();
    match worst {
        Some(severity) => severity.into(),
        None if found == series.runs as usize => Exit::Pass,
        None => Exit::Inconclusive,
    }
}

/// What a run is worth: whether it showed the bug, and how bad it is as a whole.
fn worth(seen: &Sighting) -> (bool, Severity) {
    (seen.shown_after.is_some(), seen.severity)
}

/// Whether the last of these runs of one seed decides. One that proves nothing is made again, as a trial is; one that
/// shows the bug decides, whatever else was wrong with it.
fn decides(runs: &[(bool, Severity)]) -> bool {
    let severities: Vec<Severity> = runs.iter().map(|(_, severity)| *severity).collect();
    runs.last().is_some_and(|(shown, _)| *shown) || attempts::verdict(&severities).is_some()
}

/// Runs with one seed until one decides; what that one saw.
async fn one(lab: &BareLab, bug: &Bug, (version, seed): (&str, u64)) -> anyhow::Result<Sighting> {
    let mut runs = Vec::new();
    loop {
        let seen = Box::pin(hunt(lab, bug, version, seed)).await?;
        println!(
            "{} in {version}, seed {seed}: {}, {}",
            bugs::title(bug.name),
            told(&seen, bug.budget),
            seen.dir.display()
        );
        runs.push(worth(&seen));
        if seen.interrupted || decides(&runs) {
            return Ok(seen);
        }
    }
}

/// What one run saw, in words; what was not shown says what the run is worth.
fn told(seen: &Sighting, budget: Duration) -> String {
    if let Some(after) = seen.shown_after {
        let (after_s, budget_s) = (after.as_secs_f64(), budget.as_secs());
        return match after > budget {
            true => format!("shown after {after_s:.3} s, over its budget of {budget_s} s"),
            false => format!("shown after {after_s:.3} s"),
        };
    }
    let (lasted, word) = (seen.lasted.as_secs_f64(), seen.severity.word());
    match seen.cause.as_str() {
        "" => format!("not shown in {lasted:.1} s ({word})"),
        cause => format!("not shown in {lasted:.1} s ({word}: {cause})"),
    }
}

fn record(path: &Path, name: &str, row: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("failed to read {}", path.display()))?;
    let text = recorded(&text, name, row)
        .map_err(|error| anyhow!("failed to find the table in {}: {error}", path.display()))?;
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting() -> Sighting {
        Sighting {
            shown_after: None,
            lasted: Duration::from_millis(60_500),
            severity: Severity::Violation,
            cause: "recovery: no answer of a".to_owned(),
            interrupted: false,
            dir: PathBuf::new(),
        }
    }

    #[test]
    fn what_was_not_shown_says_why_and_what_was_late_that_it_was() {
        let told = |seen: &Sighting| told(seen, Duration::from_secs(4));
        let mut seen = sighting();
        let expected = "not shown in 60.5 s (violation: recovery: no answer of a)";
        assert_eq!(told(&seen), expected);
        seen.cause.clear();
        seen.severity = Severity::Pass;
        assert_eq!(told(&seen), "not shown in 60.5 s (pass)");
        seen.shown_after = Some(Duration::from_millis(3_800));
        assert_eq!(told(&seen), "shown after 3.800 s");
        seen.shown_after = Some(Duration::from_millis(4_800));
        let late = "shown after 4.800 s, over its budget of 4 s";
        assert_eq!(told(&seen), late);
    }

    /// What was shown after so many seconds in three runs, and what was wrong where the bug is not.
    fn series(shown: &[u64], unclean: &[Severity]) -> Series {
        let unclean = unclean.iter();
        Series {
            shown: shown.iter().copied().map(Duration::from_secs).collect(),
            runs: 3,
            unclean: unclean
                .map(|severity| (*severity, "a run".to_owned()))
                .collect(),
            ..Series::default()
        }
    }

    #[test]
    fn what_is_found_where_it_is_not_outweighs_what_was_not_found() {
        let of = |shown: &[u64], unclean: &[Severity]| exit(None, &series(shown, unclean));
        assert_eq!(of(&[1, 1, 1], &[]), Exit::Pass);
        assert_eq!(of(&[1, 1], &[]), Exit::Inconclusive);
        let (futile, found) = (Severity::Inconclusive, Severity::Violation);
        assert_eq!(of(&[], &[found]), Exit::Violation);
        let all = [1, 1, 1];
        assert_eq!(of(&all, &[futile, found, futile]), Exit::Violation);
        // It was not looked for.
        assert_eq!(of(&all, &[futile, futile]), Exit::Inconclusive);
        assert_eq!(of(&[], &[futile]), Exit::Inconclusive);
    }

    #[test]
    fn what_was_found_late_is_found_and_fails_a_measurement_alone() {
        let late = series(&[1, 9, 1], &[]);
        assert_eq!(exit(None, &late), Exit::Pass);
        let budget = Some(Duration::from_secs(8));
        assert_eq!(exit(budget, &late), Exit::Inconclusive);
        assert_eq!(exit(budget, &series(&[1, 8, 1], &[])), Exit::Pass);
    }

    #[tokio::test(start_paused = true)]
    async fn what_there_was_no_time_for_is_named_and_proves_nothing() {
        let bug = bugs::find("18667").expect("a plan");
        let left = runs_of(bug.affected, 7, 2);
        let interrupt = Interrupt::never();
        let over = Over::after(Some(5), &interrupt);
        let ended = |so_far| over.exit(&bug, &left, so_far);
        assert_eq!(ended(Exit::Pass), Exit::Interrupted, "by a signal");
        let work = interrupt.or(pause(Duration::from_secs(600))).await;
        assert!(work.is_err(), "the run that is under way ends");
        assert_eq!(ended(Exit::Pass), Exit::Inconclusive);
        assert_eq!(ended(Exit::Violation), Exit::Violation);
        let told = unrun(&left);
        assert!(told.ends_with(": v3.6.16 with seed 7, v3.6.16 with seed 8"));
        // Without a limit there is none, and a signal that came before is what ended it.
        let asked = Interrupt::never();
        asked.ask();
        for over in [Over::after(None, &interrupt), Over::after(Some(1), &asked)] {
            pause(Duration::from_secs(2)).await;
            assert_eq!(over.exit(&bug, &left, Exit::Pass), Exit::Interrupted);
        }
    }

    #[test]
    fn a_run_that_was_ended_behind_what_it_has_shown_counts() {
        let planned = [("a", 1), ("a", 2)];
        let (in_time, over) = (Over::default(), Over::default());
        over.0.store(true, Ordering::SeqCst);
        let mut seen = sighting();
        assert_eq!(over.left(&planned, (0, &seen)), None, "it was not ended");
        seen.interrupted = true;
        assert!(!seen.has_looked());
        assert_eq!(over.left(&planned, (1, &seen)), Some(&planned[1..]));
        seen.shown_after = Some(Duration::from_secs(1));
        assert!(seen.has_looked());
        assert_eq!(over.left(&planned, (0, &seen)), Some(&planned[1..]));
        assert_eq!(over.left(&planned, (1, &seen)), None, "all have looked");
        // A signal ends the command in any case.
        assert_eq!(in_time.left(&planned, (1, &seen)), Some(&planned[2..]));
        let mut series = Series::default();
        count(&mut series, &seen, true);
        assert_eq!(exit(None, &series), Exit::Pass);
        count(&mut series, &seen, false);
        assert_eq!(exit(None, &series), Exit::Violation);
    }

    #[test]
    fn only_a_run_that_proves_nothing_is_made_again() {
        let futile = (false, Severity::Inconclusive);
        assert!(!decides(&[]));
        assert!(!decides(&[futile]) && !decides(&[futile, futile]));
        assert!(decides(&[futile; 3]), "it is red");
        assert!(decides(&[futile, (true, Severity::Inconclusive)]));
        for severity in [Severity::Pass, Severity::NotJudged, Severity::Violation] {
            assert!(decides(&[(false, severity)]), "{severity:?}");
        }
    }

    #[test]
    fn only_runs_that_passed_say_that_a_bug_is_not_there() {
        let of = |runs: &[(bool, Severity)]| found(runs).1;
        let looked = [(false, Severity::Pass), (false, Severity::NotJudged)];
        assert_eq!(of(&looked), Exit::Pass);
        let [one, other] = looked;
        let failed = |severity| [one, (false, severity), other];
        assert_eq!(of(&failed(Severity::Inconclusive)), Exit::Inconclusive);
        assert_eq!(of(&failed(Severity::Violation)), Exit::Violation);
        let shown = (true, Severity::Violation);
        let seen = [shown, (false, Severity::Inconclusive), one];
        let (told, exit) = found(&seen);
        assert_eq!(told, "1 of 3 runs (1 of the others did not pass)");
        assert_eq!(exit, Exit::Violation);
        assert_eq!(found(&[shown]).0, "1 of 1 runs");
    }
}
