//! Faults of a node as a whole: its power, its kubelet, its Node object.

pub(super) mod harm;
pub(super) mod objects;
mod power;
