//! The joined view over a history: calls with their returns, and every other record by its kind.
//!
//! Borrows from the history and copies nothing but references and lines: 24 bytes an operation. What does not fit
//! together (a return without a call, a number used twice) is kept as a defect for the check of assumptions and
//! otherwise ignored.

use std::collections::{BTreeMap, BTreeSet};

use crate::hash::FastMap;
use crate::history::History;
use crate::record::{
    Call, EndpointsRecord, FaultRecord, FaultStep, FinalState, HashSample, MachineSample,
    MemberSample, MembershipRecord, Nanos, OpId, Outcome, PodRecord, Record, Request, Response,
    Return, WatchRecord,
};

/// An operation: a call and, when there was one, its return.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Op<'a> {
    /// The call.
    pub call: &'a Call,
    /// The return; absent when the client died first.
    pub end: Option<&'a Return>,
    /// Position of the call in [`Index::records`], from 0.
    pub called_at: u32,
    /// Position of the return in [`Index::records`]; `u32::MAX` without one.
    pub ended_at: u32,
}

/// The time of a record and its position in the history. Several processes write to one history, each by a clock of its
/// own: one moment is earlier than another for certain only where both time and position say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time by the clock of the record's writer.
    pub t: Nanos,
    /// Position of the record in [`Index::records`], from 0.
    pub at: u32,
}

impl Moment {
    /// Later than every other moment.
    pub const NEVER: Self = Self {
        t: Nanos::MAX,
        at: u32::MAX,
    };

    /// True when this moment is earlier, both by time and by position.
    pub fn before(self, other: Self) -> bool {
        self.t < other.t && self.at < other.at
    }
}

/// The answer of etcd to an operation that it acknowledged.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Acked<'a> {
    /// Store revision in the header.
    pub revision: i64,
    /// Raft term in the header.
    pub term: u64,
    /// Identifier of the member that answered, hexadecimal.
    pub member: &'a str,
    /// The answer.
    pub response: &'a Response,
}

impl<'a> Op<'a> {
    /// The answer, when etcd acknowledged the operation.
    pub fn acked(&self) -> Option<Acked<'a>> {
        match &self.end?.outcome {
            Outcome::Ok {
                revision,
                term,
                member,
                response,
            } => Some(Acked {
                revision: *revision,
                term: *term,
                member,
                response,
            }),
            Outcome::Failed { .. } | Outcome::Unknown { .. } => None,
        }
    }

    /// True when the operation certainly did not take effect.
    pub fn failed(&self) -> bool {
        matches!(
            self.end,
            Some(Return {
                outcome: Outcome::Failed { .. },
                ..
            })
        )
    }

    /// True when it is not known whether the operation took effect: its outcome is unknown, or it never returned.
    pub fn unknown(&self) -> bool {
        matches!(
            self.end,
            None | Some(Return {
                outcome: Outcome::Unknown { .. },
                ..
            })
        )
    }

    /// The time by which the operation had certainly taken effect: that of its return when it was acknowledged, else
    /// [`Nanos::MAX`].
    pub fn certain_by(&self) -> Nanos {
        match self.end {
            Some(Return {
                t,
                outcome: Outcome::Ok { .. },
                ..
            }) => *t,
            _ => Nanos::MAX,
        }
    }

    /// When it was called.
    pub fn begin(&self) -> Moment {
        Moment {
            t: self.call.t,
            at: self.called_at,
        }
    }

    /// [`Self::certain_by`] as a moment; [`Moment::NEVER`] for an operation that was not acknowledged.
    pub fn certain(&self) -> Moment {
        match self.certain_by() {
            Nanos::MAX => Moment::NEVER,
            t => Moment {
                t,
                at: self.ended_at,
            },
        }
    }

    /// Its number.
    pub fn id(&self) -> OpId {
        self.call.op
    }

    /// True for a request that may put or delete a key, or a transaction with such a part.
    pub fn writes(&self) -> bool {
        let mut parts = self.call.request.parts();
        parts.any(|part| matches!(part, Request::Put { .. } | Request::Delete { .. }))
    }
}

/// One fault from its injection to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FaultWindow<'a> {
    /// Number of the fault.
    pub fault: u32,
    /// Its name.
    pub name: &'a str,
    /// What it was done to, e.g. names of pods and nodes.
    pub target: &'a str,
    /// Time of its first step.
    pub from: Nanos,
    /// Time at which it was found healed; absent when it never was.
    pub healed: Option<Nanos>,
    /// All its steps, in the order of the records.
    pub steps: Vec<&'a FaultRecord>,
}

impl FaultWindow<'_> {
    /// True when this step was recorded.
    pub fn has(&self, step: FaultStep) -> bool {
        self.steps.iter().any(|record| record.step == step)
    }
}

/// A history by kinds of records: calls joined with their returns, steps joined to faults.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Index<'a> {
    /// All records, in the order of their lines.
    pub records: &'a [Record],
    /// Time of the earliest record.
    pub start: Nanos,
    /// Time of the latest record.
    pub end: Nanos,
    /// Operations in the order of their calls.
    pub ops: Vec<Op<'a>>,
    /// Starts of recording clients: time, and random number of the process.
    pub starts: Vec<(Nanos, u64)>,
    /// Times without a recording client, in order: from the last line of one to the start of the next.
    pub restarts: Vec<(Nanos, Nanos)>,
    /// What watch streams delivered, in the order of the records.
    pub watch: Vec<&'a WatchRecord>,
    /// Status samples of members, in the order of the records.
    pub members: Vec<&'a MemberSample>,
    /// Hashes of members' key spaces.
    pub hashes: Vec<&'a HashSample>,
    /// Key spaces of members at the end of the run.
    pub finals: Vec<&'a FinalState>,
    /// Pods, in the order in which the watch delivered them.
    pub pods: Vec<&'a PodRecord>,
    /// Endpoints of the leader service, in the order in which the watch delivered them.
    pub endpoints: Vec<&'a EndpointsRecord>,
    /// Member lists, in the order of the records.
    pub lists: Vec<&'a MembershipRecord>,
    /// Samples of how busy the machine was.
    pub machine: Vec<&'a MachineSample>,
    /// Phases: time and name.
    pub phases: Vec<(Nanos, &'a str)>,
    /// Faults, by number.
    pub faults: Vec<FaultWindow<'a>>,
    /// Store revisions that faults themselves made, by writing keys that no client uses.
    pub fault_writes: BTreeSet<i64>,
    /// Contradictions, in words: an operation that is called twice, or returns without a call.
    pub defects: Vec<String>,
    /// The first transaction with a part that no check models, in words. Only histories that were never in a file have
    /// one.
    pub unmodelled: Option<String>,
}

impl<'a> Index<'a> {
    /// Sorts and joins the records of a history.
    pub fn new(history: &'a History) -> Self {
        let mut index = Self {
            records: &history.records,
            ..Self::default()
        };
        let mut open: FastMap<OpId, u32> = FastMap::default();
        let mut faults: BTreeMap<u32, FaultWindow<'a>> = BTreeMap::new();
        let (mut start, mut end) = (Nanos::MAX, Nanos::MIN);
        let mut last_line = None;
        for (at, record) in (0..).zip(&history.records) {
            if index.unmodelled.is_none() {
                index.unmodelled = record.unmodelled();
            }
            index.restart(record, &mut last_line);
            index.file((at, record), &mut open, &mut faults);
            let t = record.time();
            start = start.min(t);
            end = end.max(t);
        }
        index.start = if history.records.is_empty() { 0 } else { start };
        index.end = end.max(index.start);
        index.faults = faults.into_values().collect();
        // Several processes write: their lines are in the order of their times only as far as their clocks agree.
        index.ops.sort_by_key(|op| op.call.t);
        index
    }

    fn file(
        &mut self,
        (at, record): (u32, &'a Record),
        open: &mut FastMap<OpId, u32>,
        faults: &mut BTreeMap<u32, FaultWindow<'a>>,
    ) {
        match record {
            Record::Start { t, incarnation, .. } => self.starts.push((*t, *incarnation)),
            Record::Call(call) => {
                let position = u32::try_from(self.ops.len()).unwrap_or(u32::MAX);
                if open.insert(call.op, position).is_some() {
                    self.defects
                        .push(format!("operation {} is called twice", call.op));
                }
                self.ops.push(Op {
                    call,
                    end: None,
                    called_at: at,
                    ended_at: u32::MAX,
                });
            }
            Record::Return(end) => self.close((at, end), open),
            Record::Watch(watch) => self.watch.push(watch),
            Record::Member(sample) => self.members.push(sample),
            Record::Hash(sample) => self.hashes.push(sample),
            Record::FinalState(state) => self.finals.push(state),
            Record::Fault(step) => {
                self.fault_writes.extend(&step.writes);
                file_fault(step, faults);
            }
            Record::Pod(pod) => self.pods.push(pod),
            Record::Endpoints(endpoints) => self.endpoints.push(endpoints),
            Record::Membership(list) => self.lists.push(list),
            Record::Machine(sample) => self.machine.push(sample),
            Record::Phase { t, name } => self.phases.push((*t, name)),
        }
    }

    /// Keeps the time of a client's last line until another one starts.
    fn restart(&mut self, record: &Record, last_line: &mut Option<Nanos>) {
        match record {
            Record::Start { t, .. } => {
                if let Some(last) = last_line.replace(*t) {
                    self.restarts.push((last, last.max(*t)));
                }
            }
            record if record.of_client() => *last_line = Some(record.time()),
            _ => {}
        }
    }

    fn close(&mut self, (at, end): (u32, &'a Return), open: &mut FastMap<OpId, u32>) {
        let Some(position) = open.remove(&end.op) else {
            self.defects
                .push(format!("operation {} returns without an open call", end.op));
            return;
        };
        let op = &mut self.ops[position as usize];
        if end.t < op.call.t {
            self.defects
                .push(format!("operation {} returns before its call", end.op));
        }
        op.end = Some(end);
        op.ended_at = at;
    }

    /// Seconds from the earliest record to `t`; negative for an earlier time.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run lasts minutes: milliseconds are exact"
    )]
    pub fn seconds(&self, t: Nanos) -> f64 {
        t.saturating_sub(self.start) as f64 / 1e9
    }

    /// When the first phase of this name began; `None` when there was none.
    pub fn phase(&self, name: &str) -> Option<Nanos> {
        self.phases
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(t, _)| *t)
    }

    /// When each phase of this name began, in order.
    pub fn phases_named<'i>(&'i self, name: &'i str) -> impl Iterator<Item = Nanos> + 'i {
        let phases = self.phases.iter();
        phases.filter(move |(_, n)| *n == name).map(|(t, _)| *t)
    }

    /// True when a fault was active at some time in `[from, to]`. A fault counts as active for `tail` nanoseconds after
    /// it was healed.
    pub fn disturbed(&self, from: Nanos, to: Nanos, tail: Nanos) -> bool {
        self.faults.iter().any(|fault| {
            fault.from <= to
                && fault
                    .healed
                    .is_none_or(|end| end.saturating_add(tail) >= from)
        })
    }

    /// The pod of each member, by member identifier (hexadecimal). A member has the name of its pod, which lists tell.
    /// Where none names a pod that was sampled, it is the pod in which most samples saw the member: one sample may be
    /// of another pod, whose agent passes connections on while its own etcd is down.
    pub fn pods_by_member(&self) -> BTreeMap<&'a str, &'a str> {
        let mut sampled: BTreeSet<&'a str> = BTreeSet::new();
        let mut seen: BTreeMap<&'a str, Vec<(&'a str, usize)>> = BTreeMap::new();
        for sample in &self.members {
            let pod = sample.pod.as_str();
            sampled.insert(pod);
            let Some(status) = &sample.status else {
                continue;
            };
            let pods = seen.entry(&status.member).or_default();
            match pods.iter_mut().find(|(of, _)| *of == pod) {
                Some((_, samples)) => *samples += 1,
                None => pods.push((pod, 1)),
            }
        }
        // Of several with as many samples the one that was seen first.
        let most = |pods: Vec<(&'a str, usize)>| {
            let most = pods.into_iter().rev().max_by_key(|(_, samples)| *samples);
            most.map(|(pod, _)| pod)
        };
        let seen = seen.into_iter();
        let mut pods: BTreeMap<&'a str, &'a str> = seen
            .filter_map(|(member, pods)| Some((member, most(pods)?)))
            .collect();
        for listed in self.lists.iter().flat_map(|list| &list.members) {
            if let Some(pod) = sampled.get(listed.name.as_str()) {
                pods.insert(&listed.id, pod);
            }
        }
        pods
    }
}

fn file_fault<'a>(step: &'a FaultRecord, faults: &mut BTreeMap<u32, FaultWindow<'a>>) {
    let window = faults.entry(step.fault).or_insert_with(|| FaultWindow {
        fault: step.fault,
        name: &step.name,
        target: &step.target,
        from: step.t,
        healed: None,
        steps: Vec::new(),
    });
    window.from = window.from.min(step.t);
    if step.step == FaultStep::Healed {
        window.healed = Some(step.t);
    }
    window.steps.push(step);
}
