//! Locks and elections: two holders never both write.
//!
//! A holder writes in a transaction that compares the revision at which it took its lock (the fence), so that etcd
//! refuses it as soon as the lock is gone, whatever the holder believes. What is held against the answers alone,
//! without the replay: fences of one key never go back, a fence that was found gone never holds again, and none holds
//! when its lock was taken by another one in between. That two believe at one time that they hold a lock is no
//! violation, but what the fence is for; such writes are counted.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::hash::FastSet;
use crate::index::{Index, Op};
use crate::record::{Compare, Request, Response};

/// Name of the check.
const CHECK: &str = "locks";

/// Tells locks from other keys.
struct Locks<'a> {
    /// Keys that are compared, and that some request puts without a lease: to compare the revision of one is no fence.
    plain: FastSet<&'a str>,
}

/// A write under a lock, as it was asked for.
struct Guarded<'a> {
    /// Key and revision of the lock.
    fence: (&'a str, i64),
    key: &'a str,
}

/// The answer to one.
struct Answered<'a> {
    op: Op<'a>,
    fence: (&'a str, i64),
    revision: i64,
}

/// All that concerns locks.
#[derive(Default)]
struct Seen<'a> {
    asked: usize,
    /// By the key that was written.
    written: BTreeMap<&'a str, Vec<Answered<'a>>>,
    /// The first refusal of each fence.
    refused: BTreeMap<(&'a str, i64), Answered<'a>>,
    refusals: usize,
    /// Revisions at which each lock was taken, and by which operation.
    taken: BTreeMap<&'a str, BTreeMap<i64, Op<'a>>>,
}

/// Judges locks; nothing where there are none.
pub(super) fn check(case: &Case<'_>) -> Option<Verdict> {
    let seen = Seen::of(case.index);
    let wanted = case.expectations.contested_locks as usize;
    if seen.asked == 0 && wanted == 0 {
        return None;
    }
    let mut findings = Findings::default();
    let written = seen.written.values().flatten();
    let holders: BTreeSet<_> = written.clone().map(|write| write.fence).collect();
    findings.count("locks_taken", seen.taken.values().map(BTreeMap::len).sum());
    findings.count("guarded_writes", written.count());
    findings.count("writes_refused", seen.refusals);
    findings.count("holders", holders.len());
    let contested = seen.contested();
    findings.count("contested", contested);
    if holders.is_empty() {
        findings.doubt("no holder of a lock wrote".to_owned());
    } else if contested < wanted {
        findings.doubt(format!(
            "of what locks guard, {contested} of {wanted} keys were written by two holders at least: where one holds \
             alone nothing shows that it keeps the others out"
        ));
    }
    for writes in seen.written.values() {
        for write in writes {
            seen.fence_holds(case.index, write, &mut findings);
        }
        for pair in writes.windows(2) {
            if let [first, second] = pair
                && second.fence.1 < first.fence.1
            {
                let why = format!(
                    "wrote by the lock of revision {}, after a holder by that of revision {} had written: {}",
                    second.fence.1,
                    first.fence.1,
                    words::op(case.index, &first.op)
                );
                blame(case.index, second, (&why, &first.op), &mut findings);
            }
        }
    }
    Some(findings.verdict(CHECK))
}

/// Writes under a lock that etcd took, and those that it refused because the lock was gone.
pub(super) fn guarded_writes(index: &Index<'_>) -> (usize, usize) {
    let seen = Seen::of(index);
    let written = seen.written.values().map(Vec::len).sum();
    (written, seen.refusals)
}

impl<'a> Seen<'a> {
    fn of(index: &Index<'a>) -> Self {
        let mut seen = Self::default();
        let locks = Locks::of(index);
        for op in &index.ops {
            if let Some(guarded) = locks.guarded(&op.call.request) {
                seen.asked += 1;
                seen.guarded(*op, &guarded);
            } else if let Some(key) = takes(&op.call.request)
                && let Some((true, revision)) = succeeded(op)
            {
                seen.taken.entry(key).or_default().insert(revision, *op);
            }
        }
        for writes in seen.written.values_mut() {
            writes.sort_by_key(|write| write.revision);
        }
        seen
    }

    fn guarded(&mut self, op: Op<'a>, guarded: &Guarded<'a>) {
        let Some((held, revision)) = succeeded(&op) else {
            return;
        };
        let fence = guarded.fence;
        let answered = Answered {
            op,
            fence,
            revision,
        };
        if held {
            self.written.entry(guarded.key).or_default().push(answered);
            return;
        }
        self.refusals += 1;
        let first = self.refused.get(&fence);
        // In front of its revision it was not there yet.
        if revision >= fence.1 && first.is_none_or(|first| revision < first.revision) {
            self.refused.insert(fence, answered);
        }
    }

    /// Keys that more than one client has written under a lock.
    fn contested(&self) -> usize {
        let clients = |writes: &[Answered<'_>]| -> BTreeSet<u32> {
            writes.iter().map(|write| write.op.call.client).collect()
        };
        let written = self.written.values();
        written.filter(|writes| clients(writes).len() > 1).count()
    }

    /// Nothing shows that the lock was gone when this was written.
    fn fence_holds(&self, index: &Index<'a>, write: &Answered<'a>, findings: &mut Findings) {
        let (lock, token) = write.fence;
        if token >= write.revision {
            let why = format!("wrote by a lock of revision {token}, which was not there yet");
            findings.violation(
                format!("{} {why}", words::op(index, &write.op)),
                vec![write.op.id()],
            );
        }
        let refused = self.refused.get(&write.fence);
        if let Some(refused) = refused.filter(|refused| refused.revision < write.revision) {
            let why = format!(
                "wrote by the lock of revision {token}, which was gone: {} was refused",
                words::op(index, &refused.op)
            );
            blame(index, write, (&why, &refused.op), findings);
        }
        let between = token.saturating_add(1)..write.revision.max(token.saturating_add(1));
        let taken = self.taken.get(lock);
        if let Some((at, other)) = taken.and_then(|taken| taken.range(between).next()) {
            let why = format!(
                "wrote by the lock of revision {token}, which another had taken at revision {at}: {}",
                words::op(index, other)
            );
            blame(index, write, (&why, other), findings);
        }
    }
}

impl<'a> Locks<'a> {
    fn of(index: &Index<'a>) -> Self {
        let compared = index.ops.iter().filter_map(|op| guarded(&op.call.request));
        let compared: FastSet<&str> = compared.map(|guarded| guarded.fence.0).collect();
        let mut plain = FastSet::default();
        for op in index.ops.iter().filter(|_| !compared.is_empty()) {
            for part in op.call.request.parts() {
                if let Request::Put { key, lease: 0, .. } = part
                    && compared.contains(key.as_str())
                {
                    plain.insert(key.as_str());
                }
            }
        }
        Self { plain }
    }

    /// What a transaction asks for that writes under a lock.
    fn guarded<'r>(&self, request: &'r Request) -> Option<Guarded<'r>> {
        guarded(request).filter(|guarded| !self.plain.contains(guarded.fence.0))
    }
}

fn blame(
    index: &Index<'_>,
    write: &Answered<'_>,
    (why, other): (&str, &Op<'_>),
    findings: &mut Findings,
) {
    findings.violation(
        format!("{} {why}", words::op(index, &write.op)),
        vec![other.id(), write.op.id()],
    );
}

/// Whether the compares held, and the revision of the answer.
fn succeeded(op: &Op<'_>) -> Option<(bool, i64)> {
    let acked = op.acked()?;
    match acked.response {
        Response::Txn { succeeded, .. } => Some((*succeeded, acked.revision)),
        _ => None,
    }
}

/// A transaction that writes one key if another one is of a revision, and does nothing else to it.
fn guarded(request: &Request) -> Option<Guarded<'_>> {
    let Request::Txn { compare, then, .. } = request else {
        return None;
    };
    match (compare.as_slice(), then.as_slice()) {
        (
            [
                Compare::ModRevision {
                    key: lock,
                    revision,
                },
            ],
            [Request::Put { key, .. }],
        ) if lock != key && *revision > 0 => Some(Guarded {
            fence: (lock, *revision),
            key,
        }),
        _ => None,
    }
}

/// The lock that a transaction takes: a key that is not there, under a lease.
fn takes(request: &Request) -> Option<&str> {
    let Request::Txn { compare, then, .. } = request else {
        return None;
    };
    match (compare.as_slice(), then.as_slice()) {
        (
            [Compare::Version { key, version: 0 }],
            [
                Request::Put {
                    key: put, lease, ..
                },
            ],
        ) if key == put && *lease != 0 => Some(key),
        _ => None,
    }
}
