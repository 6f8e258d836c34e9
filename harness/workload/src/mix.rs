//! What a closed-loop client asks next. Pure: a seed and the answers so far give the next request.
//!
//! The mix has every kind of operation that a checker can say something about: registers, compare-and-swap by what was
//! read before, transactions over several keys, ranges, deletes and leases. Values are unique in the run. A delete,
//! which has no value, carries a put of a unique operation key beside it, so that it can be recognised later.

use std::collections::BTreeMap;

use etcd_history::{
    Outcome, Request, Response,
    record::{Compare, KeyValue, OpId},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::config::{Rates, range_end};

/// Keys put under one lease before it is revoked, or left alone.
const LEASE_KEYS: u32 = 3;
/// Revisions that stay behind a compaction: seconds of traffic, so that a watcher that reconnects at once misses
/// nothing.
const KEPT: i64 = 200;
/// Revisions from one compaction to the next of a client.
const BETWEEN: i64 = 100;
/// Revisions that stay behind a compaction which is to be met at once.
const KEPT_NEWEST: i64 = 10;

/// Of a client that reads behind compares: how much of what it sends is of its own key, and how much of that a read.
const GUARDED: f64 = 0.4;
const GUARDED_READS: f64 = 0.9;

/// The state of one client.
#[derive(Debug)]
pub(crate) struct Mix {
    rng: StdRng,
    client: u32,
    prefix: String,
    keys: u32,
    known: BTreeMap<String, Known>,
    lease: Option<Lease>,
    /// Revision of a delete that stood alone, when that was its last request.
    lone: Option<i64>,
    habits: Habits,
    /// Newest revision that an answer had.
    revision: i64,
    /// Revision that this client compacted to last.
    compacted: i64,
    /// Revision at which it deleted a key last.
    deleted: i64,
}

/// What a run's clients do that others do not.
#[derive(Clone, Copy, Debug)]
struct Habits {
    lease_s: i64,
    /// Revisions between two compactions at a delete that stands alone; 0 for none.
    lone_deletes: i64,
    leases_expire: bool,
    compacts: bool,
    compacted_txns: bool,
    compacts_deletes: bool,
    /// True when it compares and swaps a key that no other client writes.
    own_key: bool,
    /// True when it mostly reads that key, behind the same compare.
    guarded_reads: bool,
}

/// What the client last learnt of a key.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    revision: i64,
    value: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Lease {
    id: i64,
    keys: u32,
}

/// A request, and whether one member is to be asked directly.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// What to ask.
    pub(crate) request: Request,
    /// True for a read that any member may answer from what it has.
    pub(crate) at_member: bool,
}

impl Mix {
    /// A client's generator.
    pub(crate) fn new(seed: u64, client: u32, prefix: &str, rates: &Rates) -> Self {
        let own = seed ^ (u64::from(client) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            rng: StdRng::seed_from_u64(own),
            client,
            prefix: prefix.to_owned(),
            keys: rates.keys,
            known: BTreeMap::new(),
            lease: None,
            lone: None,
            habits: Habits {
                lease_s: rates.lease_s,
                lone_deletes: rates.lone_deletes,
                leases_expire: rates.leases_expire,
                compacts: rates.compacts,
                compacted_txns: rates.compacted_txns,
                compacts_deletes: rates.compacts_deletes,
                own_key: rates.compares > 1 || rates.guarded_reads,
                guarded_reads: rates.guarded_reads,
            },
            revision: 0,
            compacted: 0,
            deleted: 0,
        }
    }

    /// The next request; `op` makes its values unique.
    pub(crate) fn next(&mut self, op: OpId) -> Step {
        let key = self.key();
        if let Some(request) = self.of_lone_deletes(&key, op) {
            return Step {
                request,
                at_member: false,
            };
        }
        let past = match self.habits {
            Habits { compacts: true, .. } => self.of_the_past(&key),
            _ => None,
        };
        let past = past.or_else(|| self.of_the_compacted(&key, op));
        let past = past.or_else(|| self.of_the_deleted());
        if let Some(request) = past.or_else(|| self.of_its_own(op)) {
            return Step {
                request,
                at_member: false,
            };
        }
        let request = match self.rng.random_range(0..100u32) {
            0..22 => self.put(key, op, 0),
            22..40 => get(key, false),
            40..46 => self.list(false),
            46..52 => {
                return Step {
                    request: self.list(true),
                    at_member: true,
                };
            }
            52..58 => {
                return Step {
                    request: get(key, true),
                    at_member: true,
                };
            }
            58..72 => self.compare_and_swap(key, op),
            72..83 => self.several(&key, op),
            83..90 => self.delete(key, op),
            _ => self.lease(op),
        };
        Step {
            request,
            at_member: false,
        }
    }

    /// Learns from an answer.
    pub(crate) fn learn(&mut self, request: &Request, outcome: &Outcome) {
        match outcome {
            Outcome::Ok {
                revision, response, ..
            } => {
                self.revision = self.revision.max(*revision);
                if let (Request::Delete { .. }, Response::Delete { deleted: 1.. }) =
                    (request, response)
                {
                    self.lone = Some(*revision);
                }
                for (request, response) in request.answered(response) {
                    self.learn_answer(request, response, *revision);
                }
            }
            _ => self.forget(request),
        }
    }

    fn key(&mut self) -> String {
        let n = self.rng.random_range(0..self.keys);
        format!("{}k/{n:03}", self.prefix)
    }

    fn value(&self, op: OpId) -> String {
        format!("c{}-{op}", self.client)
    }

    /// Mostly puts and deletes that stand alone, where those are wanted. Right behind a delete the store is compacted
    /// at its revision, in which there is nothing but that delete.
    fn of_lone_deletes(&mut self, key: &str, op: OpId) -> Option<Request> {
        let between = self.habits.lone_deletes;
        if between == 0 {
            return None;
        }
        if let Some(revision) = self.lone.take()
            && revision >= self.compacted + between
        {
            self.compacted = revision;
            return Some(Request::Compact { revision });
        }
        let known = self.known.get(key);
        let there = known.is_some_and(|known| known.value.is_some());
        match self.rng.random_range(0..100u32) {
            0..35 if there => Some(Request::Delete {
                key: key.to_owned(),
                range_end: None,
            }),
            0..70 => Some(self.put(key.to_owned(), op, 0)),
            _ => None,
        }
    }

    /// Now and then a compaction, and a read at a revision that may be compacted by then.
    fn of_the_past(&mut self, key: &str) -> Option<Request> {
        let oldest = (self.compacted - KEPT / 4).max(1);
        match self.rng.random_range(0..100u32) {
            0..4 if self.revision > self.compacted + KEPT + BETWEEN => {
                self.compacted = self.revision - KEPT;
                Some(Request::Compact {
                    revision: self.compacted,
                })
            }
            4..12 if self.revision > oldest => Some(Request::Range {
                key: key.to_owned(),
                range_end: None,
                limit: 0,
                serializable: false,
                revision: self.rng.random_range(oldest..=self.revision),
            }),
            _ => None,
        }
    }

    /// Now and then a compaction of all but the newest, and a write beside a read of what is compacted.
    fn of_the_compacted(&mut self, key: &str, op: OpId) -> Option<Request> {
        if !self.habits.compacted_txns {
            return None;
        }
        match self.rng.random_range(0..100u32) {
            0..10 if self.revision > self.compacted + 2 * KEPT_NEWEST => {
                self.compacted = self.revision - KEPT_NEWEST;
                Some(Request::Compact {
                    revision: self.compacted,
                })
            }
            10..20 if self.compacted > 1 => {
                let read = Request::Range {
                    key: self.key(),
                    range_end: None,
                    limit: 0,
                    serializable: false,
                    revision: self.compacted - 1,
                };
                Some(Request::Txn {
                    compare: Vec::new(),
                    then: vec![self.put(key.to_owned(), op, 0), read],
                    otherwise: Vec::new(),
                })
            }
            _ => None,
        }
    }

    /// Now and then a compaction to the revision of a delete.
    fn of_the_deleted(&mut self) -> Option<Request> {
        if !self.habits.compacts_deletes || self.deleted <= self.compacted + BETWEEN {
            return None;
        }
        self.compacted = self.deleted;
        Some(Request::Compact {
            revision: self.deleted,
        })
    }

    /// Now and then a compare-and-swap that succeeds, as no other client writes its key; or a read behind such a
    /// compare.
    fn of_its_own(&mut self, op: OpId) -> Option<Request> {
        let Habits {
            own_key,
            guarded_reads,
            ..
        } = self.habits;
        let part = if guarded_reads { GUARDED } else { 0.25 };
        if !own_key || !self.rng.random_bool(part) {
            return None;
        }
        let key = format!("{}own/{}", self.prefix, self.client);
        let reads = guarded_reads && self.rng.random_bool(GUARDED_READS);
        let read = self.guarded_read(&key).filter(|_| reads);
        Some(read.unwrap_or_else(|| self.compare_and_swap(key, op)))
    }

    /// Reads a key that is there in a transaction that writes nothing, if it is as this client saw it last.
    fn guarded_read(&self, key: &str) -> Option<Request> {
        let known = self.known.get(key);
        let revision = known.filter(|known| known.value.is_some())?.revision;
        let read = || vec![get(key.to_owned(), false)];
        Some(Request::Txn {
            compare: vec![Compare::ModRevision {
                key: key.to_owned(),
                revision,
            }],
            then: read(),
            otherwise: read(),
        })
    }

    fn put(&self, key: String, op: OpId, lease: i64) -> Request {
        Request::Put {
            key,
            value: self.value(op),
            lease,
        }
    }

    fn list(&mut self, serializable: bool) -> Request {
        let key = format!("{}k/", self.prefix);
        let range_end = Some(range_end(&key));
        let limit = if self.rng.random_bool(0.3) { 3 } else { 0 };
        Request::Range {
            key,
            range_end,
            limit,
            serializable,
            revision: 0,
        }
    }

    /// Writes only if the key is as this client saw it last.
    fn compare_and_swap(&mut self, key: String, op: OpId) -> Request {
        let Some(known) = self.known.get(&key).cloned() else {
            return get(key, false);
        };
        let compare = match known.value {
            Some(value) if self.rng.random_bool(0.3) => Compare::Value {
                key: key.clone(),
                value,
            },
            None if self.rng.random_bool(0.5) => Compare::Version {
                key: key.clone(),
                version: 0,
            },
            _ => Compare::ModRevision {
                key: key.clone(),
                revision: known.revision,
            },
        };
        Request::Txn {
            compare: vec![compare],
            then: vec![self.put(key.clone(), op, 0)],
            otherwise: vec![get(key, false)],
        }
    }

    /// Writes two keys and reads a third in one transaction.
    fn several(&mut self, key: &str, op: OpId) -> Request {
        let (second, third) = (self.key(), self.key());
        let mut then = vec![self.put(key.to_owned(), op, 0)];
        if second != key {
            then.push(self.put(second, op, 0));
        }
        then.push(get(third, false));
        Request::Txn {
            compare: Vec::new(),
            then,
            otherwise: Vec::new(),
        }
    }

    fn delete(&mut self, key: String, op: OpId) -> Request {
        let mark = format!("{}op/{}", self.prefix, self.client);
        let delete = Request::Delete {
            key,
            range_end: None,
        };
        Request::Txn {
            compare: Vec::new(),
            then: vec![delete, self.put(mark, op, 0)],
            otherwise: Vec::new(),
        }
    }

    fn lease(&mut self, op: OpId) -> Request {
        match self.lease {
            // Client and operation make it unique and never 0.
            None => Request::LeaseGrant {
                id: ((i64::from(self.client) + 1) << 40) | op.cast_signed(),
                ttl: self.habits.lease_s,
            },
            Some(Lease { id, keys }) if keys < LEASE_KEYS => {
                if self.rng.random_bool(0.4) {
                    return Request::LeaseKeepAlive { id };
                }
                self.lease = Some(Lease { id, keys: keys + 1 });
                self.put(format!("{}l/{}/{keys}", self.prefix, self.client), op, id)
            }
            Some(_) if self.habits.leases_expire => {
                self.lease = None;
                self.put(format!("{}l/{}", self.prefix, self.client), op, 0)
            }
            Some(Lease { id, .. }) => Request::LeaseRevoke { id },
        }
    }

    fn learn_answer(&mut self, request: &Request, response: &Response, revision: i64) {
        match (request, response) {
            (Request::Put { key, value, .. }, Response::Put {}) => {
                self.see(key, revision, Some(value.clone()));
            }
            (Request::Delete { key, .. }, Response::Delete { deleted }) => {
                if *deleted > 0 {
                    self.deleted = self.deleted.max(revision);
                }
                self.see(key, 0, None);
            }
            (
                Request::Range {
                    key,
                    range_end: None,
                    serializable: false,
                    revision: 0,
                    ..
                },
                Response::Range { kvs, .. },
            ) => match kvs.first() {
                Some(KeyValue {
                    mod_revision,
                    value,
                    ..
                }) => {
                    self.see(key, *mod_revision, Some(value.clone()));
                }
                None => self.see(key, 0, None),
            },
            (Request::LeaseGrant { id, .. }, Response::LeaseGrant { .. }) => {
                self.lease = Some(Lease { id: *id, keys: 0 });
            }
            (Request::LeaseRevoke { .. }, _) => self.lease = None,
            _ => {}
        }
    }

    /// After an error nothing is known of the keys and the lease that were touched.
    fn forget(&mut self, request: &Request) {
        match request {
            Request::Put { key, lease, .. } => {
                self.known.remove(key);
                if *lease != 0 {
                    self.lease = None;
                }
            }
            Request::Delete { key, .. } => {
                self.known.remove(key);
            }
            Request::Txn {
                then, otherwise, ..
            } => {
                for request in then.iter().chain(otherwise) {
                    self.forget(request);
                }
            }
            Request::LeaseGrant { .. }
            | Request::LeaseKeepAlive { .. }
            | Request::LeaseRevoke { .. } => self.lease = None,
            Request::Range { .. } | Request::Compact { .. } => {}
        }
    }

    fn see(&mut self, key: &str, revision: i64, value: Option<String>) {
        self.known.insert(key.to_owned(), Known { revision, value });
    }
}

fn get(key: String, serializable: bool) -> Request {
    Request::Range {
        key,
        range_end: None,
        limit: 0,
        serializable,
        revision: 0,
    }
}

#[cfg(test)]
mod tests;
