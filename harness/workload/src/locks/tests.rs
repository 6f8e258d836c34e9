//! Holders against a store that does what etcd does; its clock counts what was asked of it.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// A lease lives for so many requests of all clients.
const TTL: u64 = 60;

/// Keys with revision and lease.
#[derive(Default)]
struct Etcd {
    now: u64,
    revision: i64,
    keys: BTreeMap<String, (i64, i64)>,
    /// When each ends unless it is renewed.
    leases: BTreeMap<i64, u64>,
}

impl Etcd {
    fn answer(&mut self, request: &Request) -> Outcome {
        let response = match request {
            Request::LeaseGrant { id, ttl } => {
                self.leases.insert(*id, self.now + TTL);
                Response::LeaseGrant { id: *id, ttl: *ttl }
            }
            Request::LeaseKeepAlive { id } if !self.leases.contains_key(id) => {
                return Outcome::Failed {
                    class: "lease_not_found".to_owned(),
                    message: String::new(),
                };
            }
            Request::LeaseKeepAlive { id } => {
                self.leases.insert(*id, self.now + TTL);
                Response::LeaseKeepAlive { ttl: 1 }
            }
            Request::LeaseRevoke { id } => {
                self.end(*id);
                Response::LeaseRevoke {}
            }
            Request::Range { key, range_end, .. } => self.range(key, range_end.as_deref()),
            Request::Txn { compare, then, .. } => {
                let succeeded = compare.iter().all(|compare| match compare {
                    Compare::Version { key, .. } => !self.keys.contains_key(key),
                    Compare::ModRevision { key, revision } => {
                        self.keys.get(key).is_some_and(|held| held.0 == *revision)
                    }
                    Compare::Value { .. } => false,
                });
                if succeeded {
                    self.revision += 1;
                    for part in then {
                        self.write(part);
                    }
                }
                Response::Txn {
                    succeeded,
                    responses: Vec::new(),
                }
            }
            other => panic!("{other:?}"),
        };
        Outcome::Ok {
            revision: self.revision,
            term: 2,
            member: "a".to_owned(),
            response,
        }
    }

    fn write(&mut self, part: &Request) {
        match part {
            Request::Put { key, lease, .. } => {
                self.keys.insert(key.clone(), (self.revision, *lease));
            }
            Request::Delete { key, .. } => {
                self.keys.remove(key);
            }
            other => panic!("{other:?}"),
        }
    }

    fn range(&self, key: &str, end: Option<&str>) -> Response {
        let held = self.keys.iter();
        let held = held.filter(|(known, _)| match end {
            None => *known == key,
            Some(end) => known.as_str() >= key && known.as_str() < end,
        });
        let kvs: Vec<KeyValue> = held
            .map(|(key, (revision, lease))| KeyValue {
                key: key.clone(),
                value: String::new(),
                create_revision: *revision,
                mod_revision: *revision,
                version: 1,
                lease: *lease,
            })
            .collect();
        let count = kvs.len() as i64;
        Response::Range {
            kvs,
            count,
            more: false,
        }
    }

    /// Time passes, and leases end that nothing has renewed.
    fn pass(&mut self, now: u64) {
        self.now = now;
        let ended: Vec<i64> = self
            .leases
            .iter()
            .filter(|(_, until)| **until < now)
            .map(|(lease, _)| *lease)
            .collect();
        for lease in ended {
            self.end(lease);
        }
    }

    fn end(&mut self, lease: i64) {
        self.leases.remove(&lease);
        let before = self.keys.len();
        self.keys.retain(|_, held| held.1 != lease);
        self.revision += i64::from(self.keys.len() < before);
    }
}

/// What became of holders that competed.
#[derive(Default)]
struct Competition {
    /// Tokens in the order of the writes that they guarded.
    tokens: Vec<i64>,
    /// Which clients wrote by them.
    writers: BTreeSet<usize>,
    /// How many writes were refused.
    refused: usize,
}

fn compete(prize: Prize, seed: u64) -> Competition {
    let mut etcd = Etcd::default();
    let mut holders: Vec<Holder> = (0..3)
        .map(|client| Holder::new(seed, client, "run/", prize))
        .collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut seen = Competition::default();
    for op in 1..3_000 {
        etcd.pass(op);
        let client = rng.random_range(0..3usize);
        let holder = &mut holders[client];
        let Step { request, at_member } = holder.next(op);
        assert!(!at_member, "all is linearizable");
        // Now and then no answer arrives, whether it happened or not.
        let outcome = match rng.random_range(0..20u32) {
            0 => lost(),
            1 => {
                etcd.answer(&request);
                lost()
            }
            _ => etcd.answer(&request),
        };
        if let (Request::Txn { compare, then, .. }, Outcome::Ok { response, .. }) =
            (&request, &outcome)
            && let [Compare::ModRevision { revision, .. }] = compare.as_slice()
            && then.len() == 1
        {
            match response {
                Response::Txn {
                    succeeded: true, ..
                } => {
                    seen.tokens.push(*revision);
                    seen.writers.insert(client);
                }
                _ => seen.refused += 1,
            }
        }
        holder.learn(&request, &outcome);
    }
    seen
}

fn lost() -> Outcome {
    Outcome::Unknown {
        class: "deadline".to_owned(),
        message: String::new(),
    }
}

#[test]
fn holders_follow_each_other_and_those_who_do_not_look_are_refused() {
    for prize in [Prize::Lock, Prize::Election] {
        for seed in 0..8 {
            let Competition {
                mut tokens,
                writers,
                refused,
            } = compete(prize, seed);
            let told = format!("{prize:?}, seed {seed}");
            assert!(tokens.is_sorted(), "{told}: two held at once: {tokens:?}");
            tokens.dedup();
            assert!(tokens.len() > 2, "{told}: {} have held it", tokens.len());
            assert!(writers.len() > 1, "{told}: only {writers:?} wrote");
            assert!(refused > 0, "{told}: no holder was ever too late");
        }
    }
}

#[test]
fn a_key_whose_revision_is_not_known_is_never_a_fence() {
    let mut holder = Holder::new(1, 0, "run/", Prize::Lock);
    let granted = holder.next(1).request;
    holder.learn(&granted, &Etcd::default().answer(&granted));
    let mut taking = holder.next(2).request;
    for op in 3..100 {
        if matches!(taking, Request::Txn { .. }) {
            break;
        }
        taking = holder.next(op).request;
    }
    holder.learn(&taking, &lost());
    assert_eq!(holder.state, State::Idle);
}
