//! The witness, the bounded search and a brute force that knows neither must say the same of small histories.

use std::collections::BTreeMap;

use crate::check::log::Log;
use crate::check::machine::Machine;
use crate::check::placement::{self, Part};
use crate::check::proof::Known;
use crate::check::search::{self, Found, STEPS_MAX};
use crate::check::store::Store;
use crate::check::used;
use crate::check::witness::{self, Stop};
use crate::check::{Case, Expectations};
use crate::history::History;
use crate::index::{Index, Op};
use crate::record::{Nanos, Outcome, Record, Request};
use crate::simulate::{Plan, Random, simulate};

/// Histories that the three judge.
const SEEDS: u64 = 300;

/// Tiny: a few clients, a few keys, no watchers, a quarter of the outcomes unknown.
fn tiny(seed: u64) -> History {
    let plan = Plan {
        seed,
        clients: 3,
        operations: 9,
        keys: 2,
        writer_period_ms: 0,
        unknown_percent: seed % 25,
        kill_leader: false,
        restart_follower: false,
        watchers: u32::from(seed.is_multiple_of(2)),
        ..Plan::default()
    };
    let mut history = simulate(&plan);
    // Reads of older revisions and the final read of everything are not what the three have in common.
    let older = |request: &Request| matches!(request, Request::Range { revision: 1.., .. });
    history.records.retain(|record| !matches!(record, Record::Call(call) if older(&call.request) || call.client == 9_000));
    history
}

/// Spoils a time, a revision or nothing.
fn spoil(history: &mut History, random: &mut Random) {
    let ends: Vec<usize> = (0..history.records.len())
        .filter(|at| matches!(history.records[*at], Record::Return(_)))
        .collect();
    if ends.is_empty() || random.chance(30) {
        return;
    }
    let at = ends[random.position(ends.len())];
    let Record::Return(end) = &mut history.records[at] else {
        return;
    };
    if let Outcome::Ok { revision, .. } = &mut end.outcome
        && random.chance(50)
    {
        *revision += random.between(-2, 2);
        return;
    }
    let (op, shift) = (end.op, random.between(-6, 6) * 1_000_000);
    for record in &mut history.records {
        match record {
            Record::Call(call) if call.op == op => call.t += shift,
            Record::Return(end) if end.op == op => end.t += shift,
            _ => {}
        }
    }
    history.records.sort_by_key(|record| match record {
        Record::Call(call) => call.t,
        Record::Return(end) => end.t,
        _ => Nanos::MIN,
    });
}

/// Tries every order of the operations; unknown ones may be left out. Watches are not looked at.
fn some_order<'a>(store: &Store<'a>, left: &[Op<'a>]) -> bool {
    let certain = |op: &Op<'_>| op.acked().is_some();
    if !left.iter().any(certain) {
        return true;
    }
    let first_end = left.iter().map(Op::certain_by).min().unwrap_or(Nanos::MAX);
    (0..left.len())
        .filter(|at| left[*at].call.t <= first_end)
        .any(|at| {
            let (mut next, mut changes) = (store.clone(), Vec::new());
            let acked = left[at].acked();
            let executed = next.execute(
                &left[at].call.request,
                acked.map(|acked| acked.response),
                &mut changes,
            );
            let agrees = acked.is_none_or(|acked| acked.revision == next.revision);
            let mut rest = left.to_vec();
            rest.remove(at);
            executed.is_ok() && agrees && some_order(&next, &rest)
        })
}

/// The same, where reads of what was before the run, of which nothing is known, come in front of all others.
fn some_order_behind_reads<'a>(base: &Store<'a>, ops: &[Op<'a>]) -> bool {
    let revision = |op: &Op<'_>| op.acked().map_or(i64::MAX, |acked| acked.revision);
    let is_early = |op: &&Op<'a>| {
        let part = op
            .acked()
            .and_then(|acked| placement::part(&op.call.request, acked.response));
        part == Some(Part::Reads) && revision(op) < base.revision
    };
    let (early, later): (Vec<Op<'a>>, Vec<Op<'a>>) =
        ops.iter().copied().partition(|op| is_early(&op));
    let in_time = early.iter().all(|op| {
        let mut before = ops.iter().filter(|other| other.certain_by() < op.call.t);
        before.all(|other| other.acked().is_none() || revision(other) <= revision(op))
    });
    in_time && some_order(base, &later)
}

#[test]
fn witness_search_and_brute_force_agree() {
    let (mut yes, mut no, mut holes) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut history = tiny(seed);
        spoil(&mut history, &mut Random::new(seed));
        let index = Index::new(&history);
        // The same without watches: brute force knows nothing of them.
        let blind = Log::default();
        let known = Known::of_placed(&index);
        let replayed = witness::replay(&index, &blind, &known);
        let case = Case {
            index: &index,
            pods: BTreeMap::new(),
            log: &blind,
            replayed: &replayed,
            known: &known,
            ceiling: None,
            machine: &Machine::new(&index),
            expectations: &Expectations::default(),
        };
        let found = search::search(&case, STEPS_MAX);
        let ops: Vec<Op<'_>> = index.ops.iter().copied().filter(takes_part).collect();
        let base = used::base(&index, &blind);
        let possible = some_order(&base, &ops);
        assert_eq!(
            found == Found::Order,
            possible,
            "seed {seed}: search says {found:?}"
        );
        match &replayed.stop {
            None => assert!(
                possible || some_order_behind_reads(&base, &ops),
                "seed {seed}: the witness passes"
            ),
            Some(Stop::Violation { explanation, .. }) => {
                assert!(!possible, "seed {seed}: {explanation}")
            }
            Some(Stop::Hole { .. }) => holes += 1,
            // A read in front has a revision that is not the first: then nothing is claimed.
            Some(Stop::Unknown { .. }) => {}
        }
        *(if possible { &mut yes } else { &mut no }) += 1;
    }
    assert!(
        yes > 50 && no > 50 && holes > 5,
        "{yes} possible, {no} impossible, {holes} with a hole"
    );
}

/// What the revision order is about.
fn takes_part(op: &Op<'_>) -> bool {
    match op.acked() {
        Some(acked) => placement::part(&op.call.request, acked.response).is_some(),
        None => {
            op.unknown() && (op.writes() || matches!(op.call.request, Request::LeaseRevoke { .. }))
        }
    }
}

#[test]
fn witness_and_search_agree_with_the_watches_beside_them() {
    for seed in 0..SEEDS {
        let mut history = tiny(seed * 2);
        spoil(&mut history, &mut Random::new(seed));
        let index = Index::new(&history);
        let log = Log::assemble(&index);
        let known = Known::new(&index);
        let replayed = witness::replay(&index, &log, &known);
        let case = Case {
            index: &index,
            pods: BTreeMap::new(),
            log: &log,
            replayed: &replayed,
            known: &known,
            ceiling: None,
            machine: &Machine::new(&index),
            expectations: &Expectations::default(),
        };
        // The search knows nothing of when a watcher saw something: it may pass where the witness does not.
        if replayed.stop.is_none() {
            assert_eq!(
                search::search(&case, STEPS_MAX),
                Found::Order,
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_search_without_budget_is_inconclusive() {
    let history = simulate(&Plan {
        watchers: 0,
        ..Plan::default()
    });
    let index = Index::new(&history);
    let log = Log::assemble(&index);
    let known = Known::new(&index);
    let replayed = witness::replay(&index, &log, &known);
    let case = Case {
        index: &index,
        pods: BTreeMap::new(),
        log: &log,
        replayed: &replayed,
        known: &known,
        ceiling: None,
        machine: &Machine::new(&index),
        expectations: &Expectations::default(),
    };
    assert!(matches!(search::search(&case, 10), Found::Exhausted { .. }));
}
