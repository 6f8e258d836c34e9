//! A checklist as what a run has found.

use etcd_history::History;

use super::checklist::Checklist;
use crate::report::{Finding, Judgement};
use crate::scenario::outcome::Found;

pub(super) fn found(list: Checklist) -> Found {
    Found {
        history: History::default(),
        expectations: None,
        judgements: vec![list.judgement()],
    }
}

/// A judgement of something that was not there to be looked at.
pub(super) fn not_there(check: &str, reason: &str) -> Found {
    let judgement = Judgement::new(
        check,
        Finding::Inconclusive {
            reason: reason.to_owned(),
        },
    );
    Found {
        history: History::default(),
        expectations: None,
        judgements: vec![judgement],
    }
}
