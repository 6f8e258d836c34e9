//! `harness bug N`: looks for a known bug in a version that has it, and in one that does not.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::{CommandResult, Exit};
use crate::bare::bugs::{self, Bug};
use crate::bare::{BareLab, Series, Sighting, hunt, recorded};
use crate::report::Severity;
use crate::scenario::{Interrupt, Live};

/// Arguments of `harness bug`.
#[derive(Debug, clap::Args)]
// Its `--version` is that of etcd.
#[command(disable_version_flag = true)]
pub struct Args {
    /// Number of etcd's issue, or the name of what is none; lists what there is a plan for when not given.
    bug: Option<String>,
    /// Runs of the version that has it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: u32,
    /// Runs of the version that does not have it, each as long as the bug's budget.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    clean: u32,
    /// Looks in this version of etcd alone.
    #[arg(long, conflicts_with = "record")]
    version: Option<String>,
    /// Seed of the first run; the others count on from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the bug's row of the table in this document again.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Folder of the run directories.
    #[arg(long, default_value = "runs")]
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
        }
        return Ok(Exit::Pass);
    };
    let bug = bugs::find(name).ok_or_else(|| {
        let title = bugs::title(name);
        anyhow!("failed to find a plan for {title}; `harness bug` lists them")
    })?;
    let lab = BareLab::connect(args.runs.clone(), Live::loud()).await?;
    let lab = BareLab {
        interrupt: Interrupt::by_signal()?,
        ..lab
    };
    match &args.version {
        Some(version) => look_in(&lab, &bug, version, &args).await,
        None => compare(&lab, &bug, &args).await,
    }
}

/// One version alone: is it there?
async fn look_in(lab: &BareLab, bug: &Bug, version: &str, args: &Args) -> CommandResult {
    let mut shown = 0;
    for number in 0..args.seeds {
        let seen = one(lab, bug, (version, args.seed, number)).await?;
        if seen.interrupted {
            return Ok(Exit::Interrupted);
        }
        shown += u32::from(seen.shown_after.is_some());
    }
    println!(
        "{} was shown by {shown} of {} runs of {version}",
        bugs::title(bug.name),
        args.seeds
    );
    Ok(if shown > 0 {
        Exit::Violation
    } else {
        Exit::Pass
    })
}

/// Both versions: it must be found in one and not in the other.
async fn compare(lab: &BareLab, bug: &Bug, args: &Args) -> CommandResult {
    let mut series = Series::default();
    let mut late = 0;
    for number in 0..args.seeds {
        let seen = one(lab, bug, (bug.affected, args.seed, number)).await?;
        if seen.interrupted {
            return Ok(Exit::Interrupted);
        }
        series.runs += 1;
        late += u32::from(seen.shown_after.is_none_or(|after| after > bug.budget));
        series.shown.extend(seen.shown_after);
    }
    for number in 0..args.clean {
        let seen = one(lab, bug, (bug.fixed, args.seed, number)).await?;
        if seen.interrupted {
            return Ok(Exit::Interrupted);
        }
        series.clean.push(seen.lasted);
        if !matches!(seen.severity, Severity::Pass | Severity::NotJudged) {
            series
                .unclean
                .push(format!("{}: {}", seen.dir.display(), seen.cause));
        }
    }
    let date = jiff::Zoned::now().date().to_string();
    let row = series.row(bug, &date);
    println!("{row}");
    for line in &series.unclean {
        println!("{line}");
    }
    if let Some(path) = &args.record {
        record(path, bug.name, &row)?;
    }
    Ok(exit(late, &series))
}

/// What was not found in time proves nothing of the harness; what is found where it is not is a violation.
fn exit(late: u32, series: &Series) -> Exit {
    match (series.unclean.is_empty(), late) {
        (false, _) => Exit::Violation,
        (true, 0) => Exit::Pass,
        (true, _) => Exit::Inconclusive,
    }
}

async fn one(
    lab: &BareLab,
    bug: &Bug,
    (version, first, number): (&str, u64, u32),
) -> anyhow::Result<Sighting> {
    let seed = first.wrapping_add(u64::from(number));
    let seen = Box::pin(hunt(lab, bug, version, seed)).await?;
    let lasted = seen.lasted.as_secs_f64();
    let told = match seen.shown_after {
        Some(after) => format!("shown after {:.3} s", after.as_secs_f64()),
        None => format!("not shown in {lasted:.1} s ({})", seen.severity.word()),
    };
    println!(
        "{} in {version}, seed {seed}: {told}, {}",
        bugs::title(bug.name),
        seen.dir.display()
    );
    Ok(seen)
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

    #[test]
    fn what_is_found_where_it_is_not_outweighs_what_was_not_found() {
        let clean = Series::default();
        let unclean = Series {
            unclean: vec!["a run: watch".to_owned()],
            ..Series::default()
        };
        assert_eq!(exit(0, &clean), Exit::Pass);
        assert_eq!(exit(1, &clean), Exit::Inconclusive);
        assert_eq!(exit(1, &unclean), Exit::Violation);
    }
}
