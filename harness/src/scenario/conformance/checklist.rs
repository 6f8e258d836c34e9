//! A list of assertions: all are evaluated, and all failures reported.

use std::fmt::Debug;

use crate::report::{Finding, Verdict};
use crate::scenario::Live;

/// Most wrong things that one explanation tells.
const TOLD: usize = 12;

/// What was looked at and what was wrong.
pub(super) struct Checklist {
    name: &'static str,
    live: Live,
    looked_at: u32,
    wrong: Vec<String>,
    figures: Vec<(&'static str, f64)>,
}

impl Checklist {
    pub(super) fn new(name: &'static str, live: Live) -> Self {
        Self {
            name,
            live,
            looked_at: 0,
            wrong: Vec::new(),
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
            0 if self.looked_at == 0 => Finding::Inconclusive {
                reason: "nothing was looked at".to_owned(),
            },
            0 => Finding::Pass,
            count => {
                let more = if count > TOLD {
                    format!("; and {} more", count - TOLD)
                } else {
                    String::new()
                };
                let told = self.wrong[..count.min(TOLD)].join("; ");
                Finding::Violation {
                    explanation: format!("{told}{more}"),
                    ops: Vec::new(),
                }
            }
        };
        let mut verdict = Verdict::new(self.name, finding);
        let looked_at = [("looked_at", f64::from(self.looked_at))];
        let all = looked_at.into_iter().chain(self.figures);
        verdict.figures = all.map(|(name, value)| (name.to_owned(), value)).collect();
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
