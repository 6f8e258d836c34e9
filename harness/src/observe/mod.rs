//! Placeholder: written by its own room.
