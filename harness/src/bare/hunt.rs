//! One run that looks for a known bug, and what it saw.

use std::path::PathBuf;
use std::time::Duration;

use etcd_history::check;
use etcd_history::record::Nanos;
use etcd_history::{Expectations, History, Record};

use crate::bare::bugs::Bug;
use crate::bare::run::CRASHED;
use crate::bare::{BareError, BareLab, run};
use crate::report::RunDir;
use crate::report::Severity;

/// What one run saw.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Time under load until the record that shows the bug.
    pub shown_after: Option<Duration>,
    /// Time under load.
    pub lasted: Duration,
    /// How bad the run is as a whole.
    pub severity: Severity,
    /// Why.
    pub cause: String,
    /// True when it was ended early.
    pub interrupted: bool,
    /// The run directory.
    pub dir: PathBuf,
}

impl Sighting {
    /// False for a run that was ended before it was over and before it had shown the bug.
    pub fn has_looked(&self) -> bool {
        !self.interrupted || self.shown_after.is_some()
    }
}

/// Looks for a bug in a version of etcd.
///
/// # Errors
/// [`BareError`] when nothing could be run or saved.
pub async fn hunt(
    lab: &BareLab,
    bug: &Bug,
    version: &str,
    seed: u64,
) -> Result<Sighting, BareError> {
    let plan = bug.plan(version, seed);
    let ended = Box::pin(run(lab, &plan)).await?;
    let dir = RunDir::open(&ended.dir)?;
    let history = dir.history()?;
    // A run that was ended early is not judged. It may have shown the bug before.
    let early = || ended.interrupted.then(|| plan.expectations());
    let expectations = dir.expectations()?.or_else(early);
    let checks = bug.checks;
    let looked = tokio::task::spawn_blocking(move || {
        let shown = expectations.and_then(|of| shown_after(&history, &of, checks));
        let shown = shown.or_else(|| crashed_after(&history));
        (shown, under_load(&history))
    });
    let (shown_after, lasted) = match looked.await {
        Ok(looked) => looked,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    Ok(Sighting {
        severity: match shown_after {
            Some(_) => Severity::Violation,
            None => ended.severity,
        },
        shown_after,
        lasted,
        cause: ended.cause,
        interrupted: ended.interrupted,
        dir: ended.dir,
    })
}

fn shown_after(
    history: &History,
    expectations: &Expectations,
    checks: &[&str],
) -> Option<Duration> {
    let begin = begin(history)?;
    let shown = check::first_shown(history, expectations, checks)?;
    Some(between(begin, shown))
}

/// When a member was found that has ended by the panic that is looked for.
fn crashed_after(history: &History) -> Option<Duration> {
    Some(between(begin(history)?, phase(history, CRASHED)?))
}

/// From the first request to the end of the last round.
fn under_load(history: &History) -> Duration {
    let times = begin(history).zip(phase(history, "settle"));
    times.map_or(Duration::ZERO, |(from, to)| between(from, to))
}

fn between(from: Nanos, to: Nanos) -> Duration {
    Duration::from_nanos(to.saturating_sub(from).max(0).unsigned_abs())
}

/// The first request, by the clock of the client that sent it. The phase is on record when the command that started the
/// client has returned, which takes seconds on a busy machine.
fn begin(history: &History) -> Option<Nanos> {
    let calls = history.records.iter().filter_map(|record| match record {
        Record::Call(call) => Some(call.t),
        _ => None,
    });
    calls.min()
}

fn phase(history: &History, wanted: &str) -> Option<Nanos> {
    history.records.iter().find_map(|record| match record {
        Record::Phase { t, name } if name == wanted => Some(*t),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_history::Request;
    use etcd_history::record::{Call, Route};

    #[test]
    fn the_time_under_load_begins_with_the_first_request_and_not_when_it_was_reported() {
        let phase = |t, name: &str| Record::Phase {
            t,
            name: name.to_owned(),
        };
        let call = |t, op| {
            Record::Call(Call {
                t,
                op,
                client: 1,
                route: Route::Member,
                scheduled: t,
                request: Request::Compact { revision: 1 },
            })
        };
        let history = History {
            records: vec![
                phase(1_000, "set_up"),
                call(5_000, 1),
                call(6_000, 2),
                phase(8_000, "warm_up"),
                phase(9_000, "settle"),
            ],
        };
        assert_eq!(under_load(&history), Duration::from_nanos(4_000));
        assert_eq!(under_load(&History::default()), Duration::ZERO);
        assert_eq!(crashed_after(&history), None);
        let mut crashed = history;
        crashed.records.push(phase(7_000, CRASHED));
        let after = Duration::from_nanos(2_000);
        assert_eq!(crashed_after(&crashed), Some(after));
    }
}
