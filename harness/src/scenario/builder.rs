//! How scenarios are written down: each method adds a clause to what happens or to what must come of it.

use std::time::Duration;

use crate::bench::Probe;
use crate::deploy::{Guard, Reach};
use crate::faults::Fault;
use crate::scenario::description::{Act, Scenario, Trial};
use crate::scenario::load::Load;
use crate::scenario::{Event, Operation, Origin, Promise};

/// How often a scenario repeats its faults where it says nothing: enough for a median that one late round does not
/// move.
const ROUNDS: u32 = 5;

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
            defragments: false,
            replaces_user: false,
            origin: Origin::Together,
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

    /// Members are defragmented again and again until the faults have come.
    #[must_use]
    pub fn defragments(self) -> Self {
        self.with(|trial| trial.defragments = true)
    }

    /// The members come to be in another way than all at once.
    #[must_use]
    pub fn origin(self, origin: Origin) -> Self {
        self.with(|trial| trial.origin = origin)
    }

    /// Clients log in, and their user is replaced by another one while the faults are on.
    #[must_use]
    pub fn replaces_user(self) -> Self {
        self.with(|trial| trial.replaces_user = true)
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

    /// Clients mostly put and delete, and compact at the revision of a delete, so many revisions after their last one.
    #[must_use]
    pub fn lone_deletes(self, revisions: u32) -> Self {
        self.with(|trial| trial.load.lone_deletes = revisions)
    }

    /// Clients write beside reads of what is compacted.
    #[must_use]
    pub fn compacted_txns(self) -> Self {
        self.with(|trial| trial.load.compacted_txns = true)
    }

    /// Clients compact to the revisions of deletes, and a further watch on each member begins there.
    #[must_use]
    pub fn compacts_deletes(self) -> Self {
        self.with(|trial| trial.load.compacts_deletes = true)
    }

    /// Each compare of a transaction is sent so many times.
    #[must_use]
    pub fn compares(self, times: u32) -> Self {
        self.with(|trial| trial.load.compares = times)
    }

    /// A third of what clients send is a read in a transaction whose compare holds.
    #[must_use]
    pub fn guarded_reads(self) -> Self {
        self.with(|trial| trial.load.guarded_reads = true)
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

    /// Two further watches on each member begin again and again: one at revision -1, and one in the past.
    #[must_use]
    pub fn negative_watches(self) -> Self {
        self.with(|trial| trial.load.negative = true)
    }

    /// So many watches of everything begin in one stream on each member, again and again.
    #[must_use]
    pub fn watches_crowded(self, watches: u32) -> Self {
        self.with(|trial| trial.load.crowd = watches.saturating_sub(1))
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

    /// The client is outside of the Kubernetes cluster, and reaches leader and members by load balancers.
    #[must_use]
    pub fn from_outside(self) -> Self {
        self.with(|trial| {
            trial.outside = true;
            // Policies open the port for peers to members only, and this client asks each of them there.
            trial.reach = Reach::Unbound;
        })
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

    /// With this between pods and the members.
    #[must_use]
    pub fn reached(self, reach: Reach) -> Self {
        self.with(|trial| trial.reach = reach)
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

    fn with(mut self, change: impl FnOnce(&mut Trial)) -> Self {
        if let Act::Faults(trial) = &mut self.act {
            change(trial);
        }
        self
    }
}
