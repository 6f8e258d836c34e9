//! The history as columns for a page: numbers beside each other compress well and are read fast.
//!
//! Times are microseconds since the first record. Columns that grow with the history hold differences.
//! [`operations`] is the client operations, [`lanes`] everything else; [`words`] turns requests into short text.

mod build;
pub mod lanes;
pub mod operations;
mod span;
pub mod words;

pub use build::{ROUTES, Timeline, build};
pub use span::Span;
