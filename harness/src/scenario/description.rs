//! A scenario as data: a few lines that read as prose.

use std::time::Duration;

use etcd_history::check::InTime;
use serde::Serialize;

use crate::bench::Probe;
use crate::deploy::{Guard, Reach};
use crate::faults::{Capabilities, Fault, Lack, Need, impossible};
use crate::scenario::{Event, Load, Operation, Promise};
use crate::timeouts;

/// How often a scenario repeats its faults where it says nothing: enough for a median that one late round does not
/// move.
const ROUNDS: u32 = 5;

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
    /// What must happen before a fault is injected, by the fault's place among them; for bare members.
    pub when: Vec<(usize, Event)>,
    /// What must happen before the faults are healed, which last for `lasts` at most; for bare members.
    pub until: Option<Event>,
    /// True when a leader must have sent a snapshot by the time that all have recovered; for bare members.
    pub sends_snapshot: bool,
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

    /// True when it waits for something that only bare members are asked for.
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
    /// Faults under load, on three members unless said otherwise.
    pub fn faults(name: &'static str, story: &'static str, faults: impl Into<Vec<Fault>>) -> Self {
        let trial = Trial {
            load: Load::default(),
            warm_up: Duration::from_secs(1),
            operations: Vec::new(),
            faults: faults.into(),
            rounds: ROUNDS,
            steps: 1,
            overlap: false,
            lasts: Duration::from_secs(2),
            when: Vec::new(),
            until: None,
            sends_snapshot: false,
            recovers_under_fault: false,
            replaced_after: None,
            settle: Duration::from_secs(1),
            small_volumes: false,
            growing: false,
            outside: false,
            guard: Guard::Open,
            reach: Reach::Usual,
            settings: Vec::new(),
            probes: Vec::new(),
        };
        Self::new(name, story, Act::Faults(Box::new(trial)))
    }

    /// Operations under load, on three members unless said otherwise.
    pub fn operations(
        name: &'static str,
        story: &'static str,
        operations: impl Into<Vec<Operation>>,
    ) -> Self {
        Self::faults(name, story, []).with(|trial| trial.operations = operations.into())
    }

    /// And these faults in the middle of the first operation.
    #[must_use]
    pub fn and_meanwhile(self, faults: impl Into<Vec<Fault>>) -> Self {
        self.with(|trial| trial.faults = faults.into())
    }

    /// The faults come at each step of the first operation, which has so many.
    #[must_use]
    pub fn at_each_of(self, steps: u32) -> Self {
        self.with(|trial| trial.steps = steps.max(1))
    }

    /// The other operations are asked for during the first, one at every other of its steps.
    #[must_use]
    pub fn overlapping(self) -> Self {
        self.with(|trial| trial.overlap = true)
    }

    /// Something else than faults.
    pub fn new(name: &'static str, story: &'static str, act: Act) -> Self {
        Self {
            name,
            story,
            members: vec![3],
            long_members: Vec::new(),
            act,
            promise: Promise::default(),
            smoke: false,
            long: false,
        }
    }

    /// With these member counts.
    #[must_use]
    pub fn members(mut self, members: impl Into<Vec<u32>>) -> Self {
        self.members = members.into();
        self
    }

    /// With these member counts too, among what takes minutes.
    #[must_use]
    pub fn and_long(mut self, members: impl Into<Vec<u32>>) -> Self {
        self.long_members = members.into();
        self
    }

    /// Member counts of the suite, or of what takes minutes.
    pub fn counts(&self, long: bool) -> Vec<u32> {
        match (self.long, long) {
            (true, true) => [&self.members[..], &self.long_members].concat(),
            (true, false) => Vec::new(),
            (false, true) => self.long_members.clone(),
            (false, false) => self.members.clone(),
        }
    }

    /// The faults come once: they cannot be repeated, or nothing is measured that a sample would tell more of.
    #[must_use]
    pub fn once(self) -> Self {
        self.with(|trial| trial.rounds = 1)
    }

    /// With no more rounds than these, of which there is one at least.
    #[must_use]
    pub fn at_most(self, rounds: u32) -> Self {
        self.with(|trial| trial.rounds = trial.rounds.min(rounds).max(1))
    }

    /// How often its faults are repeated; once for scenarios without load.
    pub fn rounds(&self) -> u32 {
        match &self.act {
            Act::Faults(trial) if trial.operations.is_empty() => trial.rounds,
            _ => 1,
        }
    }

    /// The last fault is on for so many seconds.
    #[must_use]
    pub fn lasts(self, seconds: u64) -> Self {
        self.with(|trial| trial.lasts = Duration::from_secs(seconds))
    }

    /// And these faults, as soon as this is seen.
    #[must_use]
    pub fn when(self, event: Event, faults: impl Into<Vec<Fault>>) -> Self {
        self.with(|trial| {
            trial.when.push((trial.faults.len(), event));
            trial.faults.extend(faults.into());
        })
    }

    /// The faults last until this is seen.
    #[must_use]
    pub fn until(self, event: Event) -> Self {
        self.with(|trial| trial.until = Some(event))
    }

    /// A leader must send a snapshot because of the faults.
    #[must_use]
    pub fn sends_snapshot(self) -> Self {
        self.with(|trial| trial.sends_snapshot = true)
    }

    /// The cluster must recover while the faults are on.
    #[must_use]
    pub fn recovers_under_fault(self) -> Self {
        self.with(|trial| trial.recovers_under_fault = true)
    }

    /// The owner has a member replaced whose node was not ready for so many minutes. The faults last as long, and on.
    #[must_use]
    pub fn replaced_after(self, minutes: u16) -> Self {
        let late = self.lasts(60 * u64::from(minutes));
        let late = late.recovers_under_fault();
        late.with(|trial| trial.replaced_after = Some(minutes))
    }

    /// A held connection is given up only when it breaks: a deposed leader must cut it.
    #[must_use]
    pub fn patient_connections(self) -> Self {
        self.with(|trial| trial.load.held_redials_on_deadline = false)
    }

    /// The history outlives the restart of the recording client's node.
    #[must_use]
    pub fn outlives_node(self) -> Self {
        self.with(|trial| trial.load.outlives_node = true)
    }

    /// Leases are short and left to end by themselves.
    #[must_use]
    pub fn leases_expire(self) -> Self {
        self.with(|trial| trial.load.leases_expire = true)
    }

    /// Clients compact the store, and read at old revisions.
    #[must_use]
    pub fn compacts(self) -> Self {
        self.with(|trial| trial.load.compacts = true)
    }

    /// Clients write beside reads of what is compacted.
    #[must_use]
    pub fn compacted_txns(self) -> Self {
        self.with(|trial| trial.load.compacted_txns = true)
    }

    /// Each compare of a transaction is sent so many times.
    #[must_use]
    pub fn compares(self, times: u32) -> Self {
        self.with(|trial| trial.load.compares = times)
    }

    /// Each mixed client asks one member only.
    #[must_use]
    pub fn pinned(self) -> Self {
        self.with(|trial| trial.load.pinned = true)
    }

    /// Every watch is asked for its progress so often, under load.
    #[must_use]
    pub fn progress_every_ms(self, milliseconds: u32) -> Self {
        self.with(|trial| trial.load.progress_ms = milliseconds)
    }

    /// A further watch on each member begins so many revisions ahead of what is there.
    #[must_use]
    pub fn watches_ahead(self, revisions: u32) -> Self {
        self.with(|trial| trial.load.future = revisions)
    }

    /// So many clients take locks and stand in elections.
    #[must_use]
    pub fn holders(self, holders: u32) -> Self {
        self.with(|trial| trial.load.holders = holders)
    }

    /// So many clients keep objects as a kube-apiserver does.
    #[must_use]
    pub fn keepers(self, keepers: u32) -> Self {
        self.with(|trial| trial.load.keepers = keepers)
    }

    /// The mixed clients send so many operations a second together.
    #[must_use]
    pub fn operations_s(self, operations: u32) -> Self {
        self.with(|trial| trial.load.operations_s = operations)
    }

    /// The first fault comes so many milliseconds after the traffic began.
    #[must_use]
    pub fn warm_up_ms(self, milliseconds: u64) -> Self {
        self.with(|trial| trial.warm_up = Duration::from_millis(milliseconds))
    }

    /// Every member's data is on a small file system of its own.
    #[must_use]
    pub fn small_volumes(self) -> Self {
        self.with(|trial| trial.small_volumes = true)
    }

    /// Every member's data is on a small volume that can grow.
    #[must_use]
    pub fn growing_volumes(self) -> Self {
        self.with(|trial| trial.growing = true)
    }

    /// True when its volumes are of a class that lets them grow.
    pub fn is_growing(&self) -> bool {
        matches!(&self.act, Act::Faults(trial) if trial.growing)
    }

    /// The client is outside of the Kubernetes cluster, and reaches leader and members by load balancers.
    #[must_use]
    pub fn from_outside(self) -> Self {
        self.with(|trial| {
            trial.outside = true;
            // Policies open the port for peers to members only, and this client asks each of them there.
            trial.reach = Reach::Unbound;
        })
    }

    /// True when its client is outside of the Kubernetes cluster.
    pub fn is_outside(&self) -> bool {
        matches!(&self.act, Act::Faults(trial) if trial.outside)
    }

    /// The cluster begins with this setting of etcd.
    #[must_use]
    pub fn setting(self, name: &'static str, value: &'static str) -> Self {
        self.with(|trial| trial.settings.push((name, value)))
    }

    /// The cluster is closed with this.
    #[must_use]
    pub fn guarded(self, guard: Guard) -> Self {
        self.with(|trial| trial.guard = guard)
    }

    /// What its cluster is closed with.
    pub fn guard(&self) -> Guard {
        match &self.act {
            Act::Faults(trial) => trial.guard,
            Act::BreakIns => Guard::TlsAndUsers,
            _ => Guard::Open,
        }
    }

    /// With this between pods and the members.
    #[must_use]
    pub fn reached(self, reach: Reach) -> Self {
        self.with(|trial| trial.reach = reach)
    }

    /// What stands between pods and its members.
    pub fn reach(&self) -> Reach {
        match &self.act {
            Act::Faults(trial) => trial.reach,
            Act::BreakIns => Reach::Unbound,
            _ => Reach::Usual,
        }
    }

    /// With these clients beside the recording one.
    #[must_use]
    pub(crate) fn probes(self, probes: &[Probe]) -> Self {
        self.with(|trial| trial.probes = probes.to_vec())
    }

    /// With this promise.
    #[must_use]
    pub fn promise(mut self, promise: Promise) -> Self {
        self.promise = promise;
        self
    }

    /// Part of the short subset.
    #[must_use]
    pub fn smoke(mut self) -> Self {
        self.smoke = true;
        self
    }

    /// One of those that take minutes.
    #[must_use]
    pub fn long(mut self) -> Self {
        self.long = true;
        self
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

    fn with(mut self, change: impl FnOnce(&mut Trial)) -> Self {
        if let Act::Faults(trial) = &mut self.act {
            change(trial);
        }
        self
    }
}
