//! Reads that may be old: what a serializable read shows must have been true at its revision, a member never goes back
//! while nothing happens to it, and a compacted revision is refused exactly.

use std::collections::BTreeMap;

use super::Case;
use super::compaction;
use super::placement;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::index::{Moment, Op};
use crate::record::{Nanos, Record};

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
    compaction::check(case, &mut findings);
    findings.verdict(CHECK)
}

/// What a member said of its own store: in the header of an answer, whatever was asked, or in its status.
#[derive(Clone, Copy)]
struct Word<'a> {
    revision: i64,
    /// When it had said so.
    by: Moment,
    op: Option<Op<'a>>,
}

/// A member that restarts may answer from an older store until it has caught up, so that only undisturbed pairs
/// count. It answers all clients alike: what it told one client binds it for all others. A write that it acknowledged
/// is in its own store as well.
fn monotone(case: &Case<'_>, findings: &mut Findings) {
    let settle = Nanos::try_from(case.expectations.settle_ms)
        .unwrap_or(0)
        .saturating_mul(1_000_000);
    let mut words = words_of(case);
    words.sort_by_key(|(_, word)| word.by.t);
    let mut next = words.into_iter().peekable();
    // Of those that came later the last one above each binds: a list of falling revisions, the newest last.
    let mut newest: BTreeMap<&str, Vec<Word<'_>>> = BTreeMap::new();
    for op in &case.index.ops {
        while let Some((member, word)) = next.next_if(|(_, word)| word.by.t < op.call.t) {
            let binding = newest.entry(member).or_default();
            while binding
                .pop_if(|last| last.revision <= word.revision)
                .is_some()
            {}
            binding.push(word);
        }
        let Some(acked) = op
            .acked()
            .filter(|_| placement::serializable(&op.call.request))
        else {
            continue;
        };
        let binding = newest.get(acked.member).map_or(&[][..], Vec::as_slice);
        let above = binding
            .iter()
            .rev()
            .find(|word| word.revision > acked.revision);
        let Some(word) = above.filter(|word| word.by.before(op.begin())) else {
            continue;
        };
        let from = word.op.map_or(word.by.t, |op| op.call.t);
        if !case.index.disturbed(from, op.certain_by(), settle) {
            let told = word.op.map_or_else(
                || format!("its status at {:.6} s", case.index.seconds(word.by.t)),
                |op| words::op(case.index, &op),
            );
            findings.violation(
                format!(
                    "member {} went back from revision {} to {}: {told} and {}",
                    acked.member,
                    word.revision,
                    acked.revision,
                    words::op(case.index, op)
                ),
                word.op.iter().chain([op]).map(Op::id).collect(),
            );
        }
    }
}

/// Nothing where no read is held to it.
fn words_of<'a>(case: &Case<'a>) -> Vec<(&'a str, Word<'a>)> {
    let mut words = Vec::new();
    let mut ops = case.index.ops.iter();
    if !ops.any(|op| placement::serializable(&op.call.request)) {
        return words;
    }
    for op in &case.index.ops {
        if let Some(acked) = op.acked() {
            let (revision, by) = (acked.revision, op.certain());
            let op = Some(*op);
            words.push((acked.member, Word { revision, by, op }));
        }
    }
    for (at, record) in (0..).zip(case.index.records) {
        if let Record::Member(sample) = record
            && let Some(status) = &sample.status
        {
            let (revision, by) = (status.revision, Moment { t: sample.t, at });
            let op = None;
            words.push((status.member.as_str(), Word { revision, by, op }));
        }
    }
    words
}
