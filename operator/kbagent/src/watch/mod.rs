//! Knows the own member: polls it closely, names its leader, publishes what changed.
//!
//! [`view`] is pure and decides what a poll means and whether it matters; the other files do the asking. Must not act
//! on what it sees.

mod first_write;
mod hint;
mod hold;
mod log;
mod names;
mod removed;
mod standing;
mod v2store;
mod view;
mod volume;
mod watcher;

pub(crate) use first_write::FirstWrite;
pub(crate) use hold::{AGAIN, End, until_it_ends};
pub(crate) use view::{Knowledge, Own, Refusal};
pub(crate) use watcher::{Trouble, start};
