//! Holders against a store that does what etcd does, whose leases end when the test says so.

use super::*;
use std::collections::BTreeMap;

/// Keys with revision and lease.
#[derive(Default)]
struct Etcd {
    revision: i64,
    keys: BTreeMap<String, (i64, i64)>,
    leases: Vec<i64>,
}

impl Etcd {
    fn answer(&mut self, request: &Request) -> Outcome {
        let response = match request {
            Request::LeaseGrant { id, ttl } => {
                self.leases.push(*id);
                Response::LeaseGrant { id: *id, ttl: *ttl }
            }
            Request::LeaseKeepAlive { id } if !self.leases.contains(id) => {
                return Outcome::Failed {
                    class: "lease_not_found".to_owned(),
                    message: String::new(),
                };
            }
            Request::LeaseKeepAlive { .. } => Response::LeaseKeepAlive { ttl: 1 },
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

    fn end(&mut self, lease: i64) {
        self.leases.retain(|known| *known != lease);
        let before = self.keys.len();
        self.keys.retain(|_, held| held.1 != lease);
        self.revision += i64::from(self.keys.len() < before);
    }
}

/// Tokens in the order of the writes that they guarded, and how many writes were refused.
fn compete(prize: Prize, seed: u64) -> (Vec<i64>, usize) {
    let mut etcd = Etcd::default();
    let mut holders: Vec<Holder> = (0..3)
        .map(|client| Holder::new(seed, client, "run/", prize))
        .collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut tokens, mut refused) = (Vec::new(), 0);
    for op in 1..3_000 {
        if op % 40 == 0
            && let Some(lease) = etcd.leases.first().copied()
        {
            etcd.end(lease);
        }
        let holder = &mut holders[rng.random_range(0..3usize)];
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
                } => tokens.push(*revision),
                _ => refused += 1,
            }
        }
        holder.learn(&request, &outcome);
    }
    (tokens, refused)
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
        let (mut all_refused, mut all_holders) = (0, 0);
        for seed in 0..8 {
            let (mut tokens, refused) = compete(prize, seed);
            all_refused += refused;
            assert!(
                tokens.is_sorted(),
                "{prize:?}: two held at once: {tokens:?}"
            );
            tokens.dedup();
            all_holders += tokens.len();
        }
        assert!(all_refused > 0, "{prize:?}: no holder was ever too late");
        assert!(all_holders > 16, "{prize:?}: {all_holders} have held it");
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
