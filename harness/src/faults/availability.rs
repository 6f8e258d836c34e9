//! What is possible here: tried, not assumed, and asked before a fault is injected.

use crate::cluster::Cluster;
use crate::cluster::kernel;
use crate::faults::switch::container::{Order, Switch, image_of};
use crate::faults::{Absence, DataLoss, Fault, FaultError, OperatorFault};
use crate::timeouts;

/// Whether a fault is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is.
    Available,
    /// It is not; why.
    Unavailable(String),
}

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

/// What nodes of a cluster can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Nodes are containers we can run commands in; else why not.
    pub node_shells: Option<String>,
    /// nft can drop, count and let elements expire.
    pub nft: bool,
    /// iptables can drop and count.
    pub iptables: bool,
    /// nft has random numbers.
    pub nft_random: bool,
    /// iptables has chance.
    pub iptables_random: bool,
    /// A file can be mounted as ext4.
    pub loop_mount: bool,
    /// A process can be stopped by a signal.
    pub sigstop: bool,
    /// Why nodes cannot be paused and switched off: nothing would undo it. Nothing where they can, and where it was not
    /// tried.
    pub node_power: Option<String>,
}

impl Capabilities {
    /// Tries them in one node, in namespaces of their own.
    pub async fn of(cluster: &Cluster) -> Self {
        if !cluster.has_node_shells() {
            let reason = if cluster.docker.is_none() {
                "no Docker answers here"
            } else {
                "the nodes are no containers of this Docker"
            };
            return Self {
                node_shells: Some(reason.to_owned()),
                ..Self::default()
            };
        }
        let node = cluster
            .workers()
            .into_iter()
            .next()
            .or_else(|| cluster.control_planes().into_iter().next());
        let Some(Ok(shell)) = node.map(|node| cluster.shell(node)) else {
            return Self {
                node_shells: Some("the cluster has no node".to_owned()),
                ..Self::default()
            };
        };
        match shell.run(&kernel::script()).await {
            Ok(output) => Self::read(&kernel::parse(&output.stdout)),
            Err(error) => Self {
                node_shells: Some(error.to_string()),
                ..Self::default()
            },
        }
    }

    /// As [`Self::of`], and tries whether the switch that undoes what is done to nodes as a whole can be armed.
    pub async fn tried(cluster: &Cluster) -> Self {
        let node_power = match cluster.nodes.first() {
            Some(node) if cluster.has_node_shells() => try_switch(cluster, &node.name).await.err(),
            _ => None,
        };
        let node_power = node_power.map(|error| error.to_string());
        Self {
            node_power,
            ..Self::of(cluster).await
        }
    }

    /// From the results of the kernel's trial.
    pub(crate) fn read(trial: &kernel::Trial) -> Self {
        let works = |name| trial.works(name);
        Self {
            node_shells: None,
            nft: works(kernel::NFT),
            iptables: works(kernel::IPTABLES),
            nft_random: works(kernel::NFT_RANDOM),
            iptables_random: works(kernel::IPTABLES_RANDOM),
            loop_mount: works(kernel::LOOP_MOUNT),
            sigstop: works(kernel::SIGSTOP),
            node_power: None,
        }
    }

    fn lacks(&self, need: Need) -> Option<String> {
        match need {
            Need::Api => return None,
            Need::PeerProxy => {
                let reason = "members in a cluster have no proxy between them; `harness bare` runs members that have";
                return Some(reason.to_owned());
            }
            Need::BareContainers => {
                let reason = "etcd in a pod is not frozen in turns, its disk not slowed and its log not damaged; `harness bare` does that";
                return Some(reason.to_owned());
            }
            _ => {}
        }
        if let Some(reason) = &self.node_shells {
            return Some(reason.clone());
        }
        let random = if self.nft {
            self.nft_random
        } else {
            self.iptables_random
        };
        match need {
            Need::PacketRules if !self.nft && !self.iptables => {
                Some("neither nft nor iptables can drop packets in the nodes".to_owned())
            }
            Need::RandomLoss if !random => {
                Some("neither nft's numgen nor iptables' statistic works in the nodes".to_owned())
            }
            Need::LoopMount if !self.loop_mount => {
                Some("the nodes cannot mount a file as a file system of its own".to_owned())
            }
            Need::Freezing if !self.sigstop => {
                Some("a process in the nodes cannot be stopped by a signal".to_owned())
            }
            Need::NodePower => self.node_power.clone(),
            _ => None,
        }
    }
}

/// A switch for no node, armed and taken away.
async fn try_switch(cluster: &Cluster, node: &str) -> Result<(), FaultError> {
    let (docker, container) = cluster.container(node)?;
    let image = image_of(&docker, &container).await?;
    let order = Order {
        cluster: &cluster.name,
        trace: &format!("trial-{:08x}", rand::random::<u32>()),
        image: &image,
        nodes: &[],
        limit: timeouts::NODE_COMMAND,
    };
    Switch::arm(&docker, &order).await?.disarm().await;
    Ok(())
}

/// Why one of these faults is not possible; nothing where all are.
pub fn impossible(faults: &[Fault], capabilities: &Capabilities) -> Option<String> {
    faults
        .iter()
        .find_map(|fault| match availability(fault, capabilities) {
            Availability::Available => None,
            Availability::Unavailable(reason) => Some(format!("{fault}: {reason}")),
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
        | Fault::SlowDisk { .. }
        | Fault::LosePower { .. }
        | Fault::FailDisk { .. }
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
        let anywhere = Capabilities {
            node_shells: Some("no Docker answers here".into()),
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
            Availability::Unavailable("no Docker answers here".into())
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
            let reason = impossible(std::slice::from_ref(&fault), &weak).expect("a reason");
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
        for fault in [late, turns, torn, slow, power, failing] {
            let reason = impossible(&[fault], &strong).expect("a reason");
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
