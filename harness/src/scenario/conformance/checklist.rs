//! A list of assertions: all are evaluated, and all failures reported.

use std::fmt::Debug;

use crate::report::{Finding, Verdict};
use crate::scenario::Live;
use crate::scenario::blame::{Blame, Blamed};

/// Most wrong things that one explanation tells.
const TOLD: usize = 12;

/// What was looked at and what was wrong.
pub(super) struct Checklist {
    name: &'static str,
    live: Live,
    looked_at: u32,
    wrong: Vec<String>,
    /// What the harness could not do itself.
    doubts: Vec<String>,
    figures: Vec<(&'static str, f64)>,
}

impl Checklist {
    pub(super) fn new(name: &'static str, live: Live) -> Self {
        Self {
            name,
            live,
            looked_at: 0,
            wrong: Vec::new(),
            doubts: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Something that must hold.
    pub(super) fn holds(&mut self, what: impl AsRef<str>, held: bool) {
        self.looked_at += 1;
        if !held {
            self.wrong(what.as_ref().to_owned());
        }
    }

    /// Something that must have a value.
    pub(super) fn equals<T: PartialEq + Debug>(
        &mut self,
        what: impl AsRef<str>,
        is: &T,
        wanted: &T,
    ) {
        self.looked_at += 1;
        if is != wanted {
            self.wrong(format!("{} is {is:?}, wanted {wanted:?}", what.as_ref()));
        }
    }

    /// Something that must have come about.
    pub(super) fn came_about<T>(
        &mut self,
        what: impl AsRef<str>,
        result: Result<T, String>,
    ) -> Option<T> {
        self.looked_at += 1;
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(format!("{}: {error}", what.as_ref()));
                None
            }
        }
    }

    /// A step of the run. That the product failed is wrong; where the harness did, or an API server was not reached,
    /// nothing is known.
    pub(super) fn step<T>(
        &mut self,
        what: impl AsRef<str>,
        result: Result<T, impl Blamed>,
    ) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let said = format!("{}: {error}", what.as_ref());
        match error.blame() {
            Blame::Product => self.wrong(said),
            Blame::Either | Blame::Harness => {
                self.live.say(format!("  not known: {said}"));
                self.doubts.push(said);
            }
        }
        None
    }

    /// Something is wrong.
    pub(super) fn wrong(&mut self, what: String) {
        self.live.say(format!("  wrong: {what}"));
        self.wrong.push(what);
    }

    pub(super) fn figure(&mut self, name: &'static str, value: f64) {
        self.figures.push((name, value));
    }

    pub(super) fn verdict(self) -> Verdict {
        let finding = match self.wrong.len() {
            0 if !self.doubts.is_empty() => Finding::Inconclusive {
                reason: told(&self.doubts),
            },
            0 if self.looked_at == 0 => Finding::Inconclusive {
                reason: "nothing was looked at".to_owned(),
            },
            0 => Finding::Pass,
            _ => Finding::Violation {
                explanation: told(&self.wrong),
                ops: Vec::new(),
            },
        };
        let mut verdict = Verdict::new(self.name, finding);
        let looked_at = [("looked_at", f64::from(self.looked_at))];
        let all = looked_at.into_iter().chain(self.figures);
        verdict.figures = all.map(|(name, value)| (name.to_owned(), value)).collect();
        verdict
    }
}

/// The first of these, and how many more there are.
fn told(all: &[String]) -> String {
    let first = all[..all.len().min(TOLD)].join("; ");
    match all.len().saturating_sub(TOLD) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Severity;
    use crate::scenario::RunError;

    #[test]
    fn what_the_harness_failed_at_is_no_fault_of_the_product() {
        let members = || RunError::Wait("3 members ready".to_owned());
        let client = || RunError::Unready("the recording client to run".to_owned());
        let api = || RunError::api("create the Cluster", &"no answer in time");
        let severity = |errors: Vec<RunError>| {
            let mut list = Checklist::new("x", Live::quiet());
            list.holds("this one holds", true);
            for error in errors {
                assert!(list.step("a step", Err::<(), _>(error)).is_none());
            }
            let verdict = list.verdict();
            (verdict.severity(), verdict.explanation().to_owned())
        };
        assert_eq!(severity(vec![]).0, Severity::Pass);
        for error in [client(), api()] {
            let (severity, told) = severity(vec![error]);
            assert_eq!(severity, Severity::Inconclusive);
            assert!(told.starts_with("a step: "), "{told}");
        }
        let (severity, told) = severity(vec![client(), members()]);
        assert_eq!(severity, Severity::Violation);
        assert!(told.contains("3 members ready"), "{told}");
        let mut list = Checklist::new("x", Live::quiet());
        assert_eq!(list.step("a step", Ok::<_, RunError>(7)), Some(7));
    }

    #[test]
    fn everything_wrong_is_told_and_nothing_looked_at_is_no_pass() {
        let mut list = Checklist::new("x", Live::quiet());
        list.equals("the port", &1, &2);
        list.holds("the label is there", false);
        list.holds("this one holds", true);
        let verdict = list.verdict();
        assert!(
            verdict
                .explanation()
                .contains("the port is 1, wanted 2; the label is there")
        );
        assert_eq!(verdict.figures["looked_at"], 3.0);
        let empty = Checklist::new("x", Live::quiet()).verdict();
        assert!(matches!(empty.finding, Finding::Inconclusive { .. }));
    }
}
