//! Dead man's switches: what ends a fault when the harness cannot. In a node a timer ([`deadman`]), beside it a
//! [`container`].

pub(crate) mod container;
pub(crate) mod deadman;
