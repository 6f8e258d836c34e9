//! What a fault needs of a machine, and that it is not there.

use std::fmt::Display;

/// What a fault needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The API server only.
    Api,
    /// Shells in the nodes.
    NodeShells,
    /// Signals that stop a process.
    Freezing,
    /// Packet rules in the nodes.
    PacketRules,
    /// Packet rules with chance.
    RandomLoss,
    /// Pausing and starting of nodes, with a switch that undoes it.
    NodePower,
    /// File systems in a file.
    LoopMount,
    /// A proxy between the members.
    PeerProxy,
    /// Containers that can be paused from here, and their files written.
    BareContainers,
}

impl Need {
    /// What one machine has and another does not.
    pub const OF_MACHINES: [Self; 6] = [
        Self::NodeShells,
        Self::Freezing,
        Self::PacketRules,
        Self::RandomLoss,
        Self::NodePower,
        Self::LoopMount,
    ];

    /// Its name where a user says what a machine may be without.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::NodeShells => "node_shells",
            Self::Freezing => "freezing",
            Self::PacketRules => "packet_rules",
            Self::RandomLoss => "random_loss",
            Self::NodePower => "node_power",
            Self::LoopMount => "loop_mount",
            Self::PeerProxy => "peer_proxy",
            Self::BareContainers => "bare_containers",
        }
    }
}

/// Why something cannot be done here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What was tried and is not there. Nothing where it could not be tried: then it may well be there.
    pub need: Option<Need>,
    /// Why, in words.
    pub reason: String,
}

impl Lack {
    /// This is not there.
    pub fn known(need: Need, reason: impl Into<String>) -> Self {
        Self {
            need: Some(need),
            reason: reason.into(),
        }
    }

    /// Whether it is there could not be tried.
    pub fn untried(reason: impl Into<String>) -> Self {
        Self {
            need: None,
            reason: reason.into(),
        }
    }

    /// With what it is that cannot be done.
    #[must_use]
    pub(crate) fn of(self, what: impl Display) -> Self {
        Self {
            reason: format!("{what}: {}", self.reason),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_need_of_a_machine_has_a_word_of_its_own() {
        let words: BTreeSet<&str> = Need::OF_MACHINES.map(Need::word).into();
        assert_eq!(words.len(), Need::OF_MACHINES.len());
        for every_cluster in [Need::Api, Need::PeerProxy, Need::BareContainers] {
            assert!(!words.contains(every_cluster.word()));
        }
    }
}
