//! Leases: never gone before their last refresh plus their time, never kept long after it, never alive again.
//!
//! Bounds are on the recording client's clock: a refresh took effect no earlier than its call, an expiry no later than a
//! watcher saw it. A change of leader gives every lease its full time again, so that lateness is judged from there.

use std::collections::BTreeMap;

use super::Case;
use super::gaps::Window;
use super::log;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::index::Op;
use crate::record::{KeyEvent, Nanos, Request, Response};

/// Name of the check.
const CHECK: &str = "leases";
/// Clocks of two processes may tick this much apart over a lease.
const EARLY_SLACK_NS: Nanos = 50_000_000;
const SECOND_NS: Nanos = 1_000_000_000;
const MILLISECOND_NS: Nanos = 1_000_000;

/// What is known of one lease.
#[derive(Default)]
struct Lease<'a> {
    ttl_ns: Nanos,
    /// Grant and keep-alives that etcd acknowledged, in order of their calls.
    refreshes: Vec<Op<'a>>,
    /// When a refresh that nobody knows the outcome of was last on its way.
    doubtful_refresh: Nanos,
    /// First call of a revoke that may have happened.
    revoke: Option<Op<'a>>,
    /// When its keys were seen to go by themselves.
    ended: Vec<Nanos>,
    /// Key attached last, while it is there.
    attached: Option<&'a str>,
}

/// Judges leases.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let leases = collect(case);
    let ended: usize = leases.values().map(|lease| lease.ended.len()).sum();
    findings.count("leases", leases.len());
    findings.count("leases_ended", ended);
    if case.replayed.stop.is_some() && !leases.is_empty() {
        findings.doubt("the replay ended early, later expiries were not judged".to_owned());
    }
    for (id, lease) in &leases {
        early(case, *id, lease, &mut findings);
        revived(case, *id, lease, &mut findings);
        if case.replayed.stop.is_none() {
            late(case, *id, lease, &mut findings);
        }
    }
    findings.verdict(CHECK)
}

fn collect<'a>(case: &Case<'a>) -> BTreeMap<i64, Lease<'a>> {
    let mut leases: BTreeMap<i64, Lease<'a>> = BTreeMap::new();
    for op in &case.index.ops {
        match op.call.request {
            Request::LeaseGrant { id, .. } | Request::LeaseKeepAlive { id } if !op.failed() => {
                leases.entry(id).or_default().refresh(op);
            }
            Request::LeaseRevoke { id } if !op.failed() => {
                leases.entry(id).or_default().revoke.get_or_insert(*op);
            }
            _ => {}
        }
    }
    for ended in &case.replayed.tally.ended {
        leases
            .entry(ended.lease)
            .or_default()
            .ended
            .push(ended.seen);
    }
    let mut holder: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, entry) in case.log.entries() {
        for event in entry.events {
            let after = match event {
                KeyEvent::Put { kv, .. } if kv.lease != 0 => Some(kv.lease),
                _ => None,
            };
            let key = log::key(event);
            match after {
                Some(lease) => holder.insert(key, lease),
                None => holder.remove(key),
            };
        }
    }
    for (key, lease) in holder {
        leases.entry(lease).or_default().attached = Some(key);
    }
    leases
}

impl<'a> Lease<'a> {
    fn refresh(&mut self, op: &Op<'a>) {
        match op.acked().map(|acked| acked.response) {
            Some(Response::LeaseGrant { ttl, .. }) => {
                self.ttl_ns = ttl.saturating_mul(SECOND_NS);
                self.refreshes.push(*op);
            }
            Some(Response::LeaseKeepAlive { ttl: 1.. }) => self.refreshes.push(*op),
            // An older etcd may say so of a lease that its new leader has not applied yet: it proves nothing.
            Some(_) => {}
            None => {
                let until = op.end.map_or(op.call.t, |end| end.t);
                self.doubtful_refresh = self.doubtful_refresh.max(until);
            }
        }
    }

    fn revoked_before(&self, t: Nanos) -> bool {
        self.revoke.is_some_and(|revoke| revoke.call.t <= t)
    }
}

fn early(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    for seen in lease
        .ended
        .iter()
        .copied()
        .filter(|seen| !lease.revoked_before(*seen))
    {
        let Some(refresh) = lease.refreshes.iter().rev().find(|op| op.call.t < seen) else {
            continue;
        };
        let due = refresh.call.t.saturating_add(lease.ttl_ns);
        if lease.ttl_ns > 0 && seen < due - EARLY_SLACK_NS {
            findings.violation(
                format!(
                    "lease {id:x} was gone at {:.6} s, not due before {:.6} s: last refresh was {}",
                    case.index.seconds(seen),
                    case.index.seconds(due),
                    words::op(case.index, refresh)
                ),
                vec![refresh.id()],
            );
        }
    }
}

/// A keep-alive that succeeds proves that the lease was there.
fn revived(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    let revoked = lease
        .revoke
        .filter(|op| op.acked().is_some())
        .map(|op| op.certain_by());
    let Some(gone) = lease.ended.iter().copied().chain(revoked).min() else {
        return;
    };
    if let Some(op) = lease.refreshes.iter().find(|op| op.call.t > gone) {
        findings.violation(
            format!(
                "lease {id:x} was gone at {:.6} s, yet {} refreshed it",
                case.index.seconds(gone),
                words::op(case.index, op)
            ),
            vec![op.id()],
        );
    }
}

fn late(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    let Some(refresh) = lease.refreshes.last().filter(|_| lease.ttl_ns > 0) else {
        return;
    };
    let milliseconds = case.expectations.election_ms + case.expectations.lease_slack_ms;
    let slack = Nanos::try_from(milliseconds).unwrap_or(0) * MILLISECOND_NS;
    let last = refresh.certain_by().max(lease.doubtful_refresh);
    let gone = match (lease.ended.first(), lease.attached) {
        (Some(seen), _) => *seen,
        // Keys are still there when everything ends.
        (None, Some(_)) => case.index.end,
        (None, None) => return,
    };
    if gone <= last.saturating_add(lease.ttl_ns + slack) {
        return;
    }
    let excuse = excuses(case, gone).max().unwrap_or(Nanos::MIN);
    if lease.revoke.is_none() && gone > excuse.saturating_add(lease.ttl_ns + slack) {
        let due = last.max(excuse).saturating_add(lease.ttl_ns);
        if let Some(why) = case.machine.slow(Window {
            from: due,
            to: gone,
        }) {
            findings.not_judged(format!("end of lease {id:x}"), &why);
            return;
        }
        findings.violation(
            format!(
                "lease {id:x} still had its keys at {:.6} s, last refreshed by {}",
                case.index.seconds(gone),
                words::op(case.index, refresh)
            ),
            vec![refresh.id()],
        );
    }
}

/// Times up to which a lease may have started anew or nobody could end it: faults, and terms seen first.
fn excuses(case: &Case<'_>, until: Nanos) -> impl Iterator<Item = Nanos> {
    let faults = case
        .index
        .faults
        .iter()
        .filter(move |fault| fault.from <= until);
    let mut term = 0;
    let elections = case
        .index
        .members
        .iter()
        .filter(move |sample| sample.t <= until)
        .filter_map(move |sample| {
            let seen = sample.status.as_ref()?.term;
            let newer = seen > term;
            term = term.max(seen);
            newer.then_some(sample.t)
        });
    faults
        .map(move |fault| fault.healed.unwrap_or(until))
        .chain(elections)
}
