//! The history as columns for a page: numbers beside each other compress well and are read fast.
//!
//! Times are microseconds since the first record. Columns that grow with the history hold differences.
//! [`operations`] is the client operations, [`lanes`] everything else; [`words`] turns requests into short text.

mod build;
pub(crate) mod lanes;
pub(crate) mod operations;
mod span;
pub(crate) mod words;

pub(crate) use build::{Timeline, build};
pub(crate) use span::Span;
