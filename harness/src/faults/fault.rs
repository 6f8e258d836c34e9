//! The faults as data: what a plan holds, what a person types, what a report shows. No behaviour but words.

use serde::{Deserialize, Serialize};

use crate::faults::Selector;

/// One fault, before its targets are known. Selectors are resolved when it is injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL to the main process of a container, once. The kubelet starts it again.
    KillProcess {
        /// Which container.
        container: Container,
        /// Whose.
        of: Selector,
    },
    /// SIGKILL again and again, as soon as the process is back: dead for as long as the fault lasts.
    KeepKilling {
        /// Which container.
        container: Container,
        /// Whose.
        of: Selector,
    },
    /// The memory of a container runs out, and the kernel kills what is in it. The kubelet starts it again.
    ExhaustMemory {
        /// Which container.
        container: Container,
        /// Whose.
        of: Selector,
    },
    /// SIGSTOP to all processes of a container: connections stay open and are not answered.
    FreezeProcess {
        /// Which container.
        container: Container,
        /// Whose.
        of: Selector,
    },
    /// etcd is frozen and runs in turns. Of bare members only.
    FreezeInTurns {
        /// Whose.
        of: Selector,
        /// For so many milliseconds it is frozen.
        frozen_ms: u32,
        /// For so many it runs.
        runs_ms: u32,
    },
    /// All containers of a member get a part of one processor each: they run for that part of each tenth of a second.
    Starve {
        /// Whose.
        of: Selector,
        /// The part, in percent: 1 to 99.
        percent: u8,
    },
    /// A follower is told to campaign, as by a leader that transfers leadership: an election, and nothing is killed.
    Elect {
        /// Whose member: one.
        of: Selector,
    },
    /// The pod is deleted through the API.
    DeletePod {
        /// Whose.
        of: Selector,
        /// How.
        how: Deletion,
    },
    /// Members are cut off from all others (peers, clients, operator), but for the kubelet's own probes.
    Isolate {
        /// Who.
        of: Selector,
        /// What kind of traffic.
        traffic: Traffic,
        /// Which way.
        direction: Direction,
    },
    /// One side of the members is cut off from the other; clients reach both.
    Split {
        /// One side.
        side: Selector,
        /// Which way, seen from that side.
        direction: Direction,
    },
    /// Non-transitive: two halves cannot reach each other, both reach the bridge.
    Bridge {
        /// The bridge: one member.
        through: Selector,
    },
    /// Packets from and to members are lost at random.
    LosePackets {
        /// Who.
        of: Selector,
        /// What kind of traffic.
        traffic: Traffic,
        /// Packets lost in a hundred, 1 to 99.
        percent: u8,
    },
    /// Packets between members and their peers are harmed at random, both ways; TCP repairs it. Of bare members only.
    HarmPackets {
        /// Whose.
        of: Selector,
        /// How.
        how: PacketHarm,
        /// Packets harmed in a hundred, 1 to 99.
        percent: u8,
    },
    /// What members and their peers send each other arrives late, slowly or in spurts, and none of it is lost. Only
    /// where there is a proxy between members, as bare ones have it.
    DisturbPeers {
        /// Whose.
        of: Selector,
        /// How.
        how: Disturbance,
        /// Which way.
        direction: Direction,
    },
    /// The whole node is frozen: nothing in it runs, its kernel still acknowledges packets.
    PauseNode {
        /// Which.
        of: NodeSelector,
    },
    /// The node loses power and comes back at once.
    RestartNode {
        /// Which.
        of: NodeSelector,
    },
    /// The node loses power and stays down until the fault is healed.
    KillNode {
        /// Which.
        of: NodeSelector,
        /// What is declared of it, as an administrator does who knows that it is off.
        declared: Declared,
    },
    /// The kubelet is stopped; containers keep running.
    StopKubelet {
        /// Where.
        of: NodeSelector,
    },
    /// Something happens to the operator.
    Operator {
        /// What.
        how: OperatorFault,
        /// To which replicas.
        replicas: Replicas,
    },
    /// A part of the control plane is unavailable.
    ControlPlane {
        /// Which part.
        part: ControlPlanePart,
        /// How.
        how: Absence,
    },
    /// Members cannot resolve names: their packets to port 53 are dropped.
    DropDns {
        /// Who.
        of: Selector,
    },
    /// All of the cluster's DNS servers are frozen.
    FreezeDns,
    /// A member's data is lost.
    LoseData {
        /// Whose.
        of: Selector,
        /// How.
        how: DataLoss,
    },
    /// The Cluster asks for more processors than any node has.
    WrongTemplate,
    /// The recording client's pod floods the agents and holds half-open connections to them, and Clusters that the
    /// operator cannot read are in the namespace.
    FloodAgents,
    /// A member's volume, a small file system of its own, is filled to the last block. Of bare members, every write
    /// that needs another block ends with an error (ENOSPC).
    FillDisk {
        /// Whose.
        of: Selector,
    },
    /// One key is overwritten until etcd is out of space (alarm NOSPACE). The cluster must have a small quota.
    FillQuota,
    /// Bytes of a member's database are corrupted under the running etcd, which must look for that
    /// (`corrupt-check-time`).
    CorruptData {
        /// Whose.
        of: Selector,
    },
    /// A member's disk takes only so many writes a second. Of bare members only.
    SlowDisk {
        /// Whose.
        of: Selector,
        /// How many.
        writes_s: u32,
    },
    /// Members are killed and lose what they had written and not synced, as when their machine loses its power. Of bare
    /// members only.
    LosePower {
        /// Whose.
        of: Selector,
        /// What of it.
        lost: Unsynced,
    },
    /// Every sync of a member's files ends with an error (EIO). Of bare members only.
    FailDisk {
        /// Whose.
        of: Selector,
    },
    /// A member is killed, and its disk cannot read some of its files when it starts again (EIO). Of bare members only.
    FailReads {
        /// Whose.
        of: Selector,
        /// Which files.
        what: Unreadable,
    },
    /// Members are stopped, and started again on their data with the version of etcd that the plan names behind the
    /// first one; with their own where it names none. Of bare members only.
    ChangeVersion {
        /// Whose.
        of: Selector,
        /// True when each answers again before the next one is stopped.
        in_turn: bool,
    },
    /// etcd of members does something at one of its failpoints, which only a build with failpoints has. Of bare members
    /// only.
    Failpoint {
        /// Whose.
        of: Selector,
        /// Failpoints by their names in etcd's sources, of which the seed picks one.
        at: Vec<String>,
        /// What it does there.
        action: FailAction,
    },
    /// The time of day that etcd of members has is another than that of their machine, which its leases and elections
    /// do not use. Of bare members only.
    ShiftClock {
        /// Whose.
        of: Selector,
        /// Ahead by so many seconds, or behind where it is less than none.
        seconds: i32,
    },
    /// A clock of etcd of members runs fast or slow. Of bare members only.
    DriftClock {
        /// Whose.
        of: Selector,
        /// Which.
        clock: EtcdClock,
        /// So many percent of the machine's rate.
        percent: u16,
    },
    /// A member is killed, and starts again with a write-ahead log that its disk has damaged. Of bare members only.
    DamageLog {
        /// Whose: one member.
        of: Selector,
        /// How.
        how: LogDamage,
    },
}

/// A container of a member's pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// etcd itself.
    Etcd,
    /// The agent beside it.
    Kbagent,
    /// The metrics exporter.
    Exporter,
}

impl Container {
    /// Its name in the pod.
    pub const fn name(self) -> &'static str {
        match self {
            Container::Etcd => "etcd",
            Container::Kbagent => "kbagent",
            Container::Exporter => "metrics-exporter",
        }
    }
}

/// A clock that etcd asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EtcdClock {
    /// The time of day.
    TimeOfDay,
    /// The time by which it measures leases and elections.
    Monotonic,
}

/// How a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletion {
    /// `kubectl delete pod`.
    Graceful,
    /// `kubectl delete pod --force --grace-period=0`.
    Forced,
    /// Through the Eviction API, as a drain does; a disruption budget may refuse it.
    Evicted,
}

/// What kind of a member's traffic is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// Everything.
    All,
    /// Between members: port 2380, either end.
    Peer,
    /// With clients: the member's own port 2379.
    Client,
    /// With its agent: the member's own port 5001.
    Agent,
}

/// Which way packets are dropped, seen from the selected members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Both ways.
    Both,
    /// What they send.
    Outgoing,
    /// What they would receive.
    Incoming,
}

/// How a packet is harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PacketHarm {
    /// It arrives twice.
    Duplicate,
    /// A bit of it arrives as another: its checksum is wrong.
    Corrupt,
    /// Later ones of its connection arrive before it.
    Reorder,
}

/// How a link between two members is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// Everything arrives later.
    Delay {
        /// By so many milliseconds.
        ms: u32,
        /// And by so many more at most.
        jitter_ms: u32,
    },
    /// It is slow.
    Throttle {
        /// So many bytes a second pass.
        bytes_s: u32,
    },
    /// Nothing passes for a time, then everything, again and again.
    Flap {
        /// For so many milliseconds nothing.
        down_ms: u32,
        /// For so many everything.
        up_ms: u32,
    },
    /// Some of it is lost and sent again, as TCP does it: 200 ms later, twice as much later each further time, and what
    /// is behind it waits. What is damaged on the way is lost, too.
    Lose {
        /// So many pieces of a hundred.
        percent: u8,
    },
    /// Every connection is reset again and again.
    Reset {
        /// Every so many milliseconds.
        every_ms: u32,
    },
}

/// Which nodes are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeSelector {
    /// Those that the members run on.
    Of(Selector),
    /// That which the operator's active replica runs on.
    Operator,
    /// One, by name.
    Named(String),
    /// The control plane.
    ControlPlane,
    /// All, the control plane too.
    All,
}

/// What an administrator declares of a node that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Declared {
    /// Nothing: its pods may still run.
    Nothing,
    /// That it never comes back: its Node object is deleted.
    Gone,
    /// That nothing runs there now: its Node object is tainted `node.kubernetes.io/out-of-service`.
    OutOfService,
}

/// What happens to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorFault {
    /// SIGKILL, once.
    Killed,
    /// SIGSTOP.
    Paused,
    /// Cut off from the API server.
    CutOff,
    /// Replaced one after the other by a rollout, as an upgrade does. Of all replicas only.
    Replaced,
}

/// Which replicas of the operator are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replicas {
    /// All.
    All,
    /// The one that holds the lease.
    LeaseHolder,
}

/// A part of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlPlanePart {
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager: without it endpoints do not follow labels.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

impl ControlPlanePart {
    /// Name of its process and of its static pod.
    pub const fn name(self) -> &'static str {
        match self {
            ControlPlanePart::ApiServer => "kube-apiserver",
            ControlPlanePart::ControllerManager => "kube-controller-manager",
            ControlPlanePart::Scheduler => "kube-scheduler",
        }
    }
}

/// How something is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// Its process is gone: connections are refused.
    Stopped,
    /// Its process is stopped by a signal: connections hang.
    Frozen,
}

/// How data is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataLoss {
    /// The volume's files are deleted and etcd is killed at the same moment; pod and claim stay.
    Wiped,
    /// The claim and the pod are deleted.
    ClaimDeleted,
    /// The claim alone is deleted: Kubernetes keeps it until its pod has gone.
    ClaimAlone,
}

/// How a write-ahead log is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogDamage {
    /// A bit in the middle of it is another: etcd must refuse it.
    Flipped,
    /// The write at its end, which was not synced, is there in part: etcd must cut it off.
    Torn,
}

/// What of a member's files its disk cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreadable {
    /// The write-ahead log: etcd must end.
    Log,
    /// The snapshots: etcd must continue without.
    Snapshots,
}

/// What etcd does at a failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailAction {
    /// It panics when it comes there, which ends it.
    Panic,
    /// It sleeps there each time.
    Sleep {
        /// So many milliseconds.
        ms: u32,
    },
}

/// What a power loss takes of what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsynced {
    /// All.
    All,
    /// Some pages and sectors of it.
    Some,
    /// All of the last second, which begins for all members at one moment; what is older was written back.
    LastSecond,
}

impl Fault {
    /// A fixed word for it, the same as in its JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Fault::KillProcess { .. } => "kill_process",
            Fault::KeepKilling { .. } => "keep_killing",
            Fault::ExhaustMemory { .. } => "exhaust_memory",
            Fault::FreezeProcess { .. } => "freeze_process",
            Fault::FreezeInTurns { .. } => "freeze_in_turns",
            Fault::Starve { .. } => "starve",
            Fault::Elect { .. } => "elect",
            Fault::ChangeVersion { .. } => "change_version",
            Fault::DeletePod { .. } => "delete_pod",
            Fault::Isolate { .. } => "isolate",
            Fault::Split { .. } => "split",
            Fault::Bridge { .. } => "bridge",
            Fault::LosePackets { .. } => "lose_packets",
            Fault::HarmPackets { .. } => "harm_packets",
            Fault::DisturbPeers { .. } => "disturb_peers",
            Fault::PauseNode { .. } => "pause_node",
            Fault::RestartNode { .. } => "restart_node",
            Fault::KillNode { .. } => "kill_node",
            Fault::StopKubelet { .. } => "stop_kubelet",
            Fault::Operator { .. } => "operator",
            Fault::ControlPlane { .. } => "control_plane",
            Fault::DropDns { .. } => "drop_dns",
            Fault::FreezeDns => "freeze_dns",
            Fault::LoseData { .. } => "lose_data",
            Fault::WrongTemplate => "wrong_template",
            Fault::FloodAgents => "flood_agents",
            Fault::FillDisk { .. } => "fill_disk",
            Fault::FillQuota => "fill_quota",
            Fault::CorruptData { .. } => "corrupt_data",
            Fault::SlowDisk { .. } => "slow_disk",
            Fault::LosePower { .. } => "lose_power",
            Fault::FailDisk { .. } => "fail_disk",
            Fault::FailReads { .. } => "fail_reads",
            Fault::DamageLog { .. } => "damage_log",
            Fault::Failpoint { .. } => "failpoint",
            Fault::ShiftClock { .. } => "shift_clock",
            Fault::DriftClock { .. } => "drift_clock",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_the_tag_of_its_json() {
        let fault = Fault::LoseData {
            of: Selector::AnyFollower,
            how: DataLoss::ClaimDeleted,
        };
        let json = serde_json::to_value(&fault).expect("serialize");
        assert_eq!(json["fault"], fault.name());
        assert_eq!(serde_json::from_value::<Fault>(json).expect("parse"), fault);
    }
}
