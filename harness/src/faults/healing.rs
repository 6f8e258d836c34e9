//! What healing a fault has shown: facts, and whatever makes it doubtful that the fault was on as long as planned.

use std::fmt;

use crate::faults::Evidence;

/// A fault that was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    /// Figures and facts.
    pub evidence: Evidence,
    /// Why the fault was not what the plan says; with one of these the run proves nothing.
    pub doubts: Vec<String>,
}

impl Healing {
    /// With one more doubt.
    pub(crate) fn doubt(&mut self, reason: impl Into<String>) {
        self.doubts.push(reason.into());
    }

    /// Something else ended the fault at this place before it was healed.
    pub(crate) fn early(&mut self, place: impl fmt::Display, by: &str) {
        self.doubt(format!(
            "the fault was shorter than planned: {place} healed early by {by}"
        ));
    }
}

impl From<Evidence> for Healing {
    fn from(evidence: Evidence) -> Self {
        Self {
            evidence,
            doubts: Vec::new(),
        }
    }
}

impl fmt::Display for Healing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.evidence)?;
        self.doubts
            .iter()
            .try_for_each(|doubt| write!(f, "; {doubt}"))
    }
}
