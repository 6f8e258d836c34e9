//! Reads that may be old: what a serializable read shows must have been true at its revision, a member never goes back
//! for one client while nothing happens to it, and a compacted revision is refused exactly.

use std::collections::BTreeMap;

use super::Case;
use super::placement;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::index::Op;
use crate::record::{Nanos, Outcome, Request};

/// Name of the check.
const CHECK: &str = "reads";

/// Judges serializable reads and reads of older revisions.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let tally = &case.replayed.tally;
    findings.count("serializable_reads_compared", tally.serializable);
    for (explanation, op) in &tally.untrue {
        findings.violation(explanation.clone(), vec![*op]);
    }
    if case.replayed.stop.is_some() {
        findings.doubt(format!(
            "the replay ended at revision {}, later reads were not compared",
            tally.last
        ));
    }
    monotone(case, &mut findings);
    compaction(case, &mut findings);
    findings.verdict(CHECK)
}

/// A member that restarts may answer from an older store until it has caught up, so that only undisturbed pairs count.
fn monotone(case: &Case<'_>, findings: &mut Findings) {
    let settle = Nanos::try_from(case.expectations.settle_ms)
        .unwrap_or(0)
        .saturating_mul(1_000_000);
    let mut newest: BTreeMap<(u32, &str), (i64, Op<'_>)> = BTreeMap::new();
    for op in &case.index.ops {
        let Some(acked) = op
            .acked()
            .filter(|_| placement::serializable(&op.call.request))
        else {
            continue;
        };
        let last = newest
            .entry((op.call.client, acked.member))
            .or_insert((acked.revision, *op));
        let undisturbed = !case.index.disturbed(last.1.call.t, op.certain_by(), settle);
        if acked.revision < last.0 && last.1.certain_by() <= op.call.t && undisturbed {
            findings.violation(
                format!(
                    "member {} went back from revision {} to {} for one client: {} and {}",
                    acked.member,
                    last.0,
                    acked.revision,
                    words::op(case.index, &last.1),
                    words::op(case.index, op)
                ),
                vec![last.1.id(), op.id()],
            );
        }
        *last = (acked.revision, *op);
    }
}

/// A linearizable read below an acknowledged compaction is refused, and none is refused without a compaction.
fn compaction(case: &Case<'_>, findings: &mut Findings) {
    // Revision compacted to, in the order in which it was certain; and the highest that was ever asked for.
    let mut certain: Vec<(Nanos, i64)> = Vec::new();
    let mut asked = 0;
    for op in &case.index.ops {
        if let Request::Compact { revision } = op.call.request {
            asked = asked.max(revision);
            if op.acked().is_some() {
                certain.push((op.certain_by(), revision));
            }
        }
    }
    certain.sort_unstable();
    for op in &case.index.ops {
        let Request::Range {
            revision: at @ 1..,
            serializable: false,
            ..
        } = op.call.request
        else {
            continue;
        };
        let before = certain
            .iter()
            .filter(|(t, _)| *t < op.call.t)
            .map(|(_, revision)| *revision)
            .max();
        match op.end.map(|end| &end.outcome) {
            Some(Outcome::Ok { revision, .. }) if at > *revision => findings.violation(
                format!(
                    "{} read a revision of the future",
                    words::op(case.index, op)
                ),
                vec![op.id()],
            ),
            Some(Outcome::Ok { .. }) if before.is_some_and(|compacted| at < compacted) => findings
                .violation(
                    format!(
                        "{} read a revision that was compacted (to {})",
                        words::op(case.index, op),
                        before.unwrap_or(0)
                    ),
                    vec![op.id()],
                ),
            Some(Outcome::Failed { class, .. }) if class == "compacted" && at >= asked => findings
                .violation(
                    format!(
                        "{} was refused as compacted, nobody compacted further than {asked}",
                        words::op(case.index, op)
                    ),
                    vec![op.id()],
                ),
            _ => {}
        }
    }
}
