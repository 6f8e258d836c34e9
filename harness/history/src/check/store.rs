//! What etcd must answer: the whole store, stepped by one request at a time.
//!
//! One revision for every request that changes something, whatever it changes; `create_revision`, `mod_revision`,
//! `version` and lease per key; reads inside a transaction see the writes before them. Borrows all text from the
//! history.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::keyspace::Keys;
use super::words;
use crate::record::{Compare, KeyValue, Request, Response};

/// A key as the model has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Item<'a> {
    pub(crate) value: &'a str,
    pub(crate) create: i64,
    pub(crate) modified: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl<'a> Item<'a> {
    pub(crate) fn of(kv: &'a KeyValue) -> Self {
        Self {
            value: &kv.value,
            create: kv.create_revision,
            modified: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }

    fn words(&self) -> String {
        format!(
            "{} (created at {}, modified at {}, version {}, lease {:x})",
            words::shown(self.value),
            self.create,
            self.modified,
            self.version,
            self.lease
        )
    }
}

/// One key changed by one revision; `after` absent for a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change<'a> {
    pub(crate) key: &'a str,
    pub(crate) after: Option<Item<'a>>,
}

/// The model and an answer disagree: what the model says, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch(pub(crate) String);

/// The whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Store<'a> {
    pub(crate) revision: i64,
    items: BTreeMap<&'a str, Item<'a>>,
    leased: BTreeMap<i64, BTreeSet<&'a str>>,
}

impl<'a> Store<'a> {
    /// A store that holds these keys at this revision.
    pub(crate) fn at(revision: i64, kvs: &'a [KeyValue]) -> Self {
        let mut store = Self {
            revision,
            ..Self::default()
        };
        for kv in kvs {
            store.set(&kv.key, Some(Item::of(kv)));
        }
        store
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Item<'a>> {
        self.items.get(key)
    }

    /// True when these and no others are the keys of the set that are there.
    pub(crate) fn holds_exactly<'k>(
        &self,
        keys: Keys<'_>,
        mut wanted: impl Iterator<Item = &'k str>,
        count: usize,
    ) -> bool {
        self.scan(keys).count() == count
            && wanted.all(|key| keys.hold(key) && self.items.contains_key(key))
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// True when keys are attached to the lease.
    pub(crate) fn has_leased(&self, lease: i64) -> bool {
        self.leased.contains_key(&lease)
    }

    /// What the end of a lease would change.
    pub(crate) fn leased(&self, lease: i64) -> impl Iterator<Item = Change<'a>> {
        let keys = self.leased.get(&lease).into_iter().flatten();
        keys.map(|key| Change { key, after: None })
    }

    /// Keys attached to a lease.
    pub(crate) fn attached(&self) -> usize {
        self.leased.values().map(BTreeSet::len).sum()
    }

    /// Leases with keys.
    pub(crate) fn leases(&self) -> impl Iterator<Item = i64> + '_ {
        self.leased.keys().copied()
    }

    /// Steps the store. Compares with the answer when there is one. `changes` is what was changed, in order, and the
    /// revision has grown by one exactly when it is not empty. After a mismatch the store is of no more use.
    pub(crate) fn execute(
        &mut self,
        request: &'a Request,
        answer: Option<&'a Response>,
        changes: &mut Vec<Change<'a>>,
    ) -> Result<(), Mismatch> {
        changes.clear();
        if let Request::LeaseRevoke { id } = request {
            self.drop_lease(*id, changes);
            return Ok(());
        }
        self.step(request, answer, changes)?;
        if !changes.is_empty() {
            self.revision = self.revision.saturating_add(1);
        }
        Ok(())
    }

    /// A revision that changed only keys which no client of the run uses.
    pub(crate) fn skip(&mut self, changes: &mut Vec<Change<'a>>) {
        changes.clear();
        self.revision = self.revision.saturating_add(1);
    }

    /// Deletes the keys of a lease in one revision, as a revoke or an expiry does.
    pub(crate) fn drop_lease(&mut self, lease: i64, changes: &mut Vec<Change<'a>>) {
        changes.clear();
        let keys = self.leased.remove(&lease).unwrap_or_default();
        for key in keys {
            self.items.remove(key);
            changes.push(Change { key, after: None });
        }
        if !changes.is_empty() {
            self.revision = self.revision.saturating_add(1);
        }
    }

    fn step(
        &mut self,
        request: &'a Request,
        answer: Option<&'a Response>,
        changes: &mut Vec<Change<'a>>,
    ) -> Result<(), Mismatch> {
        match (request, answer) {
            (Request::Put { key, value, lease }, None | Some(Response::Put {})) => {
                self.put(key, value, *lease, changes);
                Ok(())
            }
            (Request::Delete { key, range_end }, answer) => {
                let deleted = self.delete(Keys::new(key, range_end.as_deref()), changes);
                match answer {
                    None => Ok(()),
                    Some(Response::Delete { deleted: said }) if *said == deleted => Ok(()),
                    Some(Response::Delete { deleted: said }) => Err(Mismatch(format!(
                        "{} deletes {deleted} keys there, the answer says {said}",
                        words::request(request)
                    ))),
                    Some(_) => Err(kind_mismatch(request)),
                }
            }
            (Request::Range { .. }, None) => Ok(()),
            // A read of an older revision is compared when the replay is at that revision.
            (Request::Range { revision, .. }, Some(Response::Range { .. })) if *revision > 0 => {
                Ok(())
            }
            (Request::Range { .. }, Some(answer @ Response::Range { .. })) => {
                self.compare_range(request, answer)
            }
            (
                Request::Txn {
                    compare,
                    then,
                    otherwise,
                },
                answer,
            ) => {
                let holds = compare.iter().all(|c| self.holds(c));
                self.txn(
                    if holds {
                        (true, then)
                    } else {
                        (false, otherwise)
                    },
                    answer,
                    changes,
                )
            }
            (Request::LeaseGrant { .. }, None | Some(Response::LeaseGrant { .. }))
            | (Request::Compact { .. }, None | Some(Response::Compact {})) => Ok(()),
            _ => Err(kind_mismatch(request)),
        }
    }

    fn txn(
        &mut self,
        (holds, branch): (bool, &'a [Request]),
        answer: Option<&'a Response>,
        changes: &mut Vec<Change<'a>>,
    ) -> Result<(), Mismatch> {
        let responses = match answer {
            None => None,
            Some(Response::Txn {
                succeeded,
                responses,
            }) if *succeeded == holds => Some(responses),
            Some(Response::Txn { succeeded, .. }) => {
                let (held, said) = (
                    if holds { "hold" } else { "do not hold" },
                    if *succeeded { "they do" } else { "they do not" },
                );
                return Err(Mismatch(format!(
                    "the compares {held} there, the answer says {said}"
                )));
            }
            Some(_) => {
                return Err(Mismatch(
                    "the answer is of another kind than the transaction".to_owned(),
                ));
            }
        };
        if let Some(responses) = responses
            && responses.len() != branch.len()
        {
            return Err(Mismatch(format!(
                "the branch has {} operations, the answer {}",
                branch.len(),
                responses.len()
            )));
        }
        for (position, request) in branch.iter().enumerate() {
            self.step(request, responses.map(|r| &r[position]), changes)?;
        }
        Ok(())
    }

    /// Compares the answer to a range with the keys that the store has now.
    pub(crate) fn compare_range(
        &self,
        request: &Request,
        answer: &Response,
    ) -> Result<(), Mismatch> {
        let (
            Request::Range {
                key,
                range_end,
                limit,
                ..
            },
            Response::Range { kvs, count, more },
        ) = (request, answer)
        else {
            return Err(kind_mismatch(request));
        };
        let keys = Keys::new(key, range_end.as_deref());
        let limit = usize::try_from(*limit)
            .ok()
            .filter(|limit| *limit > 0)
            .unwrap_or(usize::MAX);
        let mut total = 0;
        for (key, item) in self.scan(keys) {
            if total < limit {
                match kvs.get(total) {
                    Some(kv) if kv.key == key && Item::of(kv) == *item => {}
                    Some(kv) => {
                        return Err(Mismatch(format!(
                            "the store has {key} = {} there, the answer {} = {}",
                            item.words(),
                            kv.key,
                            Item::of(kv).words()
                        )));
                    }
                    None => {
                        return Err(Mismatch(format!(
                            "the store has {key} = {} there, the answer does not",
                            item.words()
                        )));
                    }
                }
            }
            total += 1;
        }
        if let Some(kv) = kvs.get(total.min(limit)) {
            return Err(Mismatch(format!(
                "the answer has {} = {}, the store has no such key there",
                kv.key,
                Item::of(kv).words()
            )));
        }
        if usize::try_from(*count) != Ok(total) || *more != (total > limit) {
            return Err(Mismatch(format!(
                "{total} keys are in the range there, the answer says count {count}, more {more}"
            )));
        }
        Ok(())
    }

    fn scan(&self, keys: Keys<'_>) -> impl Iterator<Item = (&'a str, &Item<'a>)> {
        self.items
            .range::<str, _>((Bound::Included(keys.key), Bound::Unbounded))
            .take_while(move |(key, _)| !keys.ends_before(key))
            .map(|(key, item)| (*key, item))
    }

    fn put(&mut self, key: &'a str, value: &'a str, lease: i64, changes: &mut Vec<Change<'a>>) {
        let revision = self.revision.saturating_add(1);
        let before = self.items.get(key);
        let after = Item {
            value,
            create: before.map_or(revision, |item| item.create),
            modified: revision,
            version: before.map_or(0, |item| item.version).saturating_add(1),
            lease,
        };
        self.set(key, Some(after));
        changes.push(Change {
            key,
            after: Some(after),
        });
    }

    fn delete(&mut self, keys: Keys<'_>, changes: &mut Vec<Change<'a>>) -> i64 {
        let first = changes.len();
        changes.extend(self.scan(keys).map(|(key, _)| Change { key, after: None }));
        for change in &changes[first..] {
            self.set(change.key, None);
        }
        i64::try_from(changes.len() - first).unwrap_or(i64::MAX)
    }

    fn set(&mut self, key: &'a str, after: Option<Item<'a>>) {
        let before = match after {
            Some(item) => self.items.insert(key, item),
            None => self.items.remove(key),
        };
        let (old, new) = (
            before.map_or(0, |item| item.lease),
            after.map_or(0, |item| item.lease),
        );
        if old == new {
            return;
        }
        if old != 0
            && let Some(keys) = self.leased.get_mut(&old)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.leased.remove(&old);
            }
        }
        if new != 0 {
            self.leased.entry(new).or_default().insert(key);
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::ModRevision { key, revision } => {
                self.get(key).map_or(0, |item| item.modified) == *revision
            }
            Compare::Value { key, value } => self.get(key).is_some_and(|item| item.value == value),
            Compare::Version { key, version } => {
                self.get(key).map_or(0, |item| item.version) == *version
            }
        }
    }
}

fn kind_mismatch(request: &Request) -> Mismatch {
    Mismatch(format!(
        "the answer is of another kind than {}",
        words::request(request)
    ))
}
