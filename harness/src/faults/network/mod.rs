//! Faults of the network: what is cut ([`plan`]), by which packet rules ([`rules`], held by [`nft`] or [`iptables`]),
//! on addresses that follow their pods ([`follow`]), and the proof that it is cut ([`probe`]).

pub(super) mod cut;
mod cutoff;
pub(super) mod follow;
mod installed;
pub(super) mod iptables;
pub(super) mod nft;
pub(super) mod plan;
mod probe;
pub(super) mod rules;

pub(crate) use plan::{Cut, parties};
