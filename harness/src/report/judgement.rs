//! A verdict as it is stored in a run directory: what a check found, in words, with its figures.
//!
//! Owned and readable back, so that a page can be redrawn without judging again.

use std::collections::BTreeMap;

pub use etcd_history::check::Finding;
use etcd_history::check::Verdict;
use serde::{Deserialize, Serialize};

/// What one check said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Name of the check.
    pub check: String,
    /// What it found.
    pub outcome: Finding,
    /// What it counted and measured on the way.
    #[serde(default)]
    pub figures: BTreeMap<String, serde_json::Value>,
}

/// How bad a run is as a whole. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All checks passed.
    Pass,
    /// All checks passed, but for claims about time on a machine that was too busy to judge them.
    NotJudged,
    /// Some check could not tell, or there was none.
    Inconclusive,
    /// Some check found a violation.
    Violation,
}

impl Severity {
    /// Exit code of a command that judged: 0 pass (times judged or not), 1 violation, 2 inconclusive.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass | Self::NotJudged => 0,
            Self::Violation => 1,
            Self::Inconclusive => 2,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NotJudged => "not-judged",
            Self::Inconclusive => "inconclusive",
            Self::Violation => "violation",
        }
    }
}

impl Judgement {
    /// A verdict without figures.
    #[must_use]
    pub fn new(check: &str, outcome: Finding) -> Self {
        Self {
            check: check.to_owned(),
            outcome,
            figures: BTreeMap::new(),
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.outcome {
            Finding::Pass => Severity::Pass,
            Finding::NotJudged { .. } => Severity::NotJudged,
            Finding::Inconclusive { .. } => Severity::Inconclusive,
            Finding::Violation { .. } => Severity::Violation,
        }
    }

    /// What was found in words; empty for a pass.
    #[must_use]
    pub fn explanation(&self) -> &str {
        match &self.outcome {
            Finding::Pass => "",
            Finding::NotJudged { reason } | Finding::Inconclusive { reason } => reason,
            Finding::Violation { explanation, .. } => explanation,
        }
    }
}

impl From<&Verdict> for Judgement {
    fn from(verdict: &Verdict) -> Self {
        let figures = verdict
            .figures
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into()));
        Self {
            check: verdict.check.to_owned(),
            outcome: verdict.outcome.clone(),
            figures: figures.collect(),
        }
    }
}

/// The whole run's severity and the verdict that is the cause: the first of the worst. A run without a verdict is
/// inconclusive.
#[must_use]
pub fn worst(verdicts: &[Judgement]) -> (Severity, Option<&Judgement>) {
    let severity = verdicts
        .iter()
        .map(Judgement::severity)
        .max()
        .unwrap_or(Severity::Inconclusive);
    let cause = verdicts
        .iter()
        .find(|verdict| verdict.severity() == severity)
        .filter(|_| severity != Severity::Pass);
    (severity, cause)
}

/// A figure as people read it: no quotes, no endless fractions.
#[must_use]
pub fn figure(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            if number.fract() == 0.0 {
                format!("{number:.0}")
            } else {
                format!("{number:.3}")
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_worst_is_the_cause() {
        let pass = Judgement::new("a", Finding::Pass);
        let unsure = Judgement::new(
            "b",
            Finding::Inconclusive {
                reason: "no traffic".to_owned(),
            },
        );
        let bad = |name| {
            let explanation = "lost".to_owned();
            Judgement::new(
                name,
                Finding::Violation {
                    explanation,
                    ops: vec![],
                },
            )
        };
        let all = [pass.clone(), unsure.clone(), bad("c"), bad("d")];
        let (severity, cause) = worst(&all);
        assert_eq!(
            (severity.exit_code(), cause.unwrap().check.as_str()),
            (1, "c")
        );
        assert_eq!(worst(&[pass.clone(), unsure]).0.exit_code(), 2);
        let late = Judgement::new(
            "e",
            Finding::NotJudged {
                reason: "busy".to_owned(),
            },
        );
        let judged = [pass.clone(), late.clone()];
        let (severity, cause) = worst(&judged);
        assert_eq!((severity, cause), (Severity::NotJudged, Some(&late)));
        assert_eq!(severity.exit_code(), 0, "safety held");
        assert_eq!(worst(&[pass]), (Severity::Pass, None));
        assert_eq!(worst(&[]), (Severity::Inconclusive, None));
    }

    #[test]
    fn a_verdict_is_stored_as_the_check_writes_it() {
        let verdict = Verdict {
            check: "a",
            outcome: Finding::Violation {
                explanation: "lost".into(),
                ops: vec![4],
            },
            figures: [("gap_ms".to_owned(), 1.5)].into(),
        };
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(
            serde_json::from_str::<Judgement>(&text).unwrap(),
            (&verdict).into()
        );
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(figure(&serde_json::json!(12.0)), "12");
        assert_eq!(figure(&serde_json::json!(0.123_456)), "0.123");
        assert_eq!(figure(&serde_json::json!("x")), "x");
    }
}
