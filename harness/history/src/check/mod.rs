//! The checks, one file per property, each pure over the joined history.
//!
//! A check gives a pass only when there was something to see: too little traffic, a fault without effect or a missing
//! sample is inconclusive, never green. The first violation in witness order is told, naming at most six operations.
//!
//! Rooms: [`assumptions`] is the history fit to be judged at all; [`linearizable`] with its parts `store` (what etcd
//! must answer), `log` (revision by revision from the watches), `placement` (where each operation belongs), `proof`
//! (what proves that a revision existed), `witness` (order by revision) and `search` (for what has no revision);
//! [`reads`], [`leases`] (with the table `lives`), [`durability`], [`watch`] for the clients;
//! [`agreement`], [`raft`] (with `applied`), [`membership`], [`elections`] for the members; [`labels`], [`quorum`],
//! [`continuity`], [`planned`], [`in_time`] for the operator.
//!
//! Claims about time ([`continuity`], [`planned`], [`in_time`], the late end of [`leases`]) ask [`machine`] first:
//! where it was too busy they are not judged. All other claims are judged on every machine.

mod agreement;
mod applied;
mod assumptions;
mod compaction;
mod continuity;
mod durability;
mod elections;
mod expectations;
mod gaps;
mod in_time;
mod keyspace;
mod labels;
mod leases;
mod linearizable;
mod lives;
mod log;
mod machine;
mod membership;
mod placement;
mod planned;
mod proof;
mod quorum;
mod raft;
mod reads;
mod rounds;
mod sample;
mod search;
mod store;
mod verdict;
mod watch;
mod witness;
mod words;

#[cfg(test)]
mod mutate;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub use continuity::{CHECK as CONTINUITY, GapSamples};
pub use expectations::{Expectations, GapBudget, InTime, OperationKind, Traffic};
pub use in_time::CHECK as IN_TIME;
pub use planned::HAND_OVER;
pub use verdict::{Judgement, Verdict};

use crate::history::History;
use crate::index::Index;
use log::Log;
use machine::Machine;
use proof::Known;
use witness::Replayed;

/// Checks of earlier versions that have another name now: a saved verdict of theirs is not one of the run's own.
pub const RENAMED: &[&str] = &["leader_stays"];

/// Everything that a check may look at.
pub(crate) struct Case<'a> {
    pub(crate) index: &'a Index<'a>,
    pub(crate) log: &'a Log<'a>,
    pub(crate) replayed: &'a Replayed<'a>,
    pub(crate) known: &'a Known,
    /// The highest revision that can have been made; absent when nothing was acknowledged.
    pub(crate) ceiling: Option<i64>,
    pub(crate) machine: &'a Machine<'a>,
    pub(crate) expectations: &'a Expectations,
}

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
        linearizable::check(&case),
        reads::check(&case),
        durability::check(&case),
        watch::check(&case),
        leases::check(&case),
        agreement::check(&case),
        raft::check(&case),
        membership::check(&case),
        continuity::check(&case),
    ];
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
        verdicts.push(machine::tell(&case));
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
    linearizable::check(&Case {
        index: &index,
        log: &log,
        replayed: &replayed,
        known: &known,
        ceiling: proof::ceiling(&index, &log),
        machine: &Machine::new(&index),
        expectations,
    })
}
