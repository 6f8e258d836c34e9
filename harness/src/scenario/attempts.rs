//! How often a trial is made, and what decides. Pure.
//!
//! A run that proves nothing is made again: a fault without effect, too little traffic, no run at all because the API
//! server did not answer. Every other run decides: what must never happen is red the first time it is seen, and a run
//! that was late is late.

use crate::report::Severity;

/// How often a run that proves nothing is made at most.
const FUTILE: usize = 3;

/// What a run counts as: one that could not be made, or not saved, proves nothing either.
pub fn counted<E>(run: Result<Severity, E>) -> Severity {
    run.unwrap_or(Severity::Inconclusive)
}

/// The verdict over all runs of a trial, the last of which decided; `None` while another one is needed.
pub fn verdict(runs: &[Severity]) -> Option<Severity> {
    match runs.last()? {
        Severity::Inconclusive if runs.len() < FUTILE => None,
        severity => Some(*severity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_proves_nothing_is_made_again() {
        use Severity::{Inconclusive, NotJudged, Pass, Violation};
        assert_eq!(verdict(&[]), None);
        for decides in [Pass, NotJudged, Violation] {
            assert_eq!(verdict(&[decides]), Some(decides));
            assert_eq!(
                verdict(&[Inconclusive, Inconclusive, decides]),
                Some(decides)
            );
        }
        assert_eq!(verdict(&[Inconclusive]), None);
        assert_eq!(verdict(&[Inconclusive, Inconclusive]), None);
        assert_eq!(verdict(&[Inconclusive; 3]), Some(Inconclusive));
    }

    #[test]
    fn a_run_that_could_not_be_made_is_made_again() {
        use Severity::{Inconclusive, Pass, Violation};
        let counted = |run: Result<Severity, &str>| counted(run);
        let busy = || counted(Err("no answer in time"));
        assert_eq!(verdict(&[busy()]), None);
        assert_eq!(verdict(&[busy(), counted(Ok(Pass))]), Some(Pass));
        assert_eq!(verdict(&[busy(), counted(Ok(Violation))]), Some(Violation));
        assert_eq!(verdict(&[busy(), busy(), busy()]), Some(Inconclusive));
    }
}
