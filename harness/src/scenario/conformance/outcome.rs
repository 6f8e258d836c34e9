//! A checklist as what a run has found.

use etcd_history::History;

use super::checklist::Checklist;
use crate::report::{Finding, Verdict};
use crate::scenario::outcome::Found;

pub(super) fn found(list: Checklist) -> Found {
    Found {
        history: History::default(),
        expectations: None,
        verdicts: vec![list.verdict()],
    }
}

/// A verdict of something that was not there to be looked at.
pub(super) fn not_there(check: &'static str, reason: &str) -> Found {
    let verdict = Verdict::new(
        check,
        Finding::Inconclusive {
            reason: reason.to_owned(),
        },
    );
    Found {
        history: History::default(),
        expectations: None,
        verdicts: vec![verdict],
    }
}
