//! What a simulated client asks next: every kind of operation, with unique values.

use super::random::Random;
use crate::record::{Compare, KeyValue, OpId, Request};

/// Prefix of all keys of a run.
pub(crate) const PREFIX: &str = "t/";
/// End of the range of all keys of a run.
pub(crate) const PREFIX_END: &str = "t0";

/// What the generator may build on.
pub(crate) struct Seen {
    pub(crate) keys: u64,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// The client's lease; 0 for none.
    pub(crate) lease: i64,
    /// The key that was put last.
    pub(crate) last: Option<KeyValue>,
    /// True when transactions may attach keys to it.
    pub(crate) leases_in_txns: bool,
}

/// The next request of a client, and whether it goes to one member.
pub(crate) fn next(random: &mut Random, (client, op): (u32, OpId), seen: &Seen) -> (Request, bool) {
    let key = key(random, seen.keys);
    let put = |key: &str, lease| Request::Put {
        key: key.to_owned(),
        value: format!("c{client}-{op}"),
        lease,
    };
    let request = match random.below(100) {
        0..22 => put(&key, 0),
        22..40 => get(&key, false, 0),
        40..44 => list(random, false),
        44..48 => return (list(random, true), true),
        48..52 => return (get(&key, true, 0), true),
        52..56 => get(
            &key,
            false,
            random.between(seen.compacted.max(1), seen.revision),
        ),
        56..64 => Request::Txn {
            compare: vec![compare(random, &key, seen.last.as_ref())],
            then: vec![put(&key, 0)],
            otherwise: vec![get(&key, false, 0)],
        },
        64..70 => Request::Txn {
            compare: vec![compare(random, &key, seen.last.as_ref())],
            then: vec![list(random, false), get(&key, false, 0)],
            otherwise: vec![
                Request::Delete {
                    key: key.clone(),
                    range_end: random.chance(50).then(|| behind(&key)),
                },
                put(&format!("{PREFIX}op/{client}"), 0),
                get(&key, false, 0),
                list(random, false),
            ],
        },
        70..72 if seen.leases_in_txns && seen.lease != 0 => {
            let leased = format!("{PREFIX}l/{client}/t");
            Request::Txn {
                compare: Vec::new(),
                then: vec![put(&leased, seen.lease), put(&key, 0)],
                otherwise: Vec::new(),
            }
        }
        70..80 => several(random, &put, &key, seen.keys),
        80..86 => marked_delete(random, &put, (client, &key)),
        86..88 => delete(random, key),
        88 if seen.revision > seen.compacted + 50 => Request::Compact {
            revision: seen.revision - 20,
        },
        // Now and then a lease is left to itself and expires.
        _ => match (seen.lease, random.below(10)) {
            (0, _) | (_, 9) => Request::LeaseGrant {
                id: (i64::from(client) + 1) << 40 | op.cast_signed(),
                ttl: 1,
            },
            (lease, 0..=1) => Request::LeaseKeepAlive { id: lease },
            (lease, 2..=7) => put(&format!("{PREFIX}l/{client}/{}", random.below(3)), lease),
            (lease, _) => Request::LeaseRevoke { id: lease },
        },
    };
    (request, false)
}

/// A delete of one key or some that stands alone.
fn delete(random: &mut Random, key: String) -> Request {
    Request::Delete {
        range_end: random.chance(50).then(|| behind(&key)),
        key,
    }
}

/// What a client asks last, of which no answer will come: often what leaves no mark.
pub(crate) fn last(random: &mut Random, of: (u32, OpId), seen: &Seen) -> (Request, bool) {
    if random.chance(60) {
        return next(random, of, seen);
    }
    let key = key(random, seen.keys);
    (delete(random, key), false)
}

fn key(random: &mut Random, keys: u64) -> String {
    format!("{PREFIX}k/{:03}", random.below(keys))
}

/// The end of a range that begins at a key and holds the one or two behind it as well.
fn behind(key: &str) -> String {
    let digits = key.trim_start_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().unwrap_or(0);
    format!("{PREFIX}k/{:03}", number + 3)
}

fn get(key: &str, serializable: bool, revision: i64) -> Request {
    Request::Range {
        key: key.to_owned(),
        range_end: None,
        limit: 0,
        serializable,
        revision,
    }
}

fn list(random: &mut Random, serializable: bool) -> Request {
    let limit = if random.chance(30) { 3 } else { 0 };
    Request::Range {
        key: format!("{PREFIX}k/"),
        range_end: Some(format!("{PREFIX}k0")),
        limit,
        serializable,
        revision: 0,
    }
}

/// A compare that may well hold: of the key that was put last, or of another one.
fn compare(random: &mut Random, key: &str, last: Option<&KeyValue>) -> Compare {
    let last = last.filter(|_| random.chance(60));
    let key = last.map_or(key, |kv| &kv.key).to_owned();
    match random.below(3) {
        0 => Compare::ModRevision {
            key,
            revision: last.map_or(0, |kv| kv.mod_revision),
        },
        1 => Compare::Version {
            key,
            version: last.map_or(random.between(0, 3), |kv| kv.version),
        },
        _ => Compare::Value {
            key,
            value: last.map_or("c0-1", |kv| &kv.value).to_owned(),
        },
    }
}

fn several(
    random: &mut Random,
    put: &impl Fn(&str, i64) -> Request,
    first: &str,
    keys: u64,
) -> Request {
    let (second, third) = (key(random, keys), key(random, keys));
    let mut then = vec![put(first, 0)];
    if second != first {
        then.push(put(&second, 0));
    }
    then.push(get(&third, false, 0));
    Request::Txn {
        compare: Vec::new(),
        then,
        otherwise: Vec::new(),
    }
}

fn marked_delete(
    random: &mut Random,
    put: &impl Fn(&str, i64) -> Request,
    (client, key): (u32, &str),
) -> Request {
    let range_end = random.chance(30).then(|| behind(key));
    let delete = Request::Delete {
        key: key.to_owned(),
        range_end,
    };
    let then = vec![delete, put(&format!("{PREFIX}op/{client}"), 0)];
    Request::Txn {
        compare: Vec::new(),
        then,
        otherwise: Vec::new(),
    }
}
