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

use crate::config::range_end;

/// Seconds of a lease: longer than any fault of a scenario, so that a lease ends when it is revoked.
const LEASE_SECONDS: i64 = 60;
/// Keys put under one lease before it is revoked.
const LEASE_KEYS: u32 = 3;

/// The state of one client.
#[derive(Debug)]
pub(crate) struct Mix {
    rng: StdRng,
    client: u32,
    prefix: String,
    keys: u32,
    known: BTreeMap<String, Known>,
    lease: Option<Lease>,
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

/// A request, and whether one member shall be asked directly.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// What to ask.
    pub(crate) request: Request,
    /// True for a read that any member may answer from what it has.
    pub(crate) at_member: bool,
}

impl Mix {
    /// A client's generator.
    pub(crate) fn new(seed: u64, client: u32, prefix: &str, keys: u32) -> Self {
        let own = seed ^ (u64::from(client) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            rng: StdRng::seed_from_u64(own),
            client,
            prefix: prefix.to_owned(),
            keys,
            known: BTreeMap::new(),
            lease: None,
        }
    }

    /// The next request; `op` makes its values unique.
    pub(crate) fn next(&mut self, op: OpId) -> Step {
        let key = self.key();
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
            } => self.learn_answer(request, response, *revision),
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
                ttl: LEASE_SECONDS,
            },
            Some(Lease { id, keys }) if keys < LEASE_KEYS => {
                if self.rng.random_bool(0.4) {
                    return Request::LeaseKeepAlive { id };
                }
                self.lease = Some(Lease { id, keys: keys + 1 });
                self.put(format!("{}l/{}/{keys}", self.prefix, self.client), op, id)
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

    fn requests(seed: u64) -> Vec<Step> {
        let mut mix = Mix::new(seed, 1, "t/", 3);
        (1..400).map(|op| mix.next(op)).collect()
    }

    #[test]
    fn a_seed_gives_the_same_requests_again() {
        assert_eq!(requests(5), requests(5));
        assert_ne!(requests(5), requests(6));
    }

    #[test]
    fn every_kind_is_asked() {
        let mut mix = Mix::new(1, 1, "t/", 3);
        let mut kinds = std::collections::BTreeSet::new();
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
                _ => Response::Txn {
                    succeeded: true,
                    responses: vec![],
                },
            };
            let outcome = Outcome::Ok {
                revision: 1,
                term: 1,
                member: "1".into(),
                response,
            };
            mix.learn(&step.request, &outcome);
            let text = serde_json::to_value(&step.request).unwrap();
            kinds.insert(text["kind"].as_str().unwrap().to_owned());
        }
        let wanted = [
            "lease_grant",
            "lease_keep_alive",
            "lease_revoke",
            "put",
            "range",
            "txn",
        ];
        assert!(wanted.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
    }

    #[test]
    fn compare_and_swap_uses_what_was_read() {
        let mut mix = Mix::new(1, 1, "t/", 1);
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
