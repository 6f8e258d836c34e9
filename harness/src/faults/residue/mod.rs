//! What faults have left on a cluster: found, and removed. What is looked for in a node is one script ([`node`]).

mod find;
mod node;
mod remove;
#[cfg(test)]
mod test_support;

pub(crate) use find::{Leftover, Residue, Site, find, settle};
pub(crate) use remove::{Removal, remove};
