//! What a check says in the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::OpId;

/// Most operations that one explanation names.
const NAMED_OPS_MAX: usize = 6;
/// Most reasons that are given.
const REASONS_MAX: usize = 3;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The check.
    pub check: &'static str,
    /// What it found.
    pub outcome: Finding,
    /// What it measured and counted; units are at the end of each name.
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
        /// The operations named, at most six.
        #[serde(default)]
        ops: Vec<OpId>,
    },
    /// What it claims about time could not be judged, because the machine was too busy; all else held.
    NotJudged {
        /// How busy, and what was seen.
        reason: String,
    },
    /// The history proves neither.
    Inconclusive {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// True only for a pass.
    pub fn passed(&self) -> bool {
        self.outcome == Finding::Pass
    }
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
        self.first.get_or_insert((explanation, ops));
    }

    pub(crate) fn doubt(&mut self, reason: String) {
        self.doubts.push(reason);
    }

    /// A claim about time, in a window in which the machine was too busy to tell.
    pub(crate) fn not_judged(&mut self, claim: String, why: &str) {
        match self.unjudged.iter_mut().find(|(known, _)| known == why) {
            Some((_, claims)) => claims.push(claim),
            None => self.unjudged.push((why.to_owned(), vec![claim])),
        }
    }

    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64) {
        self.figures.insert(name.into(), value);
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
        let outcome = match self.first {
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
            check,
            outcome,
            figures: self.figures,
        }
    }
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
