//! Packet rules as data, whichever program holds them: which packets are dropped, and how many were. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Ports that only the harness's own connections leave from; a Linux kernel gives out those below.
pub(crate) const PROBE_PORTS: &str = "61000-65535";

/// Which end of a packet a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Its sender is one of the addresses.
    From,
    /// Its receiver is one of the addresses.
    To,
    /// Sender and receiver are one of the pairs.
    Pair,
}

/// Which ports a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Any protocol and port.
    Any,
    /// Sent to this port.
    To(&'static str, u16),
    /// Sent from this port.
    From(&'static str, u16),
}

/// What is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleSet {
    /// Packets that match one of these.
    pub rules: Vec<(Address, Port)>,
    /// Of them, so many in a hundred; all when absent.
    pub loss_percent: Option<u8>,
    /// True when packets to and from the node's own processes count too (the API server beside an operator).
    pub local: bool,
}

/// The addresses that the rules are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Single addresses, for [`Address::From`] and [`Address::To`].
    pub single: BTreeSet<Ipv4Addr>,
    /// Sender and receiver, for [`Address::Pair`].
    pub pairs: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
}

/// Packets of the cluster's own that met the rules, and of probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// That matched, without those of probes.
    pub seen: u64,
    /// That were dropped, without those of probes.
    pub dropped: u64,
    /// By sender and receiver.
    pub ways: Dropped,
}

impl RuleSet {
    pub(crate) fn hooks(&self) -> &'static [&'static str] {
        if self.local {
            &["forward", "input", "output"]
        } else {
            &["forward"]
        }
    }
}

/// Sender and receiver.
pub(crate) type Way = (Ipv4Addr, Ipv4Addr);

/// What the rules in all nodes have dropped, by sender and receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Packets of the cluster's own.
    pub own: BTreeMap<Way, u64>,
    /// Packets of probes.
    pub probes: BTreeMap<Way, u64>,
}

impl Dropped {
    /// Adds what another node has dropped.
    pub(crate) fn add(&mut self, other: Self) {
        for (way, packets) in other.own {
            *self.own.entry(way).or_default() += packets;
        }
        for (way, packets) in other.probes {
            *self.probes.entry(way).or_default() += packets;
        }
    }
}
