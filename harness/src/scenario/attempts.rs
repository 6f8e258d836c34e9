//! How often a trial is made, and what decides. Pure.
//!
//! A run that proves nothing is made again: a fault without effect, too little traffic, no run at all because the API
//! server did not answer. So is one that is late by the median of its rounds and by nothing else: the rounds of both
//! runs are one sample then. Every other run decides: what must never happen is red the first time it is seen, and a
//! round that was far out is late.

use etcd_history::check::{GapSamples, Lateness};

use crate::report::Severity;

/// How often a trial is made at most.
const MOST: usize = 3;

/// Fewest rounds of a run that add to those of another.
const ROUNDS_MIN: usize = 3;

/// A run of a trial.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// How it ended; one that could not be made, or not saved, proves nothing either.
    pub severity: Severity,
    /// Its gaps, where it or one before it may be late by medians.
    pub lateness: Option<Lateness>,
}

/// What decides over the runs of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another run is needed.
    Again(&'static str),
    /// The last run decides.
    Last(Severity),
    /// All rounds of the runs that were not futile decide; what is said of them.
    Together(Severity, String),
}

impl Attempt {
    /// One of which nothing more need be known.
    pub fn of(severity: Severity) -> Self {
        Self {
            severity,
            lateness: None,
        }
    }

    fn is_late_by_median(&self) -> bool {
        let of = self.lateness.as_ref();
        self.severity == Severity::Violation && of.is_some_and(|of| of.by_median)
    }

    fn gaps(&self) -> Option<&GapSamples> {
        let gaps = &self.lateness.as_ref()?.gaps;
        (gaps.rounds().len() >= ROUNDS_MIN).then_some(gaps)
    }
}

/// The verdict over the runs of a trial whose medians are not compared, the last of which decided; `None` while another
/// one is needed.
pub fn verdict(runs: &[Severity]) -> Option<Severity> {
    let runs: Vec<_> = runs.iter().copied().map(Attempt::of).collect();
    match decide(&runs) {
        Decision::Again(_) => None,
        Decision::Last(severity) | Decision::Together(severity, _) => Some(severity),
    }
}

/// Decides over the runs of a trial; another one is needed while there is none.
pub fn decide(runs: &[Attempt]) -> Decision {
    let Some(last) = runs.last() else {
        return Decision::Again("there is none yet");
    };
    let more = runs.len() < MOST;
    let late = runs.iter().find(|run| run.is_late_by_median());
    match (last.severity, late) {
        (Severity::Inconclusive, _) if more => Decision::Again("it proved nothing"),
        (Severity::Violation, _) if !last.is_late_by_median() => {
            Decision::Last(Severity::Violation)
        }
        (_, Some(late)) => match together(late, runs) {
            None if more => Decision::Again("it was late by its median alone"),
            None => Decision::Last(Severity::Violation),
            Some(Ok(told)) => Decision::Together(last.severity.min(Severity::NotJudged), told),
            Some(Err(told)) => Decision::Together(Severity::Violation, told),
        },
        (severity, None) => Decision::Last(severity),
    }
}

/// The rounds of a late run and of the others in one sample: whether it is late; nothing where no other run has enough
/// rounds that could be judged.
fn together(late: &Attempt, runs: &[Attempt]) -> Option<Result<String, String>> {
    let own = late.gaps()?;
    let others = runs.iter().filter(|run| !std::ptr::eq(*run, late));
    let others: Vec<_> = others
        .filter(|run| run.severity != Severity::Inconclusive)
        .filter_map(Attempt::gaps)
        .collect();
    let count = others.len() + 1;
    if count < 2 {
        return None;
    }
    let all = own.clone().with(others);
    let rounds = all.rounds().len();
    Some(match all.over() {
        None => Ok(format!(
            "late in one run, and not with the {rounds} rounds of {count} runs in one sample"
        )),
        Some(over) => Err(format!("{over} (those of {count} runs)")),
    })
}

#[cfg(test)]
mod tests {
    use etcd_history::check::GapBudget;
    use etcd_history::record::Route;

    use super::*;
    use Severity::{Inconclusive, NotJudged, Pass, Violation};

    fn last(severities: &[Severity]) -> Decision {
        let runs: Vec<_> = severities.iter().copied().map(Attempt::of).collect();
        decide(&runs)
    }

    /// A run of rounds with these gaps, of which 100 ms are allowed in the median.
    fn run(severity: Severity, ms: &[f64]) -> Attempt {
        let budget = GapBudget {
            route: Route::ServiceFresh,
            median_ms: Some(100.0),
            limit_ms: 500.0,
            over_dial_all: false,
        };
        let rounds = ms.iter().map(|ms| vec![*ms]).collect();
        Attempt {
            severity,
            lateness: Some(Lateness {
                by_median: severity == Violation,
                gaps: GapSamples::new(vec![budget], rounds),
            }),
        }
    }

    #[test]
    fn a_run_that_proves_nothing_is_made_again_and_others_are_not() {
        assert!(matches!(last(&[]), Decision::Again(_)));
        for decides in [Pass, NotJudged, Violation] {
            let decided = Decision::Last(decides);
            assert_eq!(last(&[decides]), decided);
            assert_eq!(last(&[Inconclusive, Inconclusive, decides]), decided);
        }
        assert!(matches!(last(&[Inconclusive]), Decision::Again(_)));
        assert!(matches!(last(&[Inconclusive; 2]), Decision::Again(_)));
        assert_eq!(last(&[Inconclusive; 3]), Decision::Last(Inconclusive));
    }

    #[test]
    fn a_median_over_its_limit_is_held_against_the_rounds_of_another_run() {
        let late = || run(Violation, &[90.0, 105.0, 110.0, 120.0, 95.0]);
        let said = Decision::Again("it was late by its median alone");
        assert_eq!(decide(&[late()]), said);
        let usual = run(Pass, &[80.0, 90.0, 85.0, 99.0, 120.0]);
        let Decision::Together(Pass, told) = decide(&[late(), usual]) else {
            panic!("ten rounds with a median of 97");
        };
        assert!(told.contains("10 rounds of 2 runs"), "{told}");
        // As fast as the late one was slow: the sample says that it is slow.
        let near = run(Pass, &[99.0, 110.0, 101.0, 98.0, 100.0]);
        let Decision::Together(Violation, told) = decide(&[late(), near]) else {
            panic!("ten rounds with a median of 100.5");
        };
        assert!(
            told.contains("in the median of 10 rounds, 100 ms"),
            "{told}"
        );
        let Decision::Together(Violation, _) = decide(&[late(), late()]) else {
            panic!("late twice");
        };
    }

    #[test]
    fn nothing_else_takes_a_late_run_back() {
        let late = || run(Violation, &[90.0, 105.0, 110.0, 120.0, 95.0]);
        // What the machine has spoiled adds nothing, and neither does what proves nothing.
        let spoiled = || run(NotJudged, &[90.0]);
        assert!(matches!(decide(&[late(), spoiled()]), Decision::Again(_)));
        assert_eq!(
            decide(&[late(), spoiled(), spoiled()]),
            Decision::Last(Violation)
        );
        let futile = run(Inconclusive, &[10.0; 5]);
        assert!(matches!(
            decide(&[late(), futile.clone()]),
            Decision::Again(_)
        ));
        assert_eq!(
            decide(&[late(), futile.clone(), futile]),
            Decision::Last(Violation)
        );
        // Another violation decides at once.
        let wrong = Attempt::of(Violation);
        assert_eq!(decide(&[late(), wrong]), Decision::Last(Violation));
        let far_out = Attempt {
            lateness: Some(Lateness {
                by_median: false,
                ..late().lateness.expect("its gaps")
            }),
            severity: Violation,
        };
        assert_eq!(decide(&[far_out]), Decision::Last(Violation));
    }

    #[test]
    fn what_the_other_run_could_not_judge_is_not_judged() {
        let late = run(Violation, &[90.0, 105.0, 110.0, 120.0, 95.0]);
        let other = run(NotJudged, &[80.0, 90.0, 85.0]);
        let decided = decide(&[late, other]);
        assert!(matches!(decided, Decision::Together(NotJudged, _)));
    }
}
