//! What earlier faults left behind: looked for before a run, which it would spoil, and after it, for the next one.

use crate::faults::residue::{self, Residue, Site};
use crate::report::{Finding, Verdict};
use crate::scenario::Lab;
use crate::timeouts;

/// Name of the verdict.
pub(super) const CHECK: &str = "residue";

/// Waits until timers have removed what other processes left; a verdict when something stays.
pub(super) async fn before(lab: &Lab) -> Option<Verdict> {
    let site = Site::in_cluster(&lab.cluster);
    let mut told = String::new();
    let residue = residue::settle(&site, timeouts::RESIDUE_BEFORE, |residue| {
        let words = residue.in_words();
        if told != words {
            lab.live.say(format!("waiting until it is gone: {words}"));
            told = words;
        }
    })
    .await;
    verdict(&residue, "leftovers of an earlier run")
}

/// Looks for what this run leaves.
pub(super) async fn after(lab: &Lab) -> Option<Verdict> {
    let site = Site::in_cluster(&lab.cluster);
    let residue = residue::settle(&site, timeouts::RESIDUE_AFTER, |_| {}).await;
    verdict(&residue, "this run left something behind")
}

fn verdict(residue: &Residue, what: &str) -> Option<Verdict> {
    if residue.is_clean() {
        return None;
    }
    let reason = format!(
        "{what}: {}; `harness doctor --residue --fix` removes it",
        residue.in_words()
    );
    Some(Verdict::new(CHECK, Finding::Inconclusive { reason }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::residue::Leftover;
    use crate::report::Severity;

    #[test]
    fn what_is_left_and_what_is_unknown_both_spoil_a_run() {
        let one = || vec![Leftover::new("worker", "packet rules: f1")];
        let left = Residue {
            left: one(),
            ..Residue::default()
        };
        let unknown = Residue {
            unknown: one(),
            ..Residue::default()
        };
        for residue in [left, unknown] {
            let verdict = verdict(&residue, "leftovers of").expect("not clean");
            assert_eq!(verdict.severity(), Severity::Inconclusive);
            assert!(verdict.explanation().contains("packet rules: f1"));
        }
        assert!(verdict(&Residue::default(), "leftovers of").is_none());
    }
}
