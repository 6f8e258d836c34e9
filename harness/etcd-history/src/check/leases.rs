//! Leases: never gone before their last refresh plus their time, never kept long after it, never alive again, and
//! nothing is attached to one that is gone, or that no one was granted yet, nor is a grant refused because of it.
//!
//! Bounds are on the recording client's clock: a refresh took effect no earlier than its call, an expiry no later than
//! a watcher saw it. A change of leader gives every lease its full time again, so that lateness is judged from there. A
//! lease lives once for each grant. Where as many lives have ended for certain as can have begun, it is not there.
//! Keys that a delete of unknown outcome may have taken tell nothing of their lease.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::gaps::{Window, milliseconds};
use super::lives::{self, Lease};
use super::placement;
use super::verdict::{Findings, Verdict};
use super::witness::Stop;
use super::words;
use crate::index::{Moment, Op};
use crate::record::{Nanos, Outcome, Request, Response};

/// Name of the check.
const CHECK: &str = "leases";
/// Clocks of two processes may tick this much apart over a lease.
pub(super) const EARLY_SLACK_NS: Nanos = 50_000_000;
/// The most that etcd gives where less is asked for: one and a half of the longest election timeout that it takes.
const LEAST_TTL_MOST_S: i64 = 75;
const MILLISECOND_NS: Nanos = 1_000_000;

/// Judges leases.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let leases = lives::collect(case);
    let ended: usize = leases.values().map(|lease| lease.ended.len()).sum();
    findings.count("leases", leases.len());
    findings.count("leases_ended", ended);
    if case.replayed.stop.is_some() && !leases.is_empty() {
        findings.doubt("the replay ended early, later expiries were not judged".to_owned());
    }
    let (elections, last_word) = (elections(case), lives::last_word(case));
    answers(case, &mut findings);
    refusals(case, &mut findings);
    for (id, lease) in &leases {
        early(case, *id, lease, &mut findings);
        ungranted(case, *id, lease, &mut findings);
        denied(case, *id, lease, &mut findings);
        gone(case, *id, lease, &mut findings);
        granted_twice(case, *id, lease, &mut findings);
        refused(case, *id, lease, &mut findings);
        missed(case, (*id, lease), &elections, &mut findings);
        if case.replayed.stop.is_none() {
            late(case, (*id, lease), (&elections, last_word), &mut findings);
        }
    }
    findings.verdict(CHECK)
}

/// A grant is the one that was asked for, and a lease is kept alive for as long as it was granted for.
fn answers(case: &Case<'_>, findings: &mut Findings) {
    let mut granted: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    let mut doubtful: BTreeSet<i64> = BTreeSet::new();
    let ops = || case.index.ops.iter().filter(|op| !op.failed());
    let wrong = |op: &Op<'_>, why: String| format!("{} {why}", words::op(case.index, op));
    for op in ops() {
        let Request::LeaseGrant { id, ttl } = op.call.request else {
            continue;
        };
        let Some(Response::LeaseGrant {
            id: given,
            ttl: given_ttl,
        }) = op.acked().map(|acked| acked.response)
        else {
            doubtful.insert(id);
            continue;
        };
        granted.entry(*given).or_default().insert(*given_ttl);
        if id != 0 && id != *given {
            let why = format!("was given lease {given:x}");
            findings.violation(wrong(op, why), vec![op.id()]);
        }
        if id == 0 && *given < 1 {
            let why = format!("was given lease {given}, etcd chooses none below 1");
            findings.violation(wrong(op, why), vec![op.id()]);
        }
        if *given_ttl < ttl || *given_ttl > ttl.max(LEAST_TTL_MOST_S) {
            let why = format!("was given {given_ttl} s");
            findings.violation(wrong(op, why), vec![op.id()]);
        }
    }
    for op in ops() {
        if finds_none(op) {
            let why = "found lease 0, which is none".to_owned();
            findings.violation(wrong(op, why), vec![op.id()]);
        }
        let Request::LeaseKeepAlive { id } = op.call.request else {
            continue;
        };
        let why = match op.acked().map(|acked| acked.response) {
            Some(Response::LeaseKeepAlive { ttl: ttl @ 1.. }) => granted
                .get(&id)
                .filter(|ttls| !doubtful.contains(&id) && !ttls.contains(ttl))
                .map(|ttls| format!("reported {ttl} s, it was granted for {ttls:?}")),
            Some(Response::LeaseKeepAlive { .. }) | None => None,
            Some(_) => Some("got an answer of another kind".to_owned()),
        };
        if let Some(why) = why {
            findings.violation(wrong(op, why), vec![op.id()]);
        }
    }
}

/// True where etcd found lease 0, which stands for none.
fn finds_none(op: &Op<'_>) -> bool {
    let answer = op.acked().map(|acked| acked.response);
    match op.call.request {
        Request::LeaseRevoke { id: 0 } => matches!(answer, Some(Response::LeaseRevoke {})),
        Request::LeaseKeepAlive { id: 0 } => {
            matches!(answer, Some(Response::LeaseKeepAlive { ttl: 1.. }))
        }
        _ => false,
    }
}

fn early(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    for end in lease.ended.iter().filter(|end| !end.doubtful) {
        if lease.revoked_before(end.seen) {
            continue;
        }
        // With a second grant only those count that are in front of the end by their revision.
        let of_it = |op: &Op<'_>| {
            lease.grants.len() < 2
                || op
                    .acked()
                    .is_some_and(|acked| acked.revision < end.revision)
        };
        let refreshes = lease.refreshes.iter().rev();
        let Some((refresh, ttl)) = refreshes
            .copied()
            .find(|(op, _)| op.call.t < end.seen && of_it(op))
        else {
            continue;
        };
        let due = refresh.call.t.saturating_add(ttl);
        if ttl > 0 && end.seen < due.saturating_sub(EARLY_SLACK_NS) {
            findings.violation(
                format!(
                    "lease {id:x} was gone at {:.6} s, not due before {:.6} s: last refresh was {}",
                    case.index.seconds(end.seen),
                    case.index.seconds(due),
                    words::op(case.index, &refresh)
                ),
                vec![refresh.id()],
            );
        }
    }
}

/// A refusal because of a lease answers a request that names one: that it is there already is told to a grant alone,
/// and that it is not there to none.
fn refusals(case: &Case<'_>, findings: &mut Findings) {
    for op in &case.index.ops {
        let Some(Outcome::Failed { class, .. }) = op.end.map(|end| &end.outcome) else {
            continue;
        };
        let grants = matches!(op.call.request, Request::LeaseGrant { .. });
        let mut parts = op.call.request.parts();
        let names = parts.any(|part| match part {
            Request::Put { lease, .. } => *lease != 0,
            Request::LeaseKeepAlive { .. } | Request::LeaseRevoke { .. } => true,
            _ => false,
        });
        let why = match class.as_str() {
            "lease_exists" if !grants => "was refused because a lease is there, and grants none",
            "lease_not_found" if !names => {
                "was refused because a lease is not there, and names none"
            }
            _ => continue,
        };
        let told = words::op(case.index, op);
        findings.violation(format!("{told} {why}"), vec![op.id()]);
    }
}

/// True where etcd was used before the run, or may have been: it may have had leases then.
fn was_used(case: &Case<'_>) -> bool {
    let unknown = matches!(case.replayed.stop, Some(Stop::Unknown { .. }));
    unknown || case.replayed.made.base() > 1
}

/// A grant that was refused because the lease was there, although no other can have been granted by then, or as many
/// lives had ended for certain.
fn denied(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    if was_used(case) {
        return;
    }
    for op in lease.denied.iter().filter(|op| lives::exists(op)) {
        let Some(end) = op.end else { continue };
        let by = Moment {
            t: end.t,
            at: op.ended_at,
        };
        if lease.begun_by(by) <= lease.over(op).0 {
            let told = words::op(case.index, op);
            let why = format!("lease {id:x} cannot have been there, yet {told} was refused for it");
            findings.violation(why, vec![op.id()]);
        }
    }
}

/// What succeeded before any grant of the lease can have: all were refused, or are later. An etcd that was used before
/// the run may have had the lease then.
fn ungranted(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    if was_used(case) || !lease.is_of_the_run() {
        return;
    }
    let revokes = lease.revokes.iter().filter(|op| op.acked().is_some());
    let used = lease.keep_alives.iter().chain(&lease.uses);
    for op in used.chain(revokes).filter(|op| lease.begun(op) == 0) {
        let told = words::op(case.index, op);
        let why =
            format!("lease {id:x} was granted to no one by then, yet etcd found it for {told}");
        findings.violation(why, vec![op.id()]);
    }
}

/// What succeeds only while the lease is there: keeping it alive, attaching to it, revoking it.
fn gone(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    let keep_alives = lease.keep_alives.iter().map(|op| (op, "refreshed it"));
    let uses = lease.uses.iter().map(|op| (op, "was attached to it"));
    for (op, verb) in keep_alives.chain(uses) {
        let begun = lease.begun(op);
        let (ended, last) = lease.over(op);
        if begun > ended || lease.grants.is_empty() || ended == 0 {
            continue;
        }
        findings.violation(
            format!(
                "lease {id:x} was gone at {:.6} s, yet {} {verb}",
                case.index.seconds(last),
                words::op(case.index, op)
            ),
            vec![op.id()],
        );
    }
    let acked: Vec<_> = lease
        .revokes
        .iter()
        .filter(|op| op.acked().is_some())
        .collect();
    if !lease.grants.is_empty()
        && acked.len() > lease.grants.len()
        && case.replayed.made.base() <= 1
    {
        findings.violation(
            format!("lease {id:x} was revoked more often than it was granted"),
            acked.iter().map(|op| op.id()).collect(),
        );
    }
}

/// The last refresh that had taken effect when an operation was called, if the lease cannot have ended before this one
/// was over.
fn alive<'l, 'a>(lease: &'l Lease<'a>, op: &Op<'a>) -> Option<&'l Op<'a>> {
    let end = op.end?.t;
    let refreshes = lease.refreshes.iter();
    let (refresh, ttl) = refreshes
        .filter(|(refresh, _)| refresh.id() != op.id() && refresh.certain().before(op.begin()))
        .max_by_key(|(refresh, _)| refresh.call.t)?;
    let due = refresh.call.t.saturating_add(*ttl);
    (end < due.saturating_sub(EARLY_SLACK_NS) && !lease.revoked_before(end)).then_some(refresh)
}

fn granted_twice(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    for grant in lease.grants.iter().filter(|op| op.acked().is_some()) {
        if let Some(refresh) = alive(lease, grant) {
            findings.violation(
                format!(
                    "lease {id:x} was there after {}, yet {} granted it again",
                    words::op(case.index, refresh),
                    words::op(case.index, grant)
                ),
                vec![refresh.id(), grant.id()],
            );
        }
    }
}

/// A member of which the new leader has not applied the grant may deny a keep-alive; what goes through raft is exact.
fn refused(case: &Case<'_>, id: i64, lease: &Lease<'_>, findings: &mut Findings) {
    for op in &lease.refused {
        let not_found = matches!(
            op.end.map(|end| &end.outcome),
            Some(Outcome::Failed { class, .. }) if class == "lease_not_found"
        );
        if let Some(refresh) = alive(lease, op).filter(|_| not_found) {
            findings.violation(
                format!(
                    "lease {id:x} was there after {}, yet {} did not find it",
                    words::op(case.index, refresh),
                    words::op(case.index, op)
                ),
                vec![refresh.id(), op.id()],
            );
        }
    }
}

/// A keep-alive that found no lease, although the same leader had kept it alive before and it was not due. A new leader
/// may not have applied the grant yet: its term would have been seen by the next answer at the latest.
fn missed(
    case: &Case<'_>,
    (id, lease): (i64, &Lease<'_>),
    elections: &[Nanos],
    findings: &mut Findings,
) {
    let settle = Nanos::try_from(case.expectations.settle_ms).unwrap_or(0);
    let settle = settle.saturating_mul(MILLISECOND_NS);
    for op in lease.missed.iter().filter(|_| lease.grants.len() == 1) {
        let Some(kept) = alive(lease, op).filter(|kept| is_keep_alive(kept)) else {
            continue;
        };
        let end = op.certain_by();
        let Some(next) = answered_after(case, end) else {
            continue;
        };
        let elected = |t: &Nanos| (kept.call.t..=next).contains(t);
        if elections.iter().any(elected) || case.index.disturbed(kept.call.t, end, settle) {
            continue;
        }
        findings.violation(
            format!(
                "lease {id:x} was there after {}, yet {} did not find it, by the same leader",
                words::op(case.index, kept),
                words::op(case.index, op)
            ),
            vec![kept.id(), op.id()],
        );
    }
}

fn is_keep_alive(op: &Op<'_>) -> bool {
    matches!(op.call.request, Request::LeaseKeepAlive { .. })
}

/// When the first request was answered that was called after a time, and that raft answers.
fn answered_after(case: &Case<'_>, t: Nanos) -> Option<Nanos> {
    let ops = &case.index.ops;
    let later = &ops[ops.partition_point(|op| op.call.t <= t)..];
    let by_raft = |op: &Op<'_>| {
        let acked = op.acked()?;
        placement::part(&op.call.request, acked.response)
    };
    let next = later.iter().find(|op| by_raft(op).is_some())?;
    Some(next.certain_by())
}

/// Whatever shows that the lease was there must have been asked before its time was long over.
fn late(
    case: &Case<'_>,
    (id, lease): (i64, &Lease<'_>),
    (elections, last_word): (&[Nanos], Nanos),
    findings: &mut Findings,
) {
    if lease.grants.len() != 1 {
        return;
    }
    let expectations = case.expectations;
    let slack = expectations
        .election_ms
        .saturating_add(expectations.lease_slack_ms);
    let slack = Nanos::try_from(slack).unwrap_or(Nanos::MAX);
    let slack = slack.saturating_mul(MILLISECOND_NS);
    for there in lives::signs(lease, last_word) {
        let Some((refresh, ttl)) = lease.last_refresh(there) else {
            continue;
        };
        let last = refresh.certain_by().max(lease.doubtful_until(there));
        let most = ttl.saturating_add(slack);
        if ttl <= 0 || there <= last.saturating_add(most) {
            continue;
        }
        let excuse = excuse(case, elections, there);
        if there <= excuse.saturating_add(most) {
            continue;
        }
        let due = last.max(excuse).saturating_add(ttl);
        let conditions = case.machine.conditions(Window {
            from: due,
            to: there,
        });
        if milliseconds(there.saturating_sub(due)) <= conditions.allow(milliseconds(slack)) {
            findings.not_judged(format!("end of lease {id:x}"), &conditions.why);
            return;
        }
        findings.violation(
            format!(
                "lease {id:x} still had its keys at {:.6} s, last refreshed by {}",
                case.index.seconds(there),
                words::op(case.index, &refresh)
            ),
            vec![refresh.id()],
        );
        return;
    }
}

/// When each term was first seen, in a status or in the header of an answer.
fn elections(case: &Case<'_>) -> Vec<Nanos> {
    let mut seen: BTreeMap<u64, Nanos> = BTreeMap::new();
    let sampled = case.index.members.iter();
    let sampled = sampled.filter_map(|sample| Some((sample.status.as_ref()?.term, sample.t)));
    let answered = case.index.ops.iter();
    let answered = answered.filter_map(|op| Some((op.acked()?.term, op.certain_by())));
    for (term, t) in sampled.chain(answered) {
        let first = seen.entry(term).or_insert(t);
        *first = t.min(*first);
    }
    let mut times: Vec<Nanos> = seen.into_values().collect();
    times.sort_unstable();
    times
}

/// The last time up to which a lease may have started again or could not end: faults, and terms seen first.
fn excuse(case: &Case<'_>, elections: &[Nanos], until: Nanos) -> Nanos {
    let faults = case.index.faults.iter().filter(|fault| fault.from <= until);
    let faults = faults.map(|fault| fault.healed.unwrap_or(until));
    let elected = elections.partition_point(|t| *t <= until).checked_sub(1);
    let elected = elected.map(|at| elections[at]);
    faults.chain(elected).max().unwrap_or(Nanos::MIN)
}
