//! What a check says in the end, and how bad that is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::OpId;

/// Most operations that one explanation names.
const NAMED_OPS_MAX: usize = 6;
/// Most reasons that are given.
const REASONS_MAX: usize = 3;

/// The result of one check, as it is stored in a run directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Name of the check.
    pub check: Cow<'static, str>,
    /// What it found.
    #[serde(rename = "outcome")]
    pub finding: Finding,
    /// What it measured and counted; units are at the end of each name.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Finding {
    /// The property held, and there was enough to see it on.
    Pass,
    /// The property was broken.
    Violation {
        /// How, in words.
        explanation: String,
        /// Numbers of the operations that show it, at most six.
        #[serde(default)]
        ops: Vec<OpId>,
    },
    /// A limit of time could not be judged, because the machine was too busy; everything else held.
    NotJudged {
        /// How busy the machine was, and what was measured.
        reason: String,
    },
    /// The history proves neither that the property held nor that it was broken.
    Inconclusive {
        /// Why.
        reason: String,
    },
}

/// How bad a verdict is, or a run by the worst of its verdicts. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The check passed.
    Pass,
    /// It passed, but for claims about time on a machine that was too busy to judge them.
    NotJudged,
    /// It could not tell.
    Inconclusive,
    /// It found a violation.
    Violation,
}

impl Severity {
    /// Its name in reports, e.g. `not-judged`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NotJudged => "not-judged",
            Self::Inconclusive => "inconclusive",
            Self::Violation => "violation",
        }
    }
}

impl Verdict {
    /// A verdict without figures.
    pub fn new(check: impl Into<Cow<'static, str>>, finding: Finding) -> Self {
        Self {
            check: check.into(),
            finding,
            figures: BTreeMap::new(),
        }
    }

    /// True only for a pass.
    pub fn passed(&self) -> bool {
        self.finding == Finding::Pass
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self.finding {
            Finding::Pass => Severity::Pass,
            Finding::NotJudged { .. } => Severity::NotJudged,
            Finding::Inconclusive { .. } => Severity::Inconclusive,
            Finding::Violation { .. } => Severity::Violation,
        }
    }

    /// The explanation or the reason of the finding; empty for a pass.
    pub fn explanation(&self) -> &str {
        match &self.finding {
            Finding::Pass => "",
            Finding::NotJudged { reason } | Finding::Inconclusive { reason } => reason,
            Finding::Violation { explanation, .. } => explanation,
        }
    }
}

/// The severity of a whole run, and the first verdict that has it. There is none for a run that passes, nor for one
/// without a verdict, which is inconclusive.
pub fn worst(verdicts: &[Verdict]) -> (Severity, Option<&Verdict>) {
    let severities = verdicts.iter().map(Verdict::severity);
    let severity = severities.max().unwrap_or(Severity::Inconclusive);
    let cause = verdicts
        .iter()
        .find(|verdict| verdict.severity() == severity)
        .filter(|_| severity != Severity::Pass);
    (severity, cause)
}

/// Collects what a check finds on its way. The first violation is reported whole, since it is next to the cause.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    first: Option<(String, Vec<OpId>)>,
    violations: usize,
    doubts: Vec<String>,
    /// Claims that were not judged, by what kept them from it.
    unjudged: Vec<(String, Vec<String>)>,
    figures: BTreeMap<String, f64>,
}

impl Findings {
    pub(crate) fn violation(&mut self, explanation: String, mut ops: Vec<OpId>) {
        ops.truncate(NAMED_OPS_MAX);
        self.violations += 1;
        self.first
            .get_or_insert_with(|| (on_one_line(explanation), ops));
    }

    /// A reason why nothing is proved; the same one again says no more.
    pub(crate) fn doubt(&mut self, reason: String) {
        let reason = on_one_line(reason);
        if !self.doubts.contains(&reason) {
            self.doubts.push(reason);
        }
    }

    /// A claim about time, in a window in which the machine was too busy to tell.
    pub(crate) fn not_judged(&mut self, claim: String, why: &str) {
        match self.unjudged.iter_mut().find(|(known, _)| known == why) {
            Some((_, claims)) => claims.push(claim),
            None => self.unjudged.push((why.to_owned(), vec![claim])),
        }
    }

    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64) {
        // Others have no place in JSON.
        if value.is_finite() {
            self.figures.insert(name.into(), value);
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^52"
    )]
    pub(crate) fn count(&mut self, name: impl Into<String>, value: usize) {
        self.figure(name, value as f64);
    }

    /// A violation outweighs a doubt: what was seen was seen. A doubt outweighs a claim that was not judged.
    pub(crate) fn verdict(self, check: &'static str) -> Verdict {
        let finding = match self.first {
            Some((explanation, ops)) if self.violations > 1 => Finding::Violation {
                explanation: format!("{explanation} (and {} more)", self.violations - 1),
                ops,
            },
            Some((explanation, ops)) => Finding::Violation { explanation, ops },
            None if !self.doubts.is_empty() => Finding::Inconclusive {
                reason: listed(&self.doubts),
            },
            None if !self.unjudged.is_empty() => Finding::NotJudged {
                reason: unjudged(&self.unjudged),
            },
            None => Finding::Pass,
        };
        Verdict {
            figures: self.figures,
            ..Verdict::new(check, finding)
        }
    }
}

/// Without what a key may have that a terminal would take for an order, or for the end of a line.
fn on_one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let plain = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(plain).collect()
}

fn listed(reasons: &[String]) -> String {
    let more = reasons.len().saturating_sub(REASONS_MAX);
    let mut text = reasons[..reasons.len() - more].join("; ");
    if more > 0 {
        text = format!("{text}; and {more} more");
    }
    text
}

fn unjudged(groups: &[(String, Vec<String>)]) -> String {
    let told = groups
        .iter()
        .map(|(why, claims)| format!("{}: {why}", claims.join(", ")));
    listed(&told.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(check: &'static str) -> Verdict {
        let reason = "no traffic".to_owned();
        Verdict::new(check, Finding::Inconclusive { reason })
    }

    fn bad(check: &'static str) -> Verdict {
        let explanation = "lost".to_owned();
        let ops = vec![OpId::from(4_u32)];
        Verdict::new(check, Finding::Violation { explanation, ops })
    }

    #[test]
    fn the_first_of_the_worst_is_the_cause() {
        let pass = Verdict::new("a", Finding::Pass);
        let reason = "busy".to_owned();
        let late = Verdict::new("e", Finding::NotJudged { reason });
        let all = [pass.clone(), late.clone(), doubt("b"), bad("c"), bad("d")];
        assert_eq!(worst(&all), (Severity::Violation, Some(&all[3])));
        assert_eq!(worst(&all[..3]), (Severity::Inconclusive, Some(&all[2])));
        assert_eq!(worst(&all[..2]), (Severity::NotJudged, Some(&late)));
        assert_eq!(worst(&[pass]), (Severity::Pass, None));
        assert_eq!(worst(&[]), (Severity::Inconclusive, None));
    }

    #[test]
    fn what_a_key_holds_is_neither_a_line_nor_an_order_to_a_terminal() {
        let text = || "k\u{e4}\n\u{1b}[2J is lost".to_owned();
        let plain = "k\u{e4}\\n\\u{1b}[2J is lost";
        let mut findings = Findings::default();
        findings.doubt(text());
        assert_eq!(findings.verdict("a").explanation(), plain);
        let mut findings = Findings::default();
        findings.violation(text(), Vec::new());
        assert_eq!(findings.verdict("a").explanation(), plain);
    }

    #[test]
    fn a_verdict_is_read_back_as_it_was_stored() {
        let mut findings = Findings::default();
        findings.violation("lost".to_owned(), vec![OpId::from(4_u32)]);
        findings.figure("gap_ms", 1.5);
        findings.figure("ratio", f64::NAN);
        let verdict = findings.verdict("a");
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
        let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            stored,
            serde_json::json!({ "check": "a", "figures": { "gap_ms": 1.5 },
                "outcome": { "is": "violation", "explanation": "lost", "ops": [4] } })
        );
    }
}
