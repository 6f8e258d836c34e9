//! The scenarios live in `tests/`; here is what they need and what can be tested without a cluster.

pub mod part;
pub mod relay;
pub mod required;
pub mod spent;
pub mod unjudged;
