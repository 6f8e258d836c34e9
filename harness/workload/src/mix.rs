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

/// The state of one client.
#[derive(Debug)]
pub(crate) struct Mix {
    rng: StdRng,
    client: u32,
    prefix: String,
    keys: u32,
    known: BTreeMap<String, Known>,
    lease: Option<Lease>,
    habits: Habits,
    /// Newest revision that an answer had.
    revision: i64,
    /// Revision that this client compacted to last.
    compacted: i64,
}

/// What a run's clients do that others do not.
#[derive(Clone, Copy, Debug)]
struct Habits {
    lease_s: i64,
    leases_expire: bool,
    compacts: bool,
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
            habits: Habits {
                lease_s: rates.lease_s,
                leases_expire: rates.leases_expire,
                compacts: rates.compacts,
            },
            revision: 0,
            compacted: 0,
        }
    }

    /// The next request; `op` makes its values unique.
    pub(crate) fn next(&mut self, op: OpId) -> Step {
        let key = self.key();
        if self.habits.compacts
            && let Some(request) = self.of_the_past(&key)
        {
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
                self.learn_answer(request, response, *revision);
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
            (Request::Delete { key, .. }, Response::Delete { .. }) => self.see(key, 0, None),
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
            (
                Request::Txn {
                    then, otherwise, ..
                },
                Response::Txn {
                    succeeded,
                    responses,
                },
            ) => {
                let branch = if *succeeded { then } else { otherwise };
                for (request, response) in branch.iter().zip(responses) {
                    self.learn_answer(request, response, revision);
                }
            }
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
mod tests {
    use super::*;

    fn mix(seed: u64, rates: &Rates) -> Mix {
        let rates = Rates {
            keys: 3,
            ..rates.clone()
        };
        Mix::new(seed, 1, "t/", &rates)
    }

    fn requests(seed: u64) -> Vec<Step> {
        let mut mix = mix(seed, &Rates::default());
        (1..400).map(|op| mix.next(op)).collect()
    }

    #[test]
    fn a_seed_gives_the_same_requests_again() {
        assert_eq!(requests(5), requests(5));
        assert_ne!(requests(5), requests(6));
    }

    /// What a client asks that is always answered, at revisions that grow.
    fn asked(rates: &Rates) -> Vec<Request> {
        let mut mix = mix(1, rates);
        let mut asked = Vec::new();
        for op in 1..2000 {
            let step = mix.next(op);
            let response = match &step.request {
                Request::Put { .. } => Response::Put {},
                Request::Range { .. } => Response::Range {
                    kvs: vec![],
                    count: 0,
                    more: false,
                },
                Request::LeaseGrant { id, ttl } => Response::LeaseGrant { id: *id, ttl: *ttl },
                Request::LeaseRevoke { .. } => Response::LeaseRevoke {},
                Request::LeaseKeepAlive { .. } => Response::LeaseKeepAlive { ttl: 1 },
                Request::Compact { .. } => Response::Compact {},
                _ => Response::Txn {
                    succeeded: true,
                    responses: vec![],
                },
            };
            let outcome = Outcome::Ok {
                revision: op.cast_signed(),
                term: 1,
                member: "1".into(),
                response,
            };
            mix.learn(&step.request, &outcome);
            asked.push(step.request);
        }
        asked
    }

    fn kinds(asked: &[Request]) -> std::collections::BTreeSet<String> {
        let kind = |request: &Request| {
            let text = serde_json::to_value(request).unwrap();
            text["kind"].as_str().unwrap().to_owned()
        };
        asked.iter().map(kind).collect()
    }

    #[test]
    fn every_kind_is_asked() {
        let kinds = kinds(&asked(&Rates::default()));
        let wanted = [
            "lease_grant",
            "lease_keep_alive",
            "lease_revoke",
            "put",
            "range",
            "txn",
        ];
        assert!(wanted.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
        assert!(!kinds.contains("compact"), "only where it is asked for");
    }

    #[test]
    fn leases_that_are_to_end_by_themselves_are_not_revoked() {
        let asked = asked(&Rates {
            lease_s: 3,
            leases_expire: true,
            ..Rates::default()
        });
        let grants = asked.iter().filter(|request| match request {
            Request::LeaseGrant { ttl, .. } => {
                assert_eq!(*ttl, 3);
                true
            }
            _ => false,
        });
        assert!(grants.count() > 5, "one after the other");
        assert!(!kinds(&asked).contains("lease_revoke"));
    }

    #[test]
    fn a_client_compacts_what_is_old_and_reads_on_both_sides_of_it() {
        let asked = asked(&Rates {
            compacts: true,
            ..Rates::default()
        });
        let (mut compacted, mut now) = (0, 0);
        let (mut before, mut after) = (0, 0);
        for (revision, request) in (1..).zip(&asked) {
            match request {
                Request::Compact { revision } => {
                    assert!(*revision > compacted && *revision <= now - KEPT);
                    compacted = *revision;
                }
                Request::Range {
                    revision: at @ 1.., ..
                } if *at < compacted => before += 1,
                Request::Range {
                    revision: at @ 1.., ..
                } => {
                    assert!(*at <= now, "nothing of the future");
                    after += 1;
                }
                _ => {}
            }
            now = revision;
        }
        assert!(
            compacted > 1000 && before > 0 && after > 0,
            "{compacted} {before} {after}"
        );
    }

    #[test]
    fn compare_and_swap_uses_what_was_read() {
        let rates = Rates {
            keys: 1,
            ..Rates::default()
        };
        let mut mix = Mix::new(1, 1, "t/", &rates);
        let read = get("t/k/000".into(), false);
        let kv = KeyValue {
            key: "t/k/000".into(),
            value: "c9-9".into(),
            create_revision: 4,
            mod_revision: 8,
            version: 2,
            lease: 0,
        };
        let response = Response::Range {
            kvs: vec![kv],
            count: 1,
            more: false,
        };
        mix.learn(
            &read,
            &Outcome::Ok {
                revision: 9,
                term: 1,
                member: "1".into(),
                response,
            },
        );
        let Request::Txn { compare, .. } = mix.compare_and_swap("t/k/000".into(), 77) else {
            panic!("a compare-and-swap is a transaction")
        };
        let by_revision = Compare::ModRevision {
            key: "t/k/000".into(),
            revision: 8,
        };
        let by_value = Compare::Value {
            key: "t/k/000".into(),
            value: "c9-9".into(),
        };
        assert!(
            compare == [by_revision] || compare == [by_value],
            "{compare:?}"
        );
        mix.learn(
            &read,
            &Outcome::Unknown {
                class: "deadline".into(),
                message: String::new(),
            },
        );
        let write = Request::Put {
            key: "t/k/000".into(),
            value: "x".into(),
            lease: 0,
        };
        mix.learn(
            &write,
            &Outcome::Unknown {
                class: "deadline".into(),
                message: String::new(),
            },
        );
        assert_eq!(
            mix.compare_and_swap("t/k/000".into(), 78),
            get("t/k/000".into(), false)
        );
    }

    #[test]
    fn no_transaction_writes_a_key_twice() {
        for step in requests(11) {
            let Request::Txn { then, .. } = &step.request else {
                continue;
            };
            let mut written = std::collections::BTreeSet::new();
            for request in then {
                if let Request::Put { key, .. } | Request::Delete { key, .. } = request {
                    assert!(written.insert(key), "etcd refuses {then:?}");
                }
            }
        }
    }
}
