//! Compaction: a revision that is compacted is refused, one that is not is served, and one that is there is not of the
//! future.
//!
//! A compaction counts from its acknowledgement where it must have happened, and from its call where it may have. etcd
//! refuses to read what is below the revision that it is compacted to, and to compact to it again. Where it is known to
//! compact by itself too, a refusal may be of that, and nothing that is served is wrong for it. An etcd that was used
//! before the run may have been compacted then, up to where the run began.

use super::Case;
use super::compacted_alone::Passed;
use super::placement;
use super::verdict::Findings;
use super::witness::Stop;
use super::words;
use crate::index::{Acked, Op};
use crate::record::{Nanos, Outcome, Request, Response};

/// A revision that a request names.
#[derive(Clone, Copy)]
struct Named {
    revision: i64,
    /// To compact to it, not to read it.
    compacts: bool,
}

/// Acknowledged and doubtful compactions, in the order of their calls.
pub(super) struct Compactions<'a> {
    all: Vec<(&'a Op<'a>, i64)>,
    /// From when on others may have compacted to any revision.
    others: Option<Nanos>,
    /// How far etcd may have compacted by itself, where it does.
    passed: Option<Passed>,
    /// How far it may have been compacted before the run.
    before: i64,
}

/// The fault after which the operator compacts, to free space.
const FILLS_QUOTA: &str = "fill_quota";

/// Judges every request that names a revision.
pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let compactions = Compactions::new(case);
    hashes(case, &compactions, findings);
    for op in &case.index.ops {
        let why = match op.end.map(|end| &end.outcome) {
            Some(Outcome::Ok { .. }) => op.acked().and_then(|acked| compactions.served(op, acked)),
            Some(Outcome::Failed { class, .. }) if class == "compacted" => {
                unasked(op, "compacted").or_else(|| compactions.refused(case, op))
            }
            Some(Outcome::Failed { class, .. }) if class == "future_revision" => {
                unasked(op, "of the future").or_else(|| future(case, op))
            }
            _ => None,
        };
        if let Some(why) = why {
            let told = words::op(case.index, op);
            findings.violation(format!("{told} {why}"), vec![op.id()]);
        }
    }
}

/// A hash is of what is left behind a compaction that may have been asked for, and never of what was compacted.
/// Whenever that was: another process asks for hashes, by a clock of its own.
fn hashes(case: &Case<'_>, compactions: &Compactions<'_>, findings: &mut Findings) {
    let end = case.index.end;
    for hash in &case.index.hashes {
        let (to, revision) = (hash.compact_revision, hash.revision);
        let why = if to > revision && revision > 0 {
            "which is behind it".to_owned()
        } else if to > compactions.upto(end) {
            let asked = compactions.asked(end, None);
            let own = compactions.told(end);
            format!("no client had compacted further than {asked}{own}")
        } else {
            continue;
        };
        let at = case.index.seconds(hash.t);
        findings.violation(
            format!(
                "the hash of {} at revision {revision} says that it is compacted to {to}, {why}, at {at:.6} s",
                hash.pod
            ),
            Vec::new(),
        );
    }
}

/// A refusal because of a revision, where nothing is read and none is compacted to.
fn unasked(op: &Op<'_>, what: &str) -> Option<String> {
    let mut parts = op.call.request.parts();
    let asks = parts.any(|part| matches!(part, Request::Range { .. } | Request::Compact { .. }));
    (!asks).then(|| format!("was refused as {what}, and asks for no revision"))
}

/// How far etcd may have been compacted before the run. One at its first revision has nothing to compact.
fn before(case: &Case<'_>) -> i64 {
    let base = match case.replayed.stop {
        Some(Stop::Unknown { .. }) => {
            let lowest = placement::lowest(case.index, case.log);
            lowest.map_or(i64::MAX, |(lowest, _)| lowest)
        }
        _ => case.replayed.made.base(),
    };
    if base > 1 { base } else { 0 }
}

impl<'a> Compactions<'a> {
    pub(super) fn new(case: &Case<'a>) -> Self {
        let index = case.index;
        let all = index.ops.iter().filter_map(|op| match op.call.request {
            Request::Compact { revision } if !op.failed() => Some((op, revision)),
            _ => None,
        });
        let fills = index
            .faults
            .iter()
            .filter(|fault| fault.name == FILLS_QUOTA);
        Self {
            all: all.collect(),
            others: fills.map(|fault| fault.from).min(),
            passed: Passed::of(case),
            before: before(case),
        }
    }

    /// The highest revision that may have been compacted to by a time.
    pub(super) fn upto(&self, t: Nanos) -> i64 {
        self.asked(t, None).max(self.unasked(t))
    }

    /// The highest that may have been compacted to without a client of the run.
    fn unasked(&self, t: Nanos) -> i64 {
        let by_itself = self.passed.as_ref().map_or(0, |passed| passed.upto(t));
        by_itself.max(self.before)
    }

    /// How far etcd may have compacted by itself by a time, in words behind others; empty where it does not.
    pub(super) fn told(&self, t: Nanos) -> String {
        let passed = self.passed.as_ref();
        passed.map_or_else(String::new, |passed| {
            format!(", and etcd by itself no further than {}", passed.upto(t))
        })
    }

    /// The highest that clients may have compacted to by a time, with others than this operation.
    pub(super) fn asked(&self, t: Nanos, but: Option<u64>) -> i64 {
        if self.others.is_some_and(|from| from <= t) {
            return i64::MAX;
        }
        let all = self.all.iter();
        all.take_while(|(op, _)| op.call.t <= t)
            .filter(|(op, _)| Some(op.id()) != but)
            .map(|(_, revision)| *revision)
            .max()
            .unwrap_or(0)
    }

    /// The highest that must have happened when an operation was called; below 0, to which a new etcd may be compacted,
    /// for none.
    fn certain(&self, op: &Op<'_>) -> i64 {
        let all = self.all.iter();
        all.filter(|(compaction, _)| compaction.certain().before(op.begin()))
            .map(|(_, revision)| *revision)
            .max()
            .unwrap_or(-1)
    }

    fn served(&self, op: &Op<'_>, acked: Acked<'_>) -> Option<String> {
        let mut named = Vec::new();
        revisions(&op.call.request, Some(acked.response), &mut named);
        let last = named.iter().max_by_key(|named| named.revision)?;
        if last.revision > acked.revision {
            let verb = if last.compacts { "compacted" } else { "read" };
            return Some(format!("{verb} a revision of the future"));
        }
        // A member that is behind has not received the compaction either.
        if placement::local(&op.call.request) {
            return None;
        }
        let certain = self.certain(op);
        let below =
            |named: &&Named| named.revision < certain.saturating_add(i64::from(named.compacts));
        let verb = if named.iter().find(below)?.compacts {
            "compacted"
        } else {
            "read"
        };
        Some(format!(
            "{verb} a revision that was compacted (to {certain})"
        ))
    }

    /// It names a revision that may have been compacted by then. One that names none reads the newest that its member
    /// has when it begins, which may be compacted while it is read.
    fn refused(&self, case: &Case<'_>, op: &Op<'_>) -> Option<String> {
        let mut named = Vec::new();
        revisions(&op.call.request, None, &mut named);
        let end = op.end.map_or(Nanos::MAX, |end| end.t);
        let asked = self.asked(end, Some(op.id()));
        let upto = asked.max(self.unasked(end));
        let may = |named: &Named| named.revision < upto.saturating_add(i64::from(named.compacts));
        let newest = || {
            let local = placement::local(&op.call.request);
            upto > 1 && (local || !case.known.proved(case.index, upto, op.begin()))
        };
        let possible = named.iter().any(may) || reads_newest(&op.call.request) && newest();
        (!possible).then(|| {
            let own = self.told(end);
            format!(
                "was refused as compacted, no client compacted further than {asked} by then{own}"
            )
        })
    }
}

/// Refused as of the future, although everything that it names was there before it was called.
fn future(case: &Case<'_>, op: &Op<'_>) -> Option<String> {
    if placement::local(&op.call.request) {
        return None;
    }
    let mut named = Vec::new();
    revisions(&op.call.request, None, &mut named);
    let last = named.iter().map(|named| named.revision).max()?;
    let there = case.known.proved(case.index, last, op.begin());
    there.then(|| {
        format!("was refused as of the future, revision {last} was there before it was called")
    })
}

/// True where some part of a request reads how it is now.
fn reads_newest(request: &Request) -> bool {
    let newest = |part: &Request| matches!(part, Request::Range { revision: ..=0, .. });
    request.parts().any(newest)
}

/// Revisions that a request names, other than the newest; with its answer only those of the branch that ran.
fn revisions(request: &Request, response: Option<&Response>, named: &mut Vec<Named>) {
    match request {
        Request::Range {
            revision: revision @ 1..,
            ..
        } => named.push(Named {
            revision: *revision,
            compacts: false,
        }),
        Request::Compact { revision } => named.push(Named {
            revision: *revision,
            compacts: true,
        }),
        Request::Txn {
            then, otherwise, ..
        } => {
            let (then, otherwise): (&[Request], &[Request]) = match response {
                Some(Response::Txn {
                    succeeded: true, ..
                }) => (then, &[]),
                Some(_) => (&[], otherwise),
                None => (then, otherwise),
            };
            for request in then.iter().chain(otherwise) {
                revisions(request, None, named);
            }
        }
        _ => {}
    }
}
