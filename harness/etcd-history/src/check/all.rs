//! Judges a history by every check.

use super::case::Case;
use super::expectations::Expectations;
use super::log::Log;
use super::machine::Machine;
use super::proof::{self, Known};
use super::verdict::Verdict;
use super::{
    agreement, assumptions, continuity, durability, elections, in_time, labels, leases,
    linearizable as order, load, locks, membership, planned, quorum, raft, reads, watch, witness,
};
use crate::history::History;
use crate::index::Index;

/// Checks of earlier versions that have another name now: a saved verdict of theirs is not one of the run's own.
pub const RENAMED: &[&str] = &["leader_stays"];

/// Judges a history. Assumptions come first: when they do not hold, read the rest with care.
pub fn all(history: &History, expectations: &Expectations) -> Vec<Verdict> {
    let index = Index::new(history);
    let log = Log::assemble(&index);
    let known = Known::new(&index);
    let replayed = witness::replay(&index, &log, &known);
    let machine = Machine::new(&index);
    let case = Case {
        index: &index,
        log: &log,
        replayed: &replayed,
        known: &known,
        ceiling: proof::ceiling(&index, &log),
        machine: &machine,
        expectations,
    };
    let mut verdicts = vec![
        assumptions::check(&case),
        order::check(&case),
        reads::check(&case),
        durability::check(&case),
        watch::check(&case),
        leases::check(&case),
        agreement::check(&case),
        raft::check(&case),
        membership::check(&case),
        continuity::check(&case),
    ];
    verdicts.extend(locks::check(&case));
    if expectations.kubernetes {
        verdicts.push(labels::check(&case));
        verdicts.push(quorum::check(&case));
    }
    verdicts.extend(elections::check(&case));
    if expectations.planned {
        verdicts.push(planned::no_failed_write(&case));
        verdicts.push(planned::hand_over(&case));
    }
    if !expectations.in_time.is_empty() {
        verdicts.push(in_time::check(&case));
    }
    if !index.machine.is_empty() {
        verdicts.push(load::check(&case));
    }
    verdicts
}

/// Judges linearizability alone, for measuring it.
pub fn linearizable(history: &History) -> Verdict {
    let index = Index::new(history);
    let log = Log::assemble(&index);
    let known = Known::new(&index);
    let replayed = witness::replay(&index, &log, &known);
    let expectations = &Expectations::default();
    order::check(&Case {
        index: &index,
        log: &log,
        replayed: &replayed,
        known: &known,
        ceiling: proof::ceiling(&index, &log),
        machine: &Machine::new(&index),
        expectations,
    })
}
