//! A scenario as data: a few lines that read as prose.

use std::time::Duration;

use etcd_history::check::InTime;
use serde::Serialize;

use crate::bench::Probe;
use crate::deploy::{Guard, Reach};
use crate::faults::{Capabilities, Fault, Lack, Need, impossible};
use crate::scenario::load::Load;
use crate::scenario::{Event, Operation, Origin, Promise};
use crate::timeouts;

/// One scenario, before members and seed are chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// Its name, `group::what_happens`.
    pub name: &'static str,
    /// What happens and what must come of it, in a sentence or two.
    pub story: &'static str,
    /// Member counts that it is run with.
    pub members: Vec<u32>,
    /// Member counts that it is run with only among what takes minutes: they show nothing that the others do not,
    /// often.
    pub long_members: Vec<u32>,
    /// What is done.
    pub act: Act,
    /// What must come of it.
    pub promise: Promise,
    /// True when it belongs to the short subset.
    pub smoke: bool,
    /// True when it takes minutes and has a target of its own.
    pub long: bool,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Operations and faults under load.
    Faults(Box<Trial>),
    /// Every object, name, port and label that the design names is looked at.
    Conform,
    /// Good and bad specs are sent to the API server.
    Admission,
    /// KubeBlocks' own manifests are applied unchanged.
    Manifests,
    /// The commands of the documents are run as they stand.
    Documents,
    /// Repositories, backups and an archive are made, deleted and restored.
    Backups,
    /// Strangers try to get into a cluster with TLS and users.
    BreakIns,
    /// Pods dial the members' ports under each network policy that a Cluster can choose.
    NetworkPolicies,
}

/// Operations and faults under load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The load.
    pub load: Load,
    /// Quiet time under load before the first fault.
    pub warm_up: Duration,
    /// What is asked of the cluster, one after the other. The faults come while the first is under way.
    pub operations: Vec<Operation>,
    /// The faults, each injected when the one before has shown its effect; all of them are on until they are healed.
    pub faults: Vec<Fault>,
    /// How often the faults are injected and healed, one time after the other. Each gives one sample of every time that
    /// is judged. With operations the faults come once, or at each of its steps.
    pub rounds: u32,
    /// Steps of the first operation that are waited for, at each of which the faults come; one is its beginning.
    pub steps: u32,
    /// True when the other operations are asked for during the first, one at every other of its steps.
    pub overlap: bool,
    /// How long the last one is on.
    pub lasts: Duration,
    /// What must happen before a fault is injected, by the fault's place among them. A cluster is asked who leads, and
    /// nothing else: of these events it has [`Event::LeaderChanged`] alone.
    pub when: Vec<(usize, Event)>,
    /// What must happen before the faults are healed, which last for `lasts` at most; for bare members.
    pub until: Option<Event>,
    /// True when a leader must have sent a snapshot by the time that all have recovered; for bare members.
    pub sends_snapshot: bool,
    /// True when all members are defragmented again and again until the faults have come; for bare members.
    pub defragments: bool,
    /// True when clients log in, and their user is replaced by another one while the faults are on; for bare members.
    pub replaces_user: bool,
    /// How the members come to be; for bare members.
    pub origin: Origin,
    /// True when the cluster must recover while the faults are still on.
    pub recovers_under_fault: bool,
    /// Minutes after which the owner has a member replaced whose node is not ready, as the faults make one.
    pub replaced_after: Option<u16>,
    /// Time under load after the cluster has recovered.
    pub settle: Duration,
    /// True when every member's data is on a small file system of its own.
    pub small_volumes: bool,
    /// True when volumes are of a class that lets them grow; they are small before.
    pub growing: bool,
    /// True when the recording client is outside of the Kubernetes cluster, and reaches it by load balancers.
    pub outside: bool,
    /// What the cluster is closed with.
    pub guard: Guard,
    /// What stands between pods and the members.
    pub reach: Reach,
    /// Settings of etcd that the cluster begins with, by name.
    pub settings: Vec<(&'static str, &'static str)>,
    /// Clients that are not ours and write beside the recording one. What they write is in no history, so that the
    /// history cannot be judged: only times are measured.
    pub(crate) probes: Vec<Probe>,
}

impl Trial {
    /// True when linearizability may be judged as it is recorded: the recording client alone writes to its keys, and no
    /// data is given up.
    pub fn judged_live(&self) -> bool {
        let writes = |fault: &Fault| matches!(fault, Fault::FillQuota | Fault::CorruptData { .. });
        !self.faults.iter().any(writes) && !self.operations.contains(&Operation::RecoverQuorum)
    }

    /// Phases that must come in time.
    pub fn in_time(&self, recovers_within: Duration) -> Vec<InTime> {
        let limit = |from: &str, to: &str, limit: Duration| InTime {
            from: from.to_owned(),
            to: to.to_owned(),
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        };
        let mut limits = vec![
            limit("set_up", "ready", timeouts::CLUSTER_RUNNING),
            limit("recover", "recovered", recovers_within),
        ];
        if self.recovers_under_fault {
            let (from, to) = ("recover_under_fault", "recovered_under_fault");
            limits.push(limit(from, to, recovers_within));
        }
        let operations = (self.first_operation()..).zip(&self.operations);
        limits.extend(operations.map(|(number, operation)| {
            let begun = format!("operation_{number}");
            limit(&begun, &format!("{begun}_done"), operation.limit())
        }));
        limits
    }

    /// What must happen before the fault at this place is injected.
    pub(crate) fn trigger(&self, place: usize) -> Option<Event> {
        let mut triggers = self.when.iter();
        triggers
            .find(|(of, _)| *of == place)
            .map(|(_, event)| *event)
    }

    /// True when it waits for something in the cluster.
    pub(crate) fn waits_for_events(&self) -> bool {
        !self.when.is_empty() || self.until.is_some() || self.sends_snapshot
    }

    /// True when it must know how many snapshots were sent.
    pub(crate) fn counts_snapshots(&self) -> bool {
        let waited = self.when.iter().map(|(_, event)| event);
        let mut waited = waited.chain(&self.until);
        self.sends_snapshot || waited.any(|event| *event == Event::SnapshotSent)
    }

    /// The number of the first operation: those before it are the faults'.
    pub(crate) fn first_operation(&self) -> usize {
        self.faults.len() * self.steps as usize
    }

    /// How many faults and operations there are in a run.
    pub fn events(&self) -> usize {
        match self.operations.len() {
            0 => self.faults.len() * self.rounds as usize,
            operations => self.first_operation() + operations,
        }
    }
}

impl Scenario {
    /// Member counts of the suite, or of what takes minutes.
    pub fn counts(&self, long: bool) -> Vec<u32> {
        match (self.long, long) {
            (true, true) => [&self.members[..], &self.long_members].concat(),
            (true, false) => Vec::new(),
            (false, true) => self.long_members.clone(),
            (false, false) => self.members.clone(),
        }
    }

    /// How often its faults are repeated; once for scenarios without load.
    pub fn rounds(&self) -> u32 {
        match &self.act {
            Act::Faults(trial) if trial.operations.is_empty() => trial.rounds,
            _ => 1,
        }
    }

    /// True when its volumes are of a class that lets them grow.
    pub fn is_growing(&self) -> bool {
        matches!(&self.act, Act::Faults(trial) if trial.growing)
    }

    /// True when its client is outside of the Kubernetes cluster.
    pub fn is_outside(&self) -> bool {
        matches!(&self.act, Act::Faults(trial) if trial.outside)
    }

    /// What its cluster is closed with.
    pub fn guard(&self) -> Guard {
        match &self.act {
            Act::Faults(trial) => trial.guard,
            Act::BreakIns => Guard::TlsAndUsers,
            _ => Guard::Open,
        }
    }

    /// What stands between pods and its members.
    pub fn reach(&self) -> Reach {
        match &self.act {
            Act::Faults(trial) => trial.reach,
            Act::BreakIns => Reach::Unbound,
            _ => Reach::Usual,
        }
    }

    /// The group it belongs to: what is before `::`.
    pub fn room(&self) -> &'static str {
        self.name
            .split_once("::")
            .map_or(self.name, |(room, _)| room)
    }

    /// The faults; none for scenarios without load.
    pub fn all_faults(&self) -> &[Fault] {
        match &self.act {
            Act::Faults(trial) => &trial.faults,
            _ => &[],
        }
    }

    /// What of it cannot be done here, and why.
    pub fn impossible(&self, capabilities: &Capabilities) -> Option<Lack> {
        impossible(self.all_faults(), capabilities).or_else(|| {
            let word = match (self.is_outside(), self.is_growing()) {
                (true, _) => "an address of a load balancer",
                (_, true) => "volumes that grow",
                _ => return None,
            };
            Some(capabilities.lacks(Need::NodeShells)?.of(word))
        })
    }
}
