//! Faults in words: how they read in a plan, a progress line and a report. Pure.

use std::fmt;

use crate::faults::{
    Absence, DataLoss, Declared, Deletion, Direction, Disturbance, EtcdClock, FailAction, Fault,
    LogDamage, NodeSelector, OperatorFault, PacketHarm, Replicas, Traffic, Unreadable, Unsynced,
};

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::KillProcess { container, of } => write!(f, "kill {} of {of}", container.name()),
            Fault::KeepKilling { container, of } => {
                write!(f, "keep {} of {of} dead", container.name())
            }
            Fault::FreezeProcess { container, of } => {
                write!(f, "freeze {} of {of}", container.name())
            }
            Fault::ExhaustMemory { container, of } => {
                write!(f, "exhaust the memory of {} of {of}", container.name())
            }
            Fault::FreezeInTurns {
                of,
                frozen_ms,
                runs_ms,
            } => write!(
                f,
                "freeze etcd of {of} for {frozen_ms} ms and let it run for {runs_ms} ms in turn"
            ),
            Fault::Starve { of, percent } => {
                write!(
                    f,
                    "leave {percent} % of a processor to each container of {of}"
                )
            }
            Fault::Elect { of } => write!(f, "let {of} campaign"),
            Fault::DeletePod { of, how } => {
                let (verb, manner) = how.words();
                write!(f, "{verb} the pod of {of}{manner}")
            }
            Fault::Isolate { .. }
            | Fault::Split { .. }
            | Fault::Bridge { .. }
            | Fault::LosePackets { .. }
            | Fault::HarmPackets { .. }
            | Fault::DisturbPeers { .. } => self.fmt_network(f),
            Fault::PauseNode { of } => write!(f, "pause {of}"),
            Fault::RestartNode { of } => write!(f, "restart {of}"),
            Fault::KillNode { of, declared } => write!(f, "switch off {of}{}", declared.words()),
            Fault::StopKubelet { of } => write!(f, "stop the kubelet of {of}"),
            Fault::Operator { how, replicas } => write!(f, "{how} {replicas}"),
            Fault::ControlPlane {
                part,
                how: Absence::Stopped,
            } => write!(f, "stop {}", part.name()),
            Fault::ControlPlane {
                part,
                how: Absence::Frozen,
            } => write!(f, "freeze {}", part.name()),
            Fault::DropDns { of } => write!(f, "drop the name lookups of {of}"),
            Fault::FreezeDns => write!(f, "freeze the cluster's DNS servers"),
            Fault::LoseData { of, how } => write!(f, "{} of {of}", how.words()),
            Fault::FloodAgents => write!(f, "flood the agents beside Clusters that cannot be read"),
            Fault::WrongTemplate => write!(f, "ask for more processors than any node has"),
            Fault::FillDisk { .. }
            | Fault::FillQuota
            | Fault::CorruptData { .. }
            | Fault::SlowDisk { .. }
            | Fault::LosePower { .. }
            | Fault::FailDisk { .. }
            | Fault::FailReads { .. }
            | Fault::DamageLog { .. }
            | Fault::ChangeVersion { .. }
            | Fault::Failpoint { .. }
            | Fault::ShiftClock { .. }
            | Fault::DriftClock { .. } => self.fmt_disk(f),
        }
    }
}

impl Fault {
    /// The faults of what is stored, of the steps that store it, and of the time that etcd has.
    fn fmt_disk(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::FillDisk { of } => write!(f, "fill the disk of {of}"),
            Fault::FillQuota => write!(f, "write until etcd's quota is full"),
            Fault::CorruptData { of } => write!(f, "corrupt bytes of the database of {of}"),
            Fault::SlowDisk { of, writes_s } => {
                write!(
                    f,
                    "let {writes_s} writes a second through to the disk of {of}"
                )
            }
            Fault::LosePower { of, lost } => {
                write!(f, "take the power of {of} with {}", lost.words())
            }
            Fault::FailDisk { of } => write!(f, "let every sync of {of} fail"),
            Fault::FailReads { of, what } => {
                write!(
                    f,
                    "kill {of} and let every read of its {} fail",
                    what.words()
                )
            }
            Fault::DamageLog { of, how } => write!(f, "kill {of} and {} its log", how.words()),
            Fault::ChangeVersion { of, in_turn } => {
                let how = if *in_turn {
                    ", one after the other"
                } else {
                    ""
                };
                write!(f, "start {of} with the next version of etcd{how}")
            }
            Fault::Failpoint { of, at, action } => {
                write!(f, "let etcd of {of} {action} at {}", at.join(" or "))
            }
            Fault::ShiftClock { of, seconds } => {
                let way = if *seconds < 0 { "back" } else { "ahead" };
                write!(
                    f,
                    "set the clock of etcd of {of} {} s {way}",
                    seconds.unsigned_abs()
                )
            }
            Fault::DriftClock { of, clock, percent } => {
                let clock = clock.words();
                write!(f, "let the {clock} of etcd of {of} run at {percent} %")
            }
            other => write!(f, "{}", other.name()),
        }
    }

    /// The faults of the network.
    fn fmt_network(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Isolate {
                of,
                traffic,
                direction,
            } => {
                write!(f, "cut {of} off from {}{direction}", traffic.others())
            }
            Fault::Split { side, direction } => {
                write!(f, "cut {side} off from the other members{direction}")
            }
            Fault::Bridge { through } => {
                write!(f, "leave {through} the only bridge between two halves")
            }
            Fault::LosePackets {
                of,
                traffic,
                percent,
            } => {
                write!(
                    f,
                    "lose {percent} % of the packets between {of} and {}",
                    traffic.others()
                )
            }
            Fault::HarmPackets { of, how, percent } => {
                write!(
                    f,
                    "{} {percent} % of the packets between {of} and its peers",
                    how.words()
                )
            }
            Fault::DisturbPeers { of, how, direction } => {
                write!(f, "{how} between {of} and its peers{direction}")
            }
            other => write!(f, "{}", other.name()),
        }
    }
}

impl Deletion {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Deletion::Graceful => ("delete", ""),
            Deletion::Forced => ("delete", " by force"),
            Deletion::Evicted => ("evict", ""),
        }
    }
}

impl Declared {
    const fn words(self) -> &'static str {
        match self {
            Declared::Nothing => "",
            Declared::Gone => " permanently",
            Declared::OutOfService => " and taint it out of service",
        }
    }
}

impl EtcdClock {
    fn words(self) -> &'static str {
        match self {
            EtcdClock::TimeOfDay => "time of day",
            EtcdClock::Monotonic => "monotonic clock",
        }
    }
}

impl DataLoss {
    const fn words(self) -> &'static str {
        match self {
            DataLoss::Wiped => "wipe the data",
            DataLoss::ClaimDeleted => "delete the volume claim and the pod",
            DataLoss::ClaimAlone => "delete the volume claim under the running pod",
        }
    }
}

impl PacketHarm {
    const fn words(self) -> &'static str {
        match self {
            PacketHarm::Duplicate => "double",
            PacketHarm::Corrupt => "flip a bit in",
            PacketHarm::Reorder => "hold back",
        }
    }
}

impl LogDamage {
    const fn words(self) -> &'static str {
        match self {
            LogDamage::Flipped => "flip a bit of",
            LogDamage::Torn => "tear a write at the end of",
        }
    }
}

impl Unreadable {
    const fn words(self) -> &'static str {
        match self {
            Unreadable::Log => "log",
            Unreadable::Snapshots => "snapshots",
        }
    }
}

impl fmt::Display for FailAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailAction::Panic => write!(f, "panic"),
            FailAction::Sleep { ms } => write!(f, "sleep for {ms} ms"),
        }
    }
}

impl Unsynced {
    const fn words(self) -> &'static str {
        match self {
            Unsynced::All => "all that they have not synced",
            Unsynced::Some => "some of what they have not synced",
            Unsynced::LastSecond => "what they have not synced in the last second",
        }
    }
}

impl Traffic {
    const fn others(self) -> &'static str {
        match self {
            Traffic::All => "everybody",
            Traffic::Peer => "its peers",
            Traffic::Client => "its clients",
            Traffic::Agent => "those who ask its agent",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Both => "",
            Direction::Outgoing => " (what it sends)",
            Direction::Incoming => " (what is sent to it)",
        })
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disturbance::Delay { ms, jitter_ms: 0 } => write!(f, "{ms} ms of delay"),
            Disturbance::Delay { ms, jitter_ms } => {
                write!(
                    f,
                    "{ms} to {} ms of delay",
                    u64::from(*ms) + u64::from(*jitter_ms)
                )
            }
            Disturbance::Throttle { bytes_s } => write!(f, "{bytes_s} bytes a second"),
            Disturbance::Flap { down_ms, up_ms } => {
                write!(f, "nothing for {down_ms} ms and all for {up_ms} ms in turn")
            }
            Disturbance::Lose { percent } => write!(f, "{percent} % lost and sent again"),
            Disturbance::Reset { every_ms } => write!(f, "resets every {every_ms} ms"),
        }
    }
}

impl fmt::Display for NodeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeSelector::Of(selector) => write!(f, "the node of {selector}"),
            NodeSelector::Operator => write!(f, "the node of the operator's active replica"),
            NodeSelector::Named(name) => write!(f, "node {name}"),
            NodeSelector::ControlPlane => write!(f, "the control plane's node"),
            NodeSelector::All => write!(f, "every node"),
        }
    }
}

impl fmt::Display for OperatorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OperatorFault::Killed => "kill",
            OperatorFault::Paused => "freeze",
            OperatorFault::CutOff => "cut off from the API server",
            OperatorFault::Replaced => "replace by a rollout",
        })
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Replicas::All => "every replica of the operator",
            Replicas::LeaseHolder => "the operator's active replica",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Container, Selector};

    #[test]
    fn a_clock_is_set_ahead_or_back_or_runs_fast() {
        let set = |of, seconds| Fault::ShiftClock { of, seconds }.to_string();
        assert_eq!(
            set(Selector::Leader, 3600),
            "set the clock of etcd of the leader 3600 s ahead"
        );
        assert_eq!(
            set(Selector::AnyFollower, -60),
            "set the clock of etcd of a follower 60 s back"
        );
        let run = |of, clock, percent| Fault::DriftClock { of, clock, percent }.to_string();
        assert_eq!(
            run(Selector::Leader, EtcdClock::TimeOfDay, 200),
            "let the time of day of etcd of the leader run at 200 %"
        );
        assert_eq!(
            run(Selector::AnyFollower, EtcdClock::Monotonic, 120),
            "let the monotonic clock of etcd of a follower run at 120 %"
        );
    }

    #[test]
    fn a_fault_reads_as_a_sentence() {
        let killed = Fault::KillProcess {
            container: Container::Etcd,
            of: Selector::Leader,
        };
        assert_eq!(killed.to_string(), "kill etcd of the leader");
        let cut = Fault::Isolate {
            of: Selector::Leader,
            traffic: Traffic::Peer,
            direction: Direction::Outgoing,
        };
        assert_eq!(
            cut.to_string(),
            "cut the leader off from its peers (what it sends)"
        );
        let late = Fault::DisturbPeers {
            of: Selector::AnyFollower,
            how: Disturbance::Delay {
                ms: 50,
                jitter_ms: 20,
            },
            direction: Direction::Incoming,
        };
        assert_eq!(
            late.to_string(),
            "50 to 70 ms of delay between a follower and its peers (what is sent to it)"
        );
        let packets = Fault::HarmPackets {
            of: Selector::Leader,
            how: PacketHarm::Corrupt,
            percent: 5,
        };
        assert_eq!(
            packets.to_string(),
            "flip a bit in 5 % of the packets between the leader and its peers"
        );
        let torn = Fault::DamageLog {
            of: Selector::AnyFollower,
            how: LogDamage::Torn,
        };
        assert_eq!(
            torn.to_string(),
            "kill a follower and tear a write at the end of its log"
        );
        let power = Fault::LosePower {
            of: Selector::All,
            lost: Unsynced::Some,
        };
        assert_eq!(
            power.to_string(),
            "take the power of all members with some of what they have not synced"
        );
        let failpoint = |action| Fault::Failpoint {
            of: Selector::Leader,
            at: ["beforeCommit", "afterCommit"].map(str::to_owned).to_vec(),
            action,
        };
        assert_eq!(
            failpoint(FailAction::Panic).to_string(),
            "let etcd of the leader panic at beforeCommit or afterCommit"
        );
        let slow = failpoint(FailAction::Sleep { ms: 100 }).to_string();
        assert!(slow.contains("sleep for 100 ms at"), "{slow}");
    }

    #[test]
    fn a_fault_of_a_disk_reads_as_a_sentence() {
        let of = || Selector::AnyFollower;
        let unreadable = |what| Fault::FailReads { of: of(), what }.to_string();
        let text = "kill a follower and let every read of its log fail";
        assert_eq!(unreadable(Unreadable::Log), text);
        let text = "kill a follower and let every read of its snapshots fail";
        assert_eq!(unreadable(Unreadable::Snapshots), text);
        let full = Fault::FillDisk { of: of() };
        assert_eq!(full.to_string(), "fill the disk of a follower");
    }

    #[test]
    fn a_fault_of_a_node_reads_as_a_sentence() {
        let node = Fault::PauseNode {
            of: NodeSelector::Of(Selector::Ordinal(2)),
        };
        assert_eq!(node.to_string(), "pause the node of member 2");
        let off = |declared| {
            let of = NodeSelector::Of(Selector::Leader);
            Fault::KillNode { of, declared }.to_string()
        };
        assert_eq!(off(Declared::Nothing), "switch off the node of the leader");
        assert_eq!(
            off(Declared::Gone),
            "switch off the node of the leader permanently"
        );
        assert_eq!(
            off(Declared::OutOfService),
            "switch off the node of the leader and taint it out of service"
        );
    }
}
