//! Leadership stays, or moves as often as planned: what need not elect costs no election.
//!
//! A term begins with every election, also with the one of a planned move. So the terms that began in a round say how often
//! leadership moved, whatever the clients saw of it, on any machine.

use super::Case;
use super::rounds::{Round, rounds};
use super::verdict::{Findings, Verdict};
use crate::record::Nanos;

/// Name of the check.
const CHECK: &str = "elections";

/// Judges how many terms began in each round.
pub(super) fn check(case: &Case<'_>, most: u64) -> Verdict {
    let mut findings = Findings::default();
    let mut terms: Vec<(Nanos, u64)> = case
        .index
        .members
        .iter()
        .filter_map(|sample| Some((sample.t, sample.status.as_ref()?.term)))
        .collect();
    terms.sort_unstable();
    for Round { number, window, .. } in rounds(case.index) {
        let begin = terms.partition_point(|(t, _)| *t < window.from);
        let end = terms.partition_point(|(t, _)| *t <= window.to);
        let highest = |samples: &[(Nanos, u64)]| samples.iter().map(|(_, term)| *term).max();
        let (Some(before), Some(after)) = (highest(&terms[..begin]), highest(&terms[begin..end]))
        else {
            findings.doubt(format!(
                "no member told its term before and in round {number}"
            ));
            continue;
        };
        let began = after.saturating_sub(before);
        let count = usize::try_from(began).unwrap_or(usize::MAX);
        findings.count(format!("round_{number}.terms"), count);
        if began > most {
            let allowed = match most {
                0 => "it must stay".to_owned(),
                most => format!("{most} is allowed"),
            };
            findings.violation(
                format!(
                    "leadership moved {began} times in round {number} (from term {before} to {after}), {allowed}"
                ),
                Vec::new(),
            );
        }
    }
    findings.verdict(CHECK)
}
