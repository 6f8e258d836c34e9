//! The table of leases: what a history shows of each one.

use std::collections::BTreeMap;

use super::Case;
use super::log;
use super::placement;
use super::witness::Ended;
use crate::index::{Moment, Op};
use crate::record::{KeyEvent, Nanos, Outcome, Record, Request, Response, WatchEvent};

const SECOND_NS: Nanos = 1_000_000_000;

/// What is known of one lease. All operations are in the order of their calls.
#[derive(Default)]
pub(super) struct Lease<'a> {
    /// Grants that may have happened.
    pub(super) grants: Vec<Op<'a>>,
    /// Grants and keep-alives that etcd acknowledged, with the time that the lease has from there.
    pub(super) refreshes: Vec<(Op<'a>, Nanos)>,
    /// By their calls: the one up to there that was certain last.
    last: Vec<(Nanos, usize)>,
    /// The keep-alives among them.
    pub(super) keep_alives: Vec<Op<'a>>,
    /// Keep-alives that found no lease.
    pub(super) missed: Vec<Op<'a>>,
    /// Refreshes of unknown outcome: their calls, and until when those up to there were on their way.
    doubtful: Vec<(Nanos, Nanos)>,
    /// Revokes that may have happened.
    pub(super) revokes: Vec<Op<'a>>,
    /// Acknowledged writes that attached a key.
    pub(super) uses: Vec<Op<'a>>,
    /// Writes and revokes that were refused.
    pub(super) refused: Vec<Op<'a>>,
    /// Grants that were refused.
    pub(super) denied: Vec<Op<'a>>,
    /// Calls of reads that showed an attached key: the last one in front of each refresh.
    shown: Vec<Nanos>,
    /// The last of them.
    last_shown: Option<Nanos>,
    /// When its keys were seen to go by themselves.
    pub(super) ended: Vec<Ended>,
    /// True while a key was attached when the log ends.
    attached: bool,
}

impl<'a> Lease<'a> {
    fn refresh(&mut self, op: &Op<'a>) {
        let ttl = self.refreshes.last().map_or(0, |(_, ttl)| *ttl);
        self.shown.extend(self.last_shown.take());
        match op.acked().map(|acked| acked.response) {
            Some(Response::LeaseGrant { ttl, .. }) => {
                self.refreshes.push((*op, ttl.saturating_mul(SECOND_NS)));
            }
            Some(Response::LeaseKeepAlive { ttl: 1.. }) => {
                self.refreshes.push((*op, ttl));
                self.keep_alives.push(*op);
            }
            // An older etcd may say so of a lease that its new leader has not applied yet: alone it proves nothing.
            Some(_) => self.missed.push(*op),
            None => {
                let until = op.end.map_or(Nanos::MAX, |end| end.t);
                self.doubtful.push((op.call.t, until));
            }
        }
    }

    /// True when a client may have revoked it by this time.
    pub(super) fn revoked_before(&self, t: Nanos) -> bool {
        self.revokes.iter().any(|revoke| revoke.call.t <= t)
    }

    /// Lives that may have begun when an operation was over.
    pub(super) fn begun(&self, op: &Op<'_>) -> usize {
        self.begun_by(op.certain())
    }

    /// Lives that may have begun by a moment.
    pub(super) fn begun_by(&self, moment: Moment) -> usize {
        let later = |grant: &&Op<'_>| moment.before(grant.begin());
        self.grants.iter().filter(|grant| !later(grant)).count()
    }

    /// Until when it cannot have ended by itself, as its refreshes tell; absent where a client may have ended it, or
    /// where it lived more than once.
    pub(super) fn lives_until(&self) -> Option<Nanos> {
        let once = self.grants.len() == 1 && self.revokes.is_empty();
        let refreshes = self.refreshes.iter().filter(|_| once);
        refreshes
            .map(|(op, ttl)| op.call.t.saturating_add(*ttl))
            .max()
    }

    /// True when a client of the run asked for it, and no answer says that it was there before.
    pub(super) fn is_of_the_run(&self) -> bool {
        let asked = !self.grants.is_empty() || !self.denied.is_empty();
        asked && !self.denied.iter().any(exists)
    }

    /// Lives that had certainly ended when an operation was called, and when that of the last one was known. A revoke
    /// whose keys a watcher saw go is both: it counts once.
    pub(super) fn over(&self, op: &Op<'_>) -> (usize, Nanos) {
        let revoked = self.revokes.iter().map(Op::certain);
        let revoked = revoked.filter(|by| by.before(op.begin())).map(|by| by.t);
        let ended = self.ended.iter().filter(|end| !end.doubtful);
        let ended = ended.map(|end| end.seen).filter(|t| *t < op.call.t);
        let count = revoked.clone().count().max(ended.clone().count());
        let last = revoked.chain(ended).max().unwrap_or(Nanos::MIN);
        (count, last)
    }

    /// The last refresh that was called by this time.
    pub(super) fn last_refresh(&self, by: Nanos) -> Option<(Op<'a>, Nanos)> {
        let called = self.last.partition_point(|(call, _)| *call < by);
        let (_, refresh) = self.last.get(called.checked_sub(1)?)?;
        self.refreshes.get(*refresh).copied()
    }

    /// Until when a refresh that was called by this time may have been on its way.
    pub(super) fn doubtful_until(&self, by: Nanos) -> Nanos {
        let called = self.doubtful.partition_point(|(call, _)| *call <= by);
        let last = called.checked_sub(1).and_then(|at| self.doubtful.get(at));
        last.map_or(Nanos::MIN, |(_, until)| *until)
    }

    /// Makes both findable, once all are there: there are as many questions as there are refreshes.
    fn order(&mut self) {
        let mut by_call: Vec<usize> = (0..self.refreshes.len()).collect();
        by_call.sort_by_key(|at| self.refreshes[*at].0.call.t);
        for at in by_call {
            let certain = |at: usize| self.refreshes[at].0.certain_by();
            let best = self.last.last().map(|(_, best)| *best);
            let best = best
                .filter(|best| certain(*best) > certain(at))
                .unwrap_or(at);
            self.last.push((self.refreshes[at].0.call.t, best));
        }
        self.doubtful.sort_unstable();
        let mut until = Nanos::MIN;
        for doubtful in &mut self.doubtful {
            until = until.max(doubtful.1);
            doubtful.1 = until;
        }
    }
}

/// The table.
pub(super) fn collect<'a>(case: &Case<'a>) -> BTreeMap<i64, Lease<'a>> {
    let mut leases: BTreeMap<i64, Lease<'a>> = BTreeMap::new();
    for op in &case.index.ops {
        file(op, &mut leases);
    }
    for op in case.index.ops.iter().filter(|op| op.failed()) {
        let Request::LeaseGrant { id, .. } = op.call.request else {
            continue;
        };
        // A refusal says that there is one, also where nothing else does.
        if id != 0 && exists(op) {
            leases.entry(id).or_default();
        }
        if let Some(lease) = leases.get_mut(&id) {
            lease.denied.push(*op);
        }
    }
    for ended in &case.replayed.tally.ended {
        leases.entry(ended.lease).or_default().ended.push(*ended);
    }
    let mut holder: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, entry) in case.log.entries() {
        for event in entry.events {
            let key = log::key(event);
            match event {
                KeyEvent::Put { kv, .. } if kv.lease != 0 => holder.insert(key, kv.lease),
                _ => holder.remove(key),
            };
        }
    }
    for lease in holder.into_values() {
        leases.entry(lease).or_default().attached = true;
    }
    leases.values_mut().for_each(Lease::order);
    leases
}

fn file<'a>(op: &Op<'a>, leases: &mut BTreeMap<i64, Lease<'a>>) {
    match &op.call.request {
        Request::LeaseGrant { id, .. } if !op.failed() => {
            let Some(id) = given(op, *id) else { return };
            let lease = leases.entry(id).or_default();
            lease.refresh(op);
            lease.grants.push(*op);
        }
        Request::LeaseKeepAlive { id } if !op.failed() => {
            leases.entry(*id).or_default().refresh(op);
        }
        Request::LeaseRevoke { id } => {
            let lease = leases.entry(*id).or_default();
            let list = if op.failed() {
                &mut lease.refused
            } else {
                &mut lease.revokes
            };
            list.push(*op);
        }
        request => {
            let mut named = Vec::new();
            let response = op.acked().map(|acked| acked.response);
            attach(request, response, &mut named);
            // Which of several leases was not found is not known.
            let failed = op.failed() && named.len() == 1;
            for id in named {
                let lease = leases.entry(id).or_default();
                if failed {
                    lease.refused.push(*op);
                } else if response.is_some() {
                    lease.uses.push(*op);
                }
            }
            if let Some(Response::Range { kvs, .. }) = response
                && newest(request)
            {
                for kv in kvs.iter().filter(|kv| kv.lease != 0) {
                    leases.entry(kv.lease).or_default().last_shown = Some(op.call.t);
                }
            }
        }
    }
}

/// True for a read of how it is now.
fn newest(request: &Request) -> bool {
    matches!(request, Request::Range { revision: 0, .. }) && !placement::local(request)
}

/// The lease of a grant. A client that asks for number 0 lets etcd choose one, which only the answer tells.
fn given(op: &Op<'_>, asked: i64) -> Option<i64> {
    match (asked, op.acked().map(|acked| acked.response)) {
        (0, Some(Response::LeaseGrant { id, .. })) => Some(*id),
        (0, _) => None,
        (id, _) => Some(id),
    }
}

/// A grant that was refused because there is such a lease.
pub(super) fn exists(op: &Op<'_>) -> bool {
    let outcome = op.end.map(|end| &end.outcome);
    matches!(outcome, Some(Outcome::Failed { class, .. }) if class == "lease_exists")
}

/// Leases that a write names: of a transaction those of the branch that ran, of one that was refused those that it
/// names whichever branch runs.
fn attach(request: &Request, response: Option<&Response>, named: &mut Vec<i64>) {
    match (request, response) {
        (Request::Put { lease, .. }, _) if *lease != 0 => named.push(*lease),
        (
            Request::Txn {
                then, otherwise, ..
            },
            Some(Response::Txn { succeeded, .. }),
        ) => {
            for request in if *succeeded { then } else { otherwise } {
                attach(request, None, named);
            }
        }
        (
            Request::Txn {
                then, otherwise, ..
            },
            None,
        ) if otherwise.is_empty() => {
            for request in then {
                attach(request, None, named);
            }
        }
        _ => {}
    }
}

/// When something showed that the lease was there.
pub(super) fn signs<'l>(
    lease: &'l Lease<'_>,
    last_word: Nanos,
) -> impl Iterator<Item = Nanos> + 'l {
    let ended = lease.ended.first().map(|end| end.seen);
    let revoked = lease.revokes.iter().filter(|op| op.acked().is_some());
    let used = lease.uses.iter().chain(&lease.keep_alives);
    let calls = revoked.chain(used).map(|op| op.call.t);
    let shown = lease.shown.iter().copied().chain(lease.last_shown);
    // Keys are still there when the last word is spoken.
    let still = lease.attached && lease.ended.is_empty() && lease.revokes.is_empty();
    let last = still.then_some(last_word);
    ended.into_iter().chain(calls).chain(shown).chain(last)
}

/// Until when the watches and the answers show the store; other writers may have continued after a client that died.
pub(super) fn last_word(case: &Case<'_>) -> Nanos {
    let heard = case.index.records.iter().filter_map(|record| match record {
        Record::Watch(watch) => match watch.event {
            WatchEvent::Events { .. } | WatchEvent::Progress { .. } => Some(watch.t),
            _ => None,
        },
        _ => None,
    });
    let asked = case.index.ops.iter().filter_map(|op| {
        let part = placement::part(&op.call.request, op.acked()?.response);
        part.map(|_| op.call.t)
    });
    heard.chain(asked).max().unwrap_or(Nanos::MIN)
}
