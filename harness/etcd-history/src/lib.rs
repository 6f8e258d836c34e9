//! The recorded history of a run and the checks over it.
//!
//! Pure: nothing here has a client, a clock, an unseeded random number or a file handle beyond `std::io` traits. A
//! check reads a [`History`] and returns a verdict; the same history always gives the same verdict.
//!
//! Modules: [`record`] is the file format, [`binary`] its binary form, [`history`] a whole run in memory, [`index`] the
//! joined view over it, [`check`] one file per property, [`registers`] for histories without revisions, [`simulate`] a
//! correct etcd that writes histories from a seed: what the checks are tested with and measured on.
//!
//! ```
//! use etcd_history::check::{self, Expectations, Finding};
//! use etcd_history::simulate::{Plan, Variety, simulate};
//! use etcd_history::History;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A file, as a recording client writes it.
//! let mut file = Vec::new();
//! simulate(&Plan::default()).write(&mut file)?;
//!
//! let history = History::read(file.as_slice())?;
//! assert!(check::linearizable(&history).passed());
//!
//! // An etcd of which one member has another value for a key.
//! let variety = Variety { diverges: true, ..Variety::default() };
//! let wrong = simulate(&Plan { variety, ..Plan::default() });
//! let verdicts = check::all(&wrong, &Expectations::default());
//! assert!(verdicts.iter().any(|verdict| matches!(verdict.finding, Finding::Violation { .. })));
//!
//! // Where nothing was seen, nothing is proved.
//! let nothing = check::linearizable(&History::default());
//! assert!(matches!(nothing.finding, Finding::Inconclusive { .. }));
//! # Ok(())
//! # }
//! ```

pub mod binary;
pub mod check;
mod error;
mod hash;
pub mod history;
pub mod index;
mod parts;
pub mod record;
pub mod registers;
pub mod simulate;

pub use check::{Expectations, Finding, Severity, Verdict};
pub use history::History;
pub use record::{Outcome, Record, Request, Response};
