//! The doctor's findings and how they are printed.

use std::fmt;

use serde::Serialize;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// It works.
    Available,
    /// Something else stands in for it.
    Fallback,
    /// It does not work; what needs it is skipped.
    Unavailable,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Standing::Available => "available",
            Standing::Fallback => "fallback",
            Standing::Unavailable => "unavailable",
        })
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Symptom {
    /// What was looked at.
    pub subject: String,
    /// How it stands.
    pub standing: Standing,
    /// What was seen.
    pub detail: String,
    /// What to do, when it is not available.
    pub remedy: String,
    /// True when nothing works without it.
    pub required: bool,
}

impl Symptom {
    /// A finding that can be lived with.
    pub(crate) fn new(subject: &str, standing: Standing, detail: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            standing,
            detail: detail.to_owned(),
            remedy: String::new(),
            required: false,
        }
    }

    /// A finding that all else rests on.
    pub(crate) fn required(subject: &str, standing: Standing, detail: &str) -> Self {
        Self {
            required: true,
            ..Self::new(subject, standing, detail)
        }
    }

    /// With what to do about it.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: &str) -> Self {
        remedy.clone_into(&mut self.remedy);
        self
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:11}  {:22} {}",
            self.standing, self.subject, self.detail
        )?;
        if !self.remedy.is_empty() {
            write!(f, " -> {}", self.remedy)?;
        }
        Ok(())
    }
}

/// All findings.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Checkup {
    /// In the order in which they were made.
    pub findings: Vec<Symptom>,
}

impl Checkup {
    /// True when nothing that all else rests on is missing.
    pub(crate) fn is_sound(&self) -> bool {
        !self
            .findings
            .iter()
            .any(|finding| finding.required && finding.standing == Standing::Unavailable)
    }
}

impl fmt::Display for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_all_else_rests_on_makes_a_machine_unfit() {
        let mut checkup = Checkup {
            findings: vec![Symptom::new("netem", Standing::Unavailable, "no module")],
        };
        assert!(checkup.is_sound());
        checkup.findings.push(Symptom::required(
            "docker",
            Standing::Unavailable,
            "not running",
        ));
        assert!(!checkup.is_sound());
    }

    #[test]
    fn a_line_shows_standing_subject_detail_and_remedy() {
        let finding = Symptom::new("kind", Standing::Fallback, "not on the PATH")
            .remedy("`harness up` builds it");
        assert_eq!(
            finding.to_string(),
            "fallback     kind                   not on the PATH -> `harness up` builds it"
        );
    }
}
