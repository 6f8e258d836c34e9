//! What a run has found, and how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;

use etcd_history::History;
use etcd_history::check::{self, Expectations, Lateness};

use crate::report::Severity;
use crate::report::{Finding, RunDir, RunDirError, Verdict};
use crate::scenario::{Took, interrupt, leftovers};

/// How a run ended.
#[derive(Clone, Debug)]
pub struct TrialResult {
    /// Name of the trial.
    pub trial: String,
    /// Members of the cluster.
    pub members: u32,
    /// How bad it is.
    pub severity: Severity,
    /// True when a gap over its limit is all that is wrong.
    pub only_the_gap: bool,
    /// Whether what it claims about time was judged.
    pub time: Time,
    /// True when it was interrupted; `cause` then says whether it is healed.
    pub interrupted: bool,
    /// The first of the worst verdicts, in words; empty for a pass.
    pub cause: String,
    /// Longest time without an acknowledged write, over the rounds.
    pub gaps: Option<Gaps>,
    /// Operations that were judged.
    pub operations: usize,
    /// Seconds from begin to verdict.
    pub seconds: f64,
    /// How many of them came before its turn.
    pub ahead_s: f64,
    /// Seconds of each of its phases; those that came more than once are added up.
    pub phases: BTreeMap<String, f64>,
    /// How long its operations and repairs took, beside what is to be reached.
    pub took: Vec<Took>,
    /// The run directory.
    pub dir: PathBuf,
}

impl TrialResult {
    /// What its saved history says of gaps; nothing where it was judged by no expectations.
    ///
    /// # Errors
    /// [`RunDirError`] when it cannot be read.
    pub fn lateness(&self) -> Result<Option<Lateness>, RunDirError> {
        let dir = RunDir::open(&self.dir)?;
        let Some(expectations) = dir.expectations()? else {
            return Ok(None);
        };
        Ok(Some(check::lateness(&dir.history()?, &expectations)))
    }
}

/// Longest times without an acknowledged write in milliseconds: through the service on new connections, on held ones,
/// and for the client that dials all members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaps {
    /// The median of the rounds.
    pub median: [f64; 3],
    /// The longest of all rounds.
    pub most: [f64; 3],
}

impl Gaps {
    /// As the check of continuity measured them; absent when it did not.
    pub(super) fn of(verdicts: &[Verdict]) -> Option<Self> {
        let mut verdicts = verdicts.iter();
        let figures = &verdicts
            .find(|verdict| verdict.check == check::CONTINUITY)?
            .figures;
        let figure = |route: &str, what: &str| figures.get(&format!("{route}.{what}")).copied();
        let of = |what: &str| {
            let [new, held, all] = ["service_fresh", "service_held", "dial_all"];
            Some([figure(new, what)?, figure(held, what)?, figure(all, what)?])
        };
        Some(Self {
            median: of("median_ms")?,
            most: of("most_ms")?,
        })
    }
}

/// Whether what a run claims about time was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// All of it was.
    Judged,
    /// Some of it was not: the machine was too busy to tell.
    NotJudged,
    /// It claims nothing about time.
    NoClaim,
}

impl Time {
    /// The word for it in a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::NotJudged => "not judged",
            Self::NoClaim => "-",
        }
    }
}

/// What a run has found.
pub(crate) struct Found {
    pub(crate) history: History,
    pub(crate) expectations: Option<Expectations>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// What is found in a run that was interrupted: nothing is judged of half a history, but it says whether it was healed.
pub(crate) fn cut_short(found: Found) -> Found {
    let mut verdicts = found.verdicts.iter();
    let left = [leftovers::CHECK, "faults"];
    let trouble = verdicts.find(|verdict| left.contains(&&*verdict.check));
    let reason = trouble.map_or("healed", |verdict| verdict.explanation());
    let reason = reason.to_owned();
    Found {
        verdicts: vec![Verdict::new(
            interrupt::CHECK,
            Finding::Inconclusive { reason },
        )],
        expectations: None,
        history: found.history,
    }
}

/// Whether what a run claims about time was judged.
pub(super) fn time(found: &Found) -> Time {
    let judged = |verdict: &Verdict| verdict.severity() != Severity::NotJudged;
    match &found.expectations {
        Some(expectations) if expectations.claims_time() => {
            if found.verdicts.iter().all(judged) {
                Time::Judged
            } else {
                Time::NotJudged
            }
        }
        _ => Time::NoClaim,
    }
}

/// True when continuity is violated and nothing else is.
pub(super) fn only_the_gap(verdicts: &[Verdict]) -> bool {
    let mut violated = verdicts
        .iter()
        .filter(|verdict| verdict.severity() == Severity::Violation)
        .peekable();
    violated.peek().is_some() && violated.all(|verdict| verdict.check == check::CONTINUITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::worst;

    #[test]
    fn an_interrupted_run_is_never_green() {
        let found = |verdicts| Found {
            history: History::default(),
            expectations: None,
            verdicts,
        };
        let cut = cut_short(found(vec![Verdict::new("created", Finding::Pass)]));
        let (severity, cause) = worst(&cut.verdicts);
        assert_eq!(severity, Severity::Inconclusive);
        assert_eq!(cause.expect("a cause").explanation(), "healed");
        let reason = "something of `x` is left: a rule".to_owned();
        let left = Verdict::new("faults", Finding::Inconclusive { reason });
        let cut = cut_short(found(vec![left]));
        assert!(cut.verdicts[0].explanation().contains("a rule"));
    }
}
