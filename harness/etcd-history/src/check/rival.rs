//! Requests of unknown outcome beside the end of a lease: what watchers saw go may be what they deleted.

use std::collections::BTreeSet;

use super::items::Items;
use super::keyspace::Keys;
use super::store::{Model, Text, Value};
use crate::record::Request;

/// How a request of unknown outcome stands to a revision of which only deletes were seen. Ordered by how much it keeps
/// from being known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rival {
    /// It cannot have made it.
    No,
    /// It may have, and leaves what the end of the lease leaves.
    Same,
    /// It may have, and leaves something else.
    Other,
}

/// How a delete of unknown outcome that stands alone stands to such a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It cannot have made it.
    No,
    /// It deletes what was seen to go.
    Exactly,
    /// It deletes that, and keys that no one watches.
    More,
}

/// What was seen of a revision.
pub(crate) struct Deletes<'e> {
    /// Keys that went, one at least.
    pub(crate) gone: Vec<&'e str>,
    /// What all watchers were asked for: of these keys nothing else went. Absent where they differ.
    pub(crate) watched: Option<Keys<'e>>,
    /// The lease that may have ended instead; 0 for none.
    pub(crate) lease: i64,
}

impl Deletes<'_> {
    fn visible(&self, key: &str) -> bool {
        self.watched.is_some_and(|watched| watched.hold(key))
    }
}

/// True for a request that may delete.
pub(crate) fn deletes(request: &Request) -> bool {
    request
        .parts()
        .any(|part| matches!(part, Request::Delete { .. }))
}

/// How a request stands to a revision in front of which the store is like this. What a transaction compares is not
/// looked at.
pub(crate) fn rival<S: Text, M: Items<S, Value<S>>>(
    store: &mut Model<S, M>,
    request: &Request,
    seen: &Deletes<'_>,
) -> Rival {
    match request {
        Request::Delete { .. } => branch(store, std::slice::from_ref(request), seen),
        Request::Txn {
            then, otherwise, ..
        } => branch(store, then, seen).max(branch(store, otherwise, seen)),
        _ => Rival::No,
    }
}

/// How a delete that stands alone stands to a revision in front of which the store is like this.
pub(crate) fn fit<S: Text, M: Items<S, Value<S>>>(
    store: &mut Model<S, M>,
    request: &Request,
    seen: &Deletes<'_>,
) -> Fit {
    let Request::Delete { key, range_end } = request else {
        return Fit::No;
    };
    let keys = Keys::new(key, range_end.as_deref());
    let mut gone = seen.gone.iter();
    if !gone.all(|key| keys.hold(key) && store.get(key).is_some()) {
        return Fit::No;
    }
    let there = store.keys_in(keys);
    let visible = there.iter().filter(|key| seen.visible(key.text()));
    if there.len() == seen.gone.len() {
        Fit::Exactly
    } else if visible.count() > seen.gone.len() {
        Fit::No
    } else {
        Fit::More
    }
}

fn branch<S: Text, M: Items<S, Value<S>>>(
    store: &mut Model<S, M>,
    requests: &[Request],
    seen: &Deletes<'_>,
) -> Rival {
    let sets = requests.iter().filter_map(|request| match request {
        Request::Delete { key, range_end } => Some(Keys::new(key, range_end.as_deref())),
        _ => None,
    });
    let sets: Vec<Keys<'_>> = sets.collect();
    let held = |key: &&str| sets.iter().any(|keys| keys.hold(key));
    let mut puts = requests.iter().filter_map(|request| match request {
        Request::Put { key, .. } => Some(key.as_str()),
        _ => None,
    });
    // A put that was watched would have been seen with the deletes.
    if !seen.gone.iter().all(held) || puts.clone().any(|key| seen.visible(key)) {
        return Rival::No;
    }
    let deleted = sets.iter().flat_map(|keys| store.keys_in(*keys));
    let deleted: BTreeSet<S> = deleted.collect();
    let visible = deleted.iter().filter(|key| seen.visible(key.text()));
    let there = |gone: &&str| deleted.iter().any(|key| key.is(gone));
    if !seen.gone.iter().all(there) || visible.count() > seen.gone.len() {
        return Rival::No;
    }
    let leased: BTreeSet<S> = store.leased(seen.lease).map(|gone| gone.key).collect();
    match puts.next().is_none() && leased == deleted {
        true => Rival::Same,
        false => Rival::Other,
    }
}
