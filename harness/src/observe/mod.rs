//! What the API server shows during a run, as records of its history: pods with their roles, endpoints of the leader
//! service, every version that a watch delivers.
//!
//! Looks and writes down; judges nothing and changes nothing. A watch that breaks is taken up again from a fresh list,
//! so that an API server that was away leaves a hole in the records and not an end.

mod membership;
mod objects;
mod watch;

pub use watch::{Observer, Subject, now};
