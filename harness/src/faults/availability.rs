//! What is possible here, asked before a fault is injected.

use crate::faults::{Absence, Capabilities, DataLoss, Fault, Lack, Need, OperatorFault};

/// Whether a fault is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is.
    Available,
    /// It is not; why.
    Unavailable(Lack),
}

/// Why one of these faults is not possible; nothing where all are.
pub fn impossible(faults: &[Fault], capabilities: &Capabilities) -> Option<Lack> {
    faults
        .iter()
        .find_map(|fault| match availability(fault, capabilities) {
            Availability::Available => None,
            Availability::Unavailable(lack) => Some(lack.of(fault)),
        })
}

/// What a fault needs.
pub fn need(fault: &Fault) -> Need {
    match fault {
        Fault::DeletePod { .. } => Need::Api,
        Fault::LoseData {
            how: DataLoss::ClaimDeleted | DataLoss::ClaimAlone,
            ..
        } => Need::Api,
        Fault::KillProcess { .. }
        | Fault::KeepKilling { .. }
        | Fault::ExhaustMemory { .. }
        | Fault::Starve { .. }
        | Fault::Elect { .. }
        | Fault::FillQuota
        | Fault::WrongTemplate
        | Fault::FloodAgents
        | Fault::CorruptData { .. }
        | Fault::StopKubelet { .. }
        | Fault::ControlPlane {
            how: Absence::Stopped,
            ..
        } => Need::NodeShells,
        Fault::FreezeProcess { .. }
        | Fault::FreezeDns
        | Fault::LoseData { .. }
        | Fault::ControlPlane {
            how: Absence::Frozen,
            ..
        }
        | Fault::Operator {
            how: OperatorFault::Paused,
            ..
        } => Need::Freezing,
        Fault::Operator {
            how: OperatorFault::CutOff,
            ..
        } => Need::PacketRules,
        Fault::Operator {
            how: OperatorFault::Replaced,
            ..
        } => Need::Api,
        Fault::Operator { .. } => Need::NodeShells,
        Fault::Isolate { .. }
        | Fault::Split { .. }
        | Fault::Bridge { .. }
        | Fault::DropDns { .. } => Need::PacketRules,
        Fault::LosePackets { .. } => Need::RandomLoss,
        Fault::PauseNode { .. } | Fault::RestartNode { .. } | Fault::KillNode { .. } => {
            Need::NodePower
        }
        Fault::FillDisk { .. } => Need::LoopMount,
        Fault::DisturbPeers { .. } => Need::PeerProxy,
        Fault::FreezeInTurns { .. }
        | Fault::HarmPackets { .. }
        | Fault::SlowDisk { .. }
        | Fault::LosePower { .. }
        | Fault::FailDisk { .. }
        | Fault::FailReads { .. }
        | Fault::ChangeVersion { .. }
        | Fault::Failpoint { .. }
        | Fault::ShiftClock { .. }
        | Fault::DriftClock { .. }
        | Fault::DamageLog { .. } => Need::BareContainers,
    }
}

/// Whether a fault is possible on a cluster with these capabilities.
pub fn availability(fault: &Fault, capabilities: &Capabilities) -> Availability {
    capabilities
        .lacks(need(fault))
        .map_or(Availability::Available, Availability::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Deletion, Selector};

    #[test]
    fn pod_faults_work_on_any_cluster_and_node_faults_say_why_not() {
        let lack = Lack::known(Need::NodeShells, "no Docker answers here");
        let anywhere = Capabilities {
            node_shells: Some(lack.clone()),
            ..Default::default()
        };
        let delete = Fault::DeletePod {
            of: Selector::Leader,
            how: Deletion::Forced,
        };
        assert_eq!(availability(&delete, &anywhere), Availability::Available);
        let split = Fault::Split {
            side: Selector::Minority,
            direction: crate::faults::Direction::Both,
        };
        assert_eq!(
            availability(&split, &anywhere),
            Availability::Unavailable(lack)
        );
    }

    #[test]
    fn what_a_kernel_or_a_docker_cannot_do_has_a_reason() {
        let weak = Capabilities {
            nft: true,
            nft_random: true,
            node_power: Some("Docker's socket cannot be mounted".into()),
            ..Default::default()
        };
        let of = || Selector::Leader;
        let needs = [
            (Fault::FillDisk { of: of() }, "mount a file"),
            (Fault::FreezeDns, "stopped by a signal"),
            (
                Fault::PauseNode {
                    of: crate::faults::NodeSelector::Of(of()),
                },
                "socket cannot be mounted",
            ),
        ];
        for (fault, why) in needs {
            let lack = impossible(std::slice::from_ref(&fault), &weak).expect("a reason");
            assert_eq!(lack.need, Some(need(&fault)));
            let reason = lack.reason;
            assert!(
                reason.contains(why) && reason.contains(&fault.to_string()),
                "{reason}"
            );
        }
        let cut = Fault::DropDns { of: Selector::All };
        assert_eq!(impossible(&[cut], &weak), None);
    }

    #[test]
    fn what_only_bare_members_have_is_refused_with_where_there_is_one() {
        let strong = Capabilities {
            nft: true,
            nft_random: true,
            sigstop: true,
            loop_mount: true,
            ..Default::default()
        };
        let late = Fault::DisturbPeers {
            of: Selector::Leader,
            how: crate::faults::Disturbance::Throttle { bytes_s: 1000 },
            direction: crate::faults::Direction::Both,
        };
        let turns = Fault::FreezeInTurns {
            of: Selector::Leader,
            frozen_ms: 100,
            runs_ms: 100,
        };
        let torn = Fault::DamageLog {
            of: Selector::Leader,
            how: crate::faults::LogDamage::Torn,
        };
        let slow = Fault::SlowDisk {
            of: Selector::Leader,
            writes_s: 1,
        };
        let power = Fault::LosePower {
            of: Selector::Leader,
            lost: crate::faults::Unsynced::All,
        };
        let failing = Fault::FailDisk {
            of: Selector::Leader,
        };
        let unreadable = Fault::FailReads {
            of: Selector::Leader,
            what: crate::faults::Unreadable::Log,
        };
        let failpoint = Fault::Failpoint {
            of: Selector::Leader,
            at: vec!["raftBeforeSave".to_owned()],
            action: crate::faults::FailAction::Panic,
        };
        let packets = Fault::HarmPackets {
            of: Selector::Leader,
            how: crate::faults::PacketHarm::Reorder,
            percent: 5,
        };
        let clock = Fault::ShiftClock {
            of: Selector::Leader,
            seconds: 1,
        };
        let drift = Fault::DriftClock {
            of: Selector::Leader,
            clock: crate::faults::EtcdClock::TimeOfDay,
            percent: 110,
        };
        for fault in [
            late, turns, torn, slow, power, failing, unreadable, failpoint, packets, clock, drift,
        ] {
            let reason = impossible(&[fault], &strong).expect("a reason").reason;
            assert!(reason.contains("harness bare"), "{reason}");
        }
    }

    #[test]
    fn iptables_stands_in_for_nft() {
        let old = Capabilities {
            iptables: true,
            ..Default::default()
        };
        let loss = Fault::LosePackets {
            of: Selector::Leader,
            traffic: crate::faults::Traffic::All,
            percent: 5,
        };
        let cut = Fault::DropDns { of: Selector::All };
        assert_eq!(availability(&cut, &old), Availability::Available);
        assert!(matches!(
            availability(&loss, &old),
            Availability::Unavailable(_)
        ));
    }
}
