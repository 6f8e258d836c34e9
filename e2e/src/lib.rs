//! The scenarios live in `tests/`; this library is empty so that the crate builds anywhere.
