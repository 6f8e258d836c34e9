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

/// A call and, when there was one, its return.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// The call.
    pub call: &'a Call,
    /// The return; absent when the client died first.
    pub end: Option<&'a Return>,
    /// Position of the call in the history.
    pub called_at: u32,
    /// Position of the return in the history.
    pub ended_at: u32,
}

/// A time as its writer told it, and the place at which the record stands. Several processes write to one history, each
/// with a clock of its own: one thing is in front of another for certain only when both say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time.
    pub t: Nanos,
    /// Position of the record in the history.
    pub at: u32,
}

impl Moment {
    /// Behind all others.
    pub const NEVER: Self = Self {
        t: Nanos::MAX,
        at: u32::MAX,
    };

    /// True when it was over before the other began.
    pub fn before(self, other: Self) -> bool {
        self.t < other.t && self.at < other.at
    }
}

/// What etcd acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Acked<'a> {
    /// Store revision in the header.
    pub revision: i64,
    /// Raft term in the header.
    pub term: u64,
    /// Member that answered, hexadecimal.
    pub member: &'a str,
    /// The answer.
    pub response: &'a Response,
}

impl<'a> Op<'a> {
    /// The answer, when etcd gave one.
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

    /// True when it certainly did not happen.
    pub fn failed(&self) -> bool {
        matches!(
            self.end,
            Some(Return {
                outcome: Outcome::Failed { .. },
                ..
            })
        )
    }

    /// True when it is unknown whether it happened.
    pub fn unknown(&self) -> bool {
        matches!(
            self.end,
            None | Some(Return {
                outcome: Outcome::Unknown { .. },
                ..
            })
        )
    }

    /// When it had certainly happened: its return when it was acknowledged, else the end of time.
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

    /// [`Self::certain_by`] with its place.
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

    /// True for a request that asks for a write.
    pub fn writes(&self) -> bool {
        let mut parts = self.call.request.parts();
        parts.any(|part| matches!(part, Request::Put { .. } | Request::Delete { .. }))
    }
}

/// One fault from its injection to its end.
#[derive(Clone, Debug)]
pub struct FaultWindow<'a> {
    /// Number of the fault.
    pub fault: u32,
    /// Its name.
    pub name: &'a str,
    /// What it was resolved to.
    pub target: &'a str,
    /// First step seen.
    pub from: Nanos,
    /// Healed; absent when it never was.
    pub healed: Option<Nanos>,
    /// Every step seen.
    pub steps: Vec<&'a FaultRecord>,
}

impl FaultWindow<'_> {
    /// True when this step was recorded.
    pub fn has(&self, step: FaultStep) -> bool {
        self.steps.iter().any(|record| record.step == step)
    }
}

/// A history, joined.
#[derive(Debug, Default)]
pub struct Index<'a> {
    /// All records, in the order of their lines.
    pub records: &'a [Record],
    /// Time of the earliest record.
    pub start: Nanos,
    /// Time of the latest record.
    pub end: Nanos,
    /// Operations in the order of their calls.
    pub ops: Vec<Op<'a>>,
    /// Starts of recording clients: time and incarnation.
    pub starts: Vec<(Nanos, u64)>,
    /// What watch streams said, in order.
    pub watch: Vec<&'a WatchRecord>,
    /// Members' status samples, in order.
    pub members: Vec<&'a MemberSample>,
    /// Hashes.
    pub hashes: Vec<&'a HashSample>,
    /// Final dumps.
    pub finals: Vec<&'a FinalState>,
    /// Pods, in order of arrival.
    pub pods: Vec<&'a PodRecord>,
    /// Endpoints, in order of arrival.
    pub endpoints: Vec<&'a EndpointsRecord>,
    /// Member lists, in order.
    pub lists: Vec<&'a MembershipRecord>,
    /// How busy the machine was.
    pub machine: Vec<&'a MachineSample>,
    /// Phases: time and name.
    pub phases: Vec<(Nanos, &'a str)>,
    /// Faults, by number.
    pub faults: Vec<FaultWindow<'a>>,
    /// Revisions that faults themselves made.
    pub fault_writes: BTreeSet<i64>,
    /// What does not fit together, in words.
    pub defects: Vec<String>,
}

impl<'a> Index<'a> {
    /// Joins a history.
    pub fn new(history: &'a History) -> Self {
        let mut index = Self {
            records: &history.records,
            ..Self::default()
        };
        let mut open: FastMap<OpId, u32> = FastMap::default();
        let mut faults: BTreeMap<u32, FaultWindow<'a>> = BTreeMap::new();
        let (mut start, mut end) = (Nanos::MAX, Nanos::MIN);
        for (at, record) in (0..).zip(&history.records) {
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

    /// Seconds since the earliest record.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run lasts minutes: milliseconds are exact"
    )]
    pub fn seconds(&self, t: Nanos) -> f64 {
        t.saturating_sub(self.start) as f64 / 1e9
    }

    /// When a phase of this name began first.
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

    /// True when a fault was on at some time in `[from, to]`, counting `tail` nanoseconds after its end.
    pub fn disturbed(&self, from: Nanos, to: Nanos, tail: Nanos) -> bool {
        self.faults.iter().any(|fault| {
            fault.from <= to
                && fault
                    .healed
                    .is_none_or(|end| end.saturating_add(tail) >= from)
        })
    }

    /// Pod of each member identifier: the first in which it was sampled.
    pub fn pods_by_member(&self) -> BTreeMap<&'a str, &'a str> {
        let mut pods = BTreeMap::new();
        for sample in &self.members {
            if let Some(status) = &sample.status {
                pods.entry(status.member.as_str())
                    .or_insert(sample.pod.as_str());
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
