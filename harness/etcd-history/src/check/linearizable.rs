//! Strict serializability of the key-value store: one order of all operations, in agreement with real time.
//!
//! The witness decides; the bounded search is asked only when a revision is unexplained. What etcd never acknowledges
//! is a violation wherever it would stand.

use super::Case;
use super::placement;
use super::refused;
use super::search::{self, Found};
use super::verdict::{Findings, Verdict};
use super::witness::Stop;
use super::words;

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
                Found::None { explanation, ops } => {
                    // Of several the search takes the one that was called last.
                    let alike = placement::alike(case.index).into_iter().min();
                    match alike.map(|op| words::alike(case.index, &case.index.ops[op as usize])) {
                        Some(reason) => findings.doubt(reason),
                        None => findings.violation(
                            format!(
                                "nothing tells what made revision {revision}, and {explanation}"
                            ),
                            ops,
                        ),
                    }
                }
                Found::Exhausted { reason } => {
                    findings.doubt(format!(
                        "nothing tells what made revision {revision}, and {reason}"
                    ));
                }
            }
        }
    }
    findings.verdict(CHECK)
}
