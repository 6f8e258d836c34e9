//! Whose failure an error is. A run that its own plumbing spoiled - the recording client, Docker, a command in a
//! container - says nothing of the product: it is made again.

use std::fmt::Display;

use crate::deploy::is_denied;

/// Whose failure an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Something of the product did not come about.
    Product,
    /// An API server refused for a reason of its own, or did not answer.
    Either,
    /// The harness's own.
    Harness,
}

impl Blame {
    /// Of a call that an API server answered so. Its own refusals pass; one of the operator's admission policies that
    /// refuses what must be let through is wrong even if it does so once.
    pub(crate) fn of_answer(answer: &str) -> Self {
        match is_denied(answer) {
            true => Self::Product,
            false => Self::Either,
        }
    }
}

/// An error that knows whose failure it is.
pub(crate) trait Blamed: Display {
    fn blame(&self) -> Blame;
}
