//! The recorded history of a run and the checks over it.
//!
//! Pure: nothing here has a client, a clock, a random number or a file handle beyond `std::io` traits. A check reads a
//! [`History`] and gives a verdict; the same history gives the same verdict for ever.
//!
//! Rooms: [`record`] is the file format, [`history`] the index over it.

pub mod history;
pub mod record;

pub use history::History;
pub use record::{Outcome, Record, Request, Response};
