//! A run that is late by its medians alone. Five rounds of a healthy system are now and then slower in the middle than
//! usual; ten rarely are. So another run of the same plan is made, and the rounds of both are one sample.

use super::all::with_case;
use super::continuity::{self, GapSamples};
use super::expectations::{Expectations, GapBudget};
use super::verdict::Severity;
use super::{Case, Verdict};
use crate::history::History;

/// What a run says of the time without a successful write.
#[derive(Clone, Debug, PartialEq)]
pub struct Lateness {
    /// True when it is late, and would not be without the limits of medians: no round was far out.
    pub by_median: bool,
    /// Its rounds, those left out that the machine has spoiled.
    pub gaps: GapSamples,
}

/// Looks at the gaps of a run once more.
pub fn lateness(history: &History, expectations: &Expectations) -> Lateness {
    with_case(history, expectations, |case| Lateness {
        by_median: is_late(&continuity::check(case)) && !is_late(&without_medians(case)),
        gaps: GapSamples::of_case(case),
    })
}

fn is_late(verdict: &Verdict) -> bool {
    verdict.severity() == Severity::Violation
}

fn without_medians(case: &Case<'_>) -> Verdict {
    let gaps = case.expectations.gaps.iter();
    let gaps = gaps.map(|budget| GapBudget {
        median_ms: None,
        ..budget.clone()
    });
    let expectations = Expectations {
        gaps: gaps.collect(),
        ..case.expectations.clone()
    };
    continuity::check(&Case {
        expectations: &expectations,
        pods: case.pods.clone(),
        ..*case
    })
}
