//! Strict serializability of the key-value store: one order of all operations, in agreement with real time.
//!
//! The witness decides; the bounded search is asked only when a revision is unexplained. What etcd never acknowledges
//! is a violation wherever it would stand.

use super::Case;
use super::placement;
use super::proof;
use super::refused;
use super::search::{self, Found};
use super::verdict::{Findings, Verdict};
use super::witness::Stop;
use super::words;
use crate::index::Index;
use crate::record::{Nanos, Record};

/// Name of the check.
pub(crate) const CHECK: &str = "linearizable";

/// Judges linearizability.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    findings.count("operations", case.index.ops.len());
    let tally = &case.replayed.tally;
    findings.count("operations_placed", tally.placed);
    findings.count("unknown_writes_found", tally.found);
    findings.count("leases_ended", tally.ended.len());
    findings.count("revisions", usize::try_from(tally.last).unwrap_or(0));
    if tally.placed == 0 {
        findings.doubt("no operation was acknowledged".to_owned());
    }
    for op in &case.index.ops {
        if let Some(why) = refused::acknowledged(op) {
            let told = words::op(case.index, op);
            findings.violation(format!("{told}: {why}"), vec![op.id()]);
        }
    }
    if let Some(reason) = case.replayed.unsure.clone() {
        findings.doubt(reason);
    }
    match case.replayed.stop.clone() {
        None => {}
        Some(Stop::Violation { explanation, ops }) => findings.violation(explanation, ops),
        Some(Stop::Unknown { reason }) => findings.doubt(reason),
        Some(Stop::Hole { revision }) => {
            findings.count(
                "searched_from_revision",
                usize::try_from(revision).unwrap_or(0),
            );
            match search::search_on(case, search::STEPS_MAX) {
                Found::Order => {}
                Found::None { explanation, ops } => match out_of_order(case.index) {
                    Some(reason) => findings.doubt(reason),
                    None => findings.violation(
                        format!("nothing tells what made revision {revision}, and {explanation}"),
                        ops,
                    ),
                },
                Found::Exhausted { reason } => {
                    findings.doubt(format!(
                        "nothing tells what made revision {revision}, and {reason}"
                    ));
                    let alike = placement::alike(case.index).into_iter().min();
                    if let Some(op) = alike {
                        findings.doubt(words::alike(case.index, &case.index.ops[op as usize]));
                    }
                }
            }
        }
    }
    findings.verdict(CHECK)
}

/// Why the search may have missed an order, where several writes have one value: it goes by time alone, and by its time
/// an operation was called behind a revision that by its line it may have made.
fn out_of_order(index: &Index<'_>) -> Option<String> {
    if placement::alike(index).is_empty() {
        return None;
    }
    let mut earliest = Nanos::MAX;
    for record in index.records.iter().rev() {
        if let Record::Call(call) = record
            && call.t > earliest
            && let Some(op) = index.ops.iter().find(|op| op.id() == call.op)
        {
            return Some(format!(
                "the clocks of those who wrote the history disagree about {}",
                words::op(index, op)
            ));
        }
        if let Some((t, _)) = proof::told(record) {
            earliest = earliest.min(t);
        }
    }
    None
}
