//! Requests that etcd always refuses, whatever its store holds: where one of them was acknowledged, the answer cannot
//! be etcd's.
//!
//! What a flag of etcd decides is left out: how many parts a transaction may have, and how large a request may be.

use super::placement::{self, Part};
use super::words;
use crate::index::{Acked, Op};
use crate::record::Request;

/// The longest time for which etcd grants a lease, in seconds.
const LEASE_MAX_S: i64 = 9_000_000_000;

/// Why etcd cannot have acknowledged an operation that it seems to have acknowledged, in words.
pub(crate) fn acknowledged(op: &Op<'_>) -> Option<String> {
    let acked = op.acked()?;
    let request = &op.call.request;
    let why = asked(request).or_else(|| revision(request, &acked))?;
    Some(format!(
        "{why}, which etcd always refuses, so that the answer cannot be etcd's"
    ))
}

/// What is wrong with a request by itself.
fn asked(request: &Request) -> Option<String> {
    if placement::keys_of(request).any(|keys| keys.key.is_empty()) {
        return Some("it names an empty key".to_owned());
    }
    match request {
        // One branch runs, so that both may put the same key.
        Request::Txn {
            then, otherwise, ..
        } => twice(then).or_else(|| twice(otherwise)),
        Request::LeaseGrant { ttl, .. } => {
            (*ttl > LEASE_MAX_S).then(|| format!("it asks for a lease of {ttl} s"))
        }
        Request::LeaseRevoke { id: 0 } => Some("it revokes lease 0, which is none".to_owned()),
        // A new store counts as compacted to revision -1.
        Request::Compact { revision } => {
            (*revision < 0).then(|| format!("it compacts to revision {revision}"))
        }
        _ => None,
    }
}

/// A key that a branch puts twice, or puts and deletes, in whatever order.
fn twice(branch: &[Request]) -> Option<String> {
    let puts = branch.iter().filter_map(|part| match part {
        Request::Put { key, .. } => Some(key.as_str()),
        _ => None,
    });
    let mut puts: Vec<&str> = puts.collect();
    puts.sort_unstable();
    if let Some(pair) = puts.windows(2).find(|pair| pair[0] == pair[1]) {
        let key = words::shown(pair[0]);
        return Some(format!("it puts {key} twice in one branch"));
    }
    let deletes = || {
        branch.iter().filter_map(|part| match part {
            Request::Delete { key, range_end } => {
                let end = range_end.as_deref().filter(|end| !end.is_empty());
                Some((key.as_str(), end))
            }
            _ => None,
        })
    };
    // etcd compares ends as text here: a range to the end of the key space, "\0", holds nothing then. Beside such a
    // range its search may miss others.
    if deletes().any(|(key, end)| end.is_some_and(|end| end <= key)) {
        return None;
    }
    let both = deletes().find_map(|(key, end)| {
        let first = puts.partition_point(|put| *put < key);
        let put = *puts.get(first)?;
        let deleted = end.map_or(put == key, |end| put < end);
        deleted.then_some(put)
    })?;
    let key = words::shown(both);
    Some(format!("it puts {key} and deletes it in one branch"))
}

/// A revision that it names and that the store had not reached; in a transaction, of the branch that ran.
fn revision(request: &Request, acked: &Acked<'_>) -> Option<String> {
    match request {
        Request::Range { revision, .. } => ahead("reads", *revision, acked.revision),
        Request::Compact { revision } => ahead("compacts to", *revision, acked.revision),
        Request::Txn { .. } => {
            // What it reads is looked at before it writes.
            let wrote = placement::part(request, acked.response) == Some(Part::Changes);
            let before = acked.revision.saturating_sub(i64::from(wrote));
            let mut ran = request.answered(acked.response);
            ran.find_map(|(part, _)| match part {
                // Of a range that stands alone this means the newest revision.
                Request::Range {
                    revision: revision @ ..=-2,
                    ..
                } => Some(format!("it reads revision {revision} in a transaction")),
                Request::Range { revision, .. } => ahead("reads", *revision, before),
                _ => None,
            })
        }
        _ => None,
    }
}

fn ahead(verb: &str, revision: i64, reached: i64) -> Option<String> {
    (revision > reached.max(0))
        .then(|| format!("it {verb} revision {revision}, while the store is at revision {reached}"))
}
