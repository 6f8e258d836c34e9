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

/// Names that checks had in earlier versions. A saved verdict of such a name is of a check that is called otherwise
/// now, not one that the run itself made.
pub const RENAMED: &[&str] = &["leader_stays"];

/// Joins a history, and works out once what all checks look at.
pub(super) fn with_case<R>(
    history: &History,
    expectations: &Expectations,
    judge: impl FnOnce(&Case<'_>) -> R,
) -> R {
    let index = Index::new(history);
    let log = Log::assemble(&index);
    let known = Known::new(&index);
    let replayed = witness::replay(&index, &log, &known);
    let machine = Machine::new(&index);
    judge(&Case {
        index: &index,
        pods: index.pods_by_member(),
        log: &log,
        replayed: &replayed,
        known: &known,
        ceiling: proof::ceiling(&index, &log),
        machine: &machine,
        expectations,
    })
}

/// Judges a history by all checks. The first verdict is that of `assumptions`: when it is no pass, the history may not
/// be fit for the others. It is the only one where a transaction has a part that no check models, which the reader of a
/// file refuses.
pub fn all(history: &History, expectations: &Expectations) -> Vec<Verdict> {
    with_case(history, expectations, verdicts)
}

fn verdicts(case: &Case<'_>) -> Vec<Verdict> {
    let expectations = case.expectations;
    let fit = assumptions::check(case);
    if case.index.unmodelled.is_some() {
        return vec![fit];
    }
    let mut verdicts = vec![
        fit,
        order::check(case),
        reads::check(case),
        durability::check(case),
        watch::check(case),
        leases::check(case),
        agreement::check(case),
        raft::check(case),
        membership::check(case),
        continuity::check(case),
    ];
    verdicts.extend(locks::check(case));
    if expectations.kubernetes {
        verdicts.push(labels::check(case));
        verdicts.push(quorum::check(case));
    }
    verdicts.extend(elections::check(case));
    if expectations.planned {
        verdicts.push(planned::no_failed_write(case));
        verdicts.push(planned::hand_over(case));
    }
    if !expectations.in_time.is_empty() {
        verdicts.push(in_time::check(case));
    }
    if !case.index.machine.is_empty() {
        verdicts.push(load::check(case));
    }
    verdicts
}

/// Judges linearizability alone.
pub fn linearizable(history: &History) -> Verdict {
    with_case(history, &Expectations::default(), order::check)
}
