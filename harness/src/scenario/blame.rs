//! Whose failure an error is. A run that its own plumbing spoiled - the recording client, Docker, a command in a
//! container - says nothing of the product: it is made again.

use std::fmt::Display;

/// Whose failure an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Something of the product did not come about.
    Product,
    /// An API server refused, or did not answer.
    Either,
    /// The harness's own.
    Harness,
}

/// An error that knows whose failure it is.
pub(crate) trait Blamed: Display {
    fn blame(&self) -> Blame;
}
