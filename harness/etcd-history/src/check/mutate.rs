//! Every known way to spoil a good history, each with the check that must see it.
//!
//! A check that cannot fail proves nothing: here a clean simulated history is spoiled in one place, and the check that
//! owns the promise must find a violation. Where the recording itself is spoiled nothing can be proved: there the check
//! must say so, and accuse no one. Whatever else fires is welcome.

mod cluster;
mod ends;
mod fields;
mod history;
mod operator;
mod reads;
mod shape;
mod store;
mod watch;

use super::expectations::{Expectations, GapBudget, InTime, OperationKind, Traffic};
use crate::History;
use crate::check::{self, Finding};
use crate::record::{Outcome, Record, Response, Route};
use crate::simulate::{Plan, Random, Variety, simulate};

/// Histories that each mutation is tried on.
const SEEDS: u64 = 3;
/// Fewest of them in which it must find something to spoil.
const APPLIED_MIN: u64 = 2;

/// What a spoiled history must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// A promise is broken.
    Violation,
    /// The recording is not what it must be.
    Doubt,
}

impl Owed {
    fn paid(self, finding: &Finding) -> bool {
        match self {
            Self::Violation => matches!(finding, Finding::Violation { .. }),
            Self::Doubt => matches!(finding, Finding::Inconclusive { .. }),
        }
    }
}

/// A way to spoil a history.
pub(crate) struct Mutation {
    pub(crate) name: &'static str,
    /// The check that owns what it breaks.
    pub(crate) check: &'static str,
    /// Spoils the history; false when it has nothing to spoil.
    pub(crate) apply: fn(&mut Spoiler) -> bool,
}

/// A history that is being spoiled.
pub(crate) struct Spoiler {
    pub(crate) history: History,
    pub(crate) random: Random,
}

#[test]
fn every_spoiled_answer_is_caught() {
    catch(store::MUTATIONS, Owed::Violation);
}

#[test]
fn every_spoiled_read_is_caught() {
    catch(reads::MUTATIONS, Owed::Violation);
}

#[test]
fn every_spoiled_end_is_caught() {
    catch(ends::MUTATIONS, Owed::Violation);
}

#[test]
fn every_spoiled_watch_is_caught() {
    catch(watch::MUTATIONS, Owed::Violation);
}

#[test]
fn every_spoiled_member_is_caught() {
    catch(cluster::MUTATIONS, Owed::Violation);
}

#[test]
fn every_spoiled_doing_of_the_operator_is_caught() {
    catch(operator::MUTATIONS, Owed::Violation);
}

#[test]
fn every_spoiled_recording_proves_nothing() {
    catch(history::MUTATIONS, Owed::Doubt);
}

fn catch(mutations: &[Mutation], owed: Owed) {
    let mut told = String::new();
    let histories: Vec<History> = (0..SEEDS).map(|seed| simulate(&plan(seed))).collect();
    for mutation in mutations {
        let (mut applied, mut caught) = (0, 0);
        for (seed, history) in (0..).zip(&histories) {
            let mut spoiler = Spoiler {
                history: history.clone(),
                random: Random::new(seed),
            };
            if !(mutation.apply)(&mut spoiler) {
                continue;
            }
            applied += 1;
            spoiler.history.records.sort_by_key(Record::time);
            let verdicts = check::all(&spoiler.history, &expectations(plan(seed).members));
            let verdict = check::test_support::one(verdicts, mutation.check);
            caught += u64::from(owed.paid(&verdict.finding));
            if !owed.paid(&verdict.finding) {
                told += &format!(
                    "\n{} (seed {seed}) owes a {owed:?}, {} says {:?}",
                    mutation.name, mutation.check, verdict.finding
                );
            }
        }
        if applied < APPLIED_MIN {
            told += &format!(
                "\n{} found something to spoil in {applied} histories only",
                mutation.name
            );
        }
        println!(
            "{:<13} {:<45} {caught} of {applied}",
            mutation.check, mutation.name
        );
    }
    assert!(told.is_empty(), "{told}");
}

/// The plan of a history that is spoiled.
pub(crate) fn plan(seed: u64) -> Plan {
    Plan {
        seed: 1_000 + seed,
        variety: Variety {
            lagging: true,
            ..Variety::default()
        },
        ..Plan::default()
    }
}

#[test]
fn every_check_has_a_mutation() {
    let checks = check::all(&History::default(), &Expectations::default());
    for verdict in checks {
        let count = all()
            .filter(|mutation| mutation.check == verdict.check)
            .count();
        assert!(count >= 2, "{} has {count} mutations", verdict.check);
    }
}

pub(crate) fn all() -> impl Iterator<Item = &'static Mutation> {
    [
        store::MUTATIONS,
        reads::MUTATIONS,
        ends::MUTATIONS,
        watch::MUTATIONS,
        cluster::MUTATIONS,
        operator::MUTATIONS,
        history::MUTATIONS,
    ]
    .into_iter()
    .flatten()
}

impl Spoiler {
    /// Positions of the records that are wanted.
    pub(crate) fn positions(&self, wanted: impl Fn(&Record) -> bool) -> Vec<usize> {
        self.history
            .records
            .iter()
            .enumerate()
            .filter(|(_, record)| wanted(record))
            .map(|(position, _)| position)
            .collect()
    }

    /// One of them.
    pub(crate) fn pick(&mut self, wanted: impl Fn(&Record) -> bool) -> Option<usize> {
        let positions = self.positions(wanted);
        (!positions.is_empty()).then(|| positions[self.random.position(positions.len())])
    }

    /// Changes an answer picked among those that `change` can do something with.
    pub(crate) fn spoil_answer(
        &mut self,
        change: impl Fn(&mut i64, &mut Response) -> bool,
    ) -> bool {
        let mut positions = self.positions(|record| matches!(record, Record::Return(end) if matches!(end.outcome, Outcome::Ok { .. })));
        while !positions.is_empty() {
            let position = positions.swap_remove(self.random.position(positions.len()));
            if let Record::Return(end) = &mut self.history.records[position]
                && let Outcome::Ok {
                    revision, response, ..
                } = &mut end.outcome
                && change(revision, response)
            {
                return true;
            }
        }
        false
    }

    /// Position of the call of an operation.
    pub(crate) fn call(&self, op: u64) -> Option<usize> {
        self.history
            .records
            .iter()
            .position(|record| matches!(record, Record::Call(call) if call.op == op))
    }

    /// Position of the return of an operation.
    pub(crate) fn end(&self, op: u64) -> Option<usize> {
        self.history
            .records
            .iter()
            .position(|record| matches!(record, Record::Return(end) if end.op == op))
    }

    /// Adds a record at the end of the file.
    pub(crate) fn add(&mut self, record: Record) {
        self.history.records.push(record);
    }
}

/// What a simulated run lives up to.
pub(crate) fn expectations(members: u32) -> Expectations {
    use OperationKind as Kind;
    let budget = |route, limit_ms| GapBudget {
        route,
        median_ms: None,
        limit_ms,
        over_dial_all: false,
    };
    Expectations {
        members,
        faults: 1,
        traffic: Traffic::default(),
        operations: [
            Kind::Put,
            Kind::Range,
            Kind::SerializableRange,
            Kind::Delete,
            Kind::Txn,
            Kind::LeaseGrant,
            Kind::Watch,
        ]
        .into(),
        gaps: vec![
            budget(Route::ServiceFresh, 1_500.0),
            budget(Route::ServiceHeld, 1_500.0),
            budget(Route::DialAll, 1_500.0),
            GapBudget {
                over_dial_all: true,
                ..budget(Route::ServiceFresh, 500.0)
            },
        ],
        label_lag_ms: Some(500),
        in_time: vec![InTime {
            from: "fault".to_owned(),
            to: "final".to_owned(),
            limit_ms: 60_000,
        }],
        ..Expectations::default()
    }
}
