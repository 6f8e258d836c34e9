//! The recorded history of a run and the checks over it.
//!
//! Pure: nothing here has a client, a clock, an unseeded random number or a file handle beyond `std::io` traits. A
//! check reads a [`History`] and returns a verdict; the same history always gives the same verdict.
//!
//! Modules: [`record`] is the file format, [`history`] a whole run in memory, [`index`] the joined view over it,
//! [`check`] one file per property, [`simulate`] a correct etcd that writes histories from a seed: what the checks are
//! tested with and measured on.

pub mod check;
mod hash;
pub mod history;
pub mod index;
pub mod record;
pub mod simulate;

pub use check::{Expectations, Finding, Verdict};
pub use history::History;
pub use record::{Outcome, Record, Request, Response};
