//! How often a trial is made, and what decides. Pure.
//!
//! What must never happen is red the first time it is seen. A run that proves nothing is made again. A gap over its limit
//! is one draw from a distribution: the design's figures are medians, on a machine that others use too, so it is drawn
//! again and the median of five decides. A service that does not follow is late in every one of them.

use crate::report::judgement::Severity;

/// How often a run that proves nothing is made at most: a machine too busy, a fault without effect.
const FUTILE: usize = 3;
/// Of five samples this many are a majority, and the median is among them.
const MAJORITY: usize = 3;

/// How one run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// All promises were kept.
    Kept,
    /// All but one: a gap is over its limit.
    Late,
    /// A promise was broken.
    Broken,
    /// It proves nothing.
    Futile,
}

impl Attempt {
    /// Of a run's verdict; `only_the_gap` when continuity is all that it violated.
    #[must_use]
    pub fn of(severity: Severity, only_the_gap: bool) -> Self {
        match severity {
            Severity::Pass => Self::Kept,
            Severity::Inconclusive => Self::Futile,
            Severity::Violation if only_the_gap => Self::Late,
            Severity::Violation => Self::Broken,
        }
    }
}

/// The verdict over all runs of a trial, the last of which decided; `None` while another one is needed.
#[must_use]
pub fn verdict(attempts: &[Attempt]) -> Option<Severity> {
    let count = |kind| attempts.iter().filter(|attempt| **attempt == kind).count();
    let (kept, late) = (count(Attempt::Kept), count(Attempt::Late));
    if count(Attempt::Broken) > 0 || late >= MAJORITY {
        Some(Severity::Violation)
    } else if kept >= MAJORITY || (late == 0 && kept > 0) {
        Some(Severity::Pass)
    } else if count(Attempt::Futile) >= FUTILE {
        Some(Severity::Inconclusive)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Attempt::{Broken, Futile, Kept, Late};
    use super::*;

    #[test]
    fn what_must_never_happen_is_red_at_once_and_a_gap_by_its_median() {
        let (pass, red, unknown) = (
            Some(Severity::Pass),
            Some(Severity::Violation),
            Some(Severity::Inconclusive),
        );
        let cases: [(&[Attempt], Option<Severity>); 12] = [
            (&[Kept], pass),
            (&[Broken], red),
            (&[Late], None),
            (&[Late, Kept, Kept], None),
            (&[Late, Kept, Kept, Kept], pass),
            (&[Late, Kept, Kept, Late, Late], red),
            (&[Late, Late, Late], red),
            (&[Late, Broken], red),
            (&[Futile], None),
            (&[Futile, Futile, Kept], pass),
            (&[Futile, Futile, Futile], unknown),
            (&[Late, Kept, Futile, Futile, Futile], unknown),
        ];
        for (attempts, expected) in cases {
            assert_eq!(verdict(attempts), expected, "{attempts:?}");
        }
    }

    #[test]
    fn it_ends_whatever_happens() {
        let kinds = [Kept, Late, Broken, Futile];
        let mut open = vec![Vec::new()];
        for _ in 0..2 * (MAJORITY - 1) + FUTILE {
            let longer = open.iter().flat_map(|made: &Vec<Attempt>| {
                kinds.map(|kind| made.iter().copied().chain([kind]).collect())
            });
            open = longer
                .filter(|made: &Vec<Attempt>| verdict(made).is_none())
                .collect();
        }
        assert_eq!(open, Vec::<Vec<Attempt>>::new());
    }
}
