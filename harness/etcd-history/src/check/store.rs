//! What etcd must answer: the whole store, stepped by one request at a time.
//!
//! One revision for every request that changes something, whatever it changes; `create_revision`, `mod_revision`,
//! `version` and lease per key; reads inside a transaction see the writes before them. Borrows all text from the
//! history, or owns it where the history is not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::brief::Brief;
use super::items::Items;
use super::keyspace::Keys;
use super::words;
use crate::record::{Compare, KeyValue, Request, Response};

/// Text that a store holds.
pub(crate) trait Text: Ord + Clone {
    fn text(&self) -> &str;

    fn is(&self, text: &str) -> bool;
}

impl Text for &str {
    fn text(&self) -> &str {
        self
    }

    fn is(&self, text: &str) -> bool {
        *self == text
    }
}

impl Text for Brief {
    fn text(&self) -> &str {
        self.text()
    }

    fn is(&self, text: &str) -> bool {
        self.bytes() == text.as_bytes()
    }
}

/// A store that borrows from the history.
pub(crate) type Store<'a> = Model<&'a str, BTreeMap<&'a str, Item<'a>>>;
/// A key of it.
pub(crate) type Item<'a> = Value<&'a str>;
/// A change of it.
pub(crate) type Change<'a> = Changed<&'a str>;

/// A key as the model has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Value<S> {
    pub(crate) value: S,
    pub(crate) create: i64,
    pub(crate) modified: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl<S: Text> Value<S> {
    pub(crate) fn of<'r>(kv: &'r KeyValue) -> Self
    where
        S: From<&'r str>,
    {
        Self {
            value: S::from(&kv.value),
            create: kv.create_revision,
            modified: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }

    /// True when an answer says the same of its key.
    pub(crate) fn is(&self, kv: &KeyValue) -> bool {
        self.modified == kv.mod_revision
            && self.create == kv.create_revision
            && self.version == kv.version
            && self.lease == kv.lease
            && self.value.is(&kv.value)
    }

    fn words(&self) -> String {
        format!(
            "{} (created at {}, modified at {}, version {}, lease {:x})",
            words::shown(self.value.text()),
            self.create,
            self.modified,
            self.version,
            self.lease
        )
    }
}

/// One key changed by one revision; `after` absent for a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed<S> {
    pub(crate) key: S,
    pub(crate) after: Option<Value<S>>,
}

/// The model and an answer disagree: what the model says, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch(pub(crate) String);

/// The whole store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Model<S, M> {
    pub(crate) revision: i64,
    items: M,
    leased: BTreeMap<i64, BTreeSet<S>>,
}

impl<S, M: Default> Default for Model<S, M> {
    fn default() -> Self {
        Self {
            revision: 0,
            items: M::default(),
            leased: BTreeMap::new(),
        }
    }
}

impl<'a> Store<'a> {
    /// The keys of a set that are there, or all, in order.
    pub(crate) fn among<'s>(
        &'s self,
        keys: Option<Keys<'s>>,
    ) -> impl Iterator<Item = (&'a str, &'s Item<'a>)> {
        let from = keys.map_or(Bound::Unbounded, |keys| Bound::Included(keys.key));
        let all = self.items.range::<str, _>((from, Bound::Unbounded));
        all.map(|(key, item)| (*key, item))
            .take_while(move |(key, _)| keys.is_none_or(|keys| !keys.ends_before(key)))
    }
}

impl<S: Text, M: Items<S, Value<S>>> Model<S, M> {
    /// A store that holds these keys at this revision.
    pub(crate) fn at<'r>(revision: i64, kvs: &'r [KeyValue]) -> Self
    where
        S: From<&'r str>,
    {
        Self::with(revision, kvs)
    }

    /// The same of several answers, which agree.
    pub(crate) fn with<'r>(revision: i64, kvs: impl IntoIterator<Item = &'r KeyValue>) -> Self
    where
        S: From<&'r str>,
    {
        let mut store = Self {
            revision,
            ..Self::default()
        };
        for kv in kvs {
            let key = S::from(&kv.key);
            reattach(&mut store.leased, &key, (0, kv.lease));
            store.items.insert(key, Value::of(kv));
        }
        store
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value<S>> {
        self.items.get(key)
    }

    /// The keys of the set that are there, in order.
    pub(crate) fn keys_in(&mut self, keys: Keys<'_>) -> Vec<S> {
        let there = self.items.scan(keys);
        there.map(|(key, _)| key.clone()).collect()
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Looks at some of its keys, for those who will ask for them.
    pub(crate) fn warm<'k>(&self, keys: impl Iterator<Item = &'k str>) {
        self.items.warm(keys, |item| item.lease);
    }

    /// True when keys are attached to the lease.
    pub(crate) fn has_leased(&self, lease: i64) -> bool {
        self.leased.contains_key(&lease)
    }

    /// What the end of a lease would change.
    pub(crate) fn leased(&self, lease: i64) -> impl Iterator<Item = Changed<S>> {
        let keys = self.leased.get(&lease).into_iter().flatten();
        keys.map(|key| gone(key.clone()))
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
    pub(crate) fn execute<'r>(
        &mut self,
        request: &'r Request,
        answer: Option<&Response>,
        changes: &mut Vec<Changed<S>>,
    ) -> Result<(), Mismatch>
    where
        S: From<&'r str>,
    {
        changes.clear();
        if let Request::LeaseRevoke { id } = request {
            self.drop_lease(*id, changes);
            return match answer {
                None | Some(Response::LeaseRevoke {}) => Ok(()),
                Some(_) => Err(kind_mismatch(request)),
            };
        }
        self.step(request, answer, changes)?;
        if !changes.is_empty() {
            self.revision = self.revision.saturating_add(1);
        }
        Ok(())
    }

    /// A revision that changed only keys which no client of the run uses.
    pub(crate) fn skip(&mut self, changes: &mut Vec<Changed<S>>) {
        changes.clear();
        self.revision = self.revision.saturating_add(1);
    }

    /// Deletes the keys of a lease in one revision, as a revoke or an expiry does.
    pub(crate) fn drop_lease(&mut self, lease: i64, changes: &mut Vec<Changed<S>>) {
        changes.clear();
        let keys = self.leased.remove(&lease).unwrap_or_default();
        for key in keys {
            self.items.remove(key.text());
            changes.push(gone(key));
        }
        if !changes.is_empty() {
            self.revision = self.revision.saturating_add(1);
        }
    }

    fn step<'r>(
        &mut self,
        request: &'r Request,
        answer: Option<&Response>,
        changes: &mut Vec<Changed<S>>,
    ) -> Result<(), Mismatch>
    where
        S: From<&'r str>,
    {
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

    fn txn<'r>(
        &mut self,
        (holds, branch): (bool, &'r [Request]),
        answer: Option<&Response>,
        changes: &mut Vec<Changed<S>>,
    ) -> Result<(), Mismatch>
    where
        S: From<&'r str>,
    {
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
        &mut self,
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
        if keys.is_range() {
            for (key, item) in self.items.scan(keys) {
                if total < limit {
                    same(key.text(), item, kvs.get(total))?;
                }
                total += 1;
            }
        } else if let Some(item) = self.items.get(key) {
            same(key, item, kvs.first())?;
            total = 1;
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

    fn put<'r>(&mut self, key: &'r str, value: &'r str, lease: i64, changes: &mut Vec<Changed<S>>)
    where
        S: From<&'r str>,
    {
        let revision = self.revision.saturating_add(1);
        let mut after = Value {
            value: S::from(value),
            create: revision,
            modified: revision,
            version: 1,
            lease,
        };
        let owned = S::from(key);
        let held = match self.items.get_mut(key) {
            Some(item) => {
                after.create = item.create;
                after.version = item.version.saturating_add(1);
                std::mem::replace(item, after.clone()).lease
            }
            None => {
                self.items.insert(owned.clone(), after.clone());
                0
            }
        };
        reattach(&mut self.leased, &owned, (held, lease));
        changes.push(Changed {
            key: owned,
            after: Some(after),
        });
    }

    fn delete(&mut self, keys: Keys<'_>, changes: &mut Vec<Changed<S>>) -> i64 {
        let first = changes.len();
        if keys.is_range() {
            changes.extend(self.items.scan(keys).map(|(key, _)| gone(key.clone())));
        }
        for change in &changes[first..] {
            if let Some((key, held)) = self.items.remove(change.key.text()) {
                reattach(&mut self.leased, &key, (held.lease, 0));
            }
        }
        if !keys.is_range()
            && let Some((key, held)) = self.items.remove(keys.key)
        {
            reattach(&mut self.leased, &key, (held.lease, 0));
            changes.push(gone(key));
        }
        i64::try_from(changes.len() - first).unwrap_or(i64::MAX)
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::ModRevision { key, revision } => {
                self.get(key).map_or(0, |item| item.modified) == *revision
            }
            Compare::Value { key, value } => self.get(key).is_some_and(|item| item.value.is(value)),
            Compare::Version { key, version } => {
                self.get(key).map_or(0, |item| item.version) == *version
            }
        }
    }
}

/// Moves a key from one lease to another; 0 for none.
fn reattach<S: Text>(leased: &mut BTreeMap<i64, BTreeSet<S>>, key: &S, (old, new): (i64, i64)) {
    if old == new {
        return;
    }
    if old != 0
        && let Some(keys) = leased.get_mut(&old)
    {
        keys.remove(key);
        if keys.is_empty() {
            leased.remove(&old);
        }
    }
    if new != 0 {
        leased.entry(new).or_default().insert(key.clone());
    }
}

/// An answer says of a key what the store has.
fn same<S: Text>(key: &str, item: &Value<S>, said: Option<&KeyValue>) -> Result<(), Mismatch> {
    match said {
        Some(kv) if kv.key == key && item.is(kv) => Ok(()),
        Some(kv) => Err(Mismatch(format!(
            "the store has {key} = {} there, the answer {} = {}",
            item.words(),
            kv.key,
            Item::of(kv).words()
        ))),
        None => Err(Mismatch(format!(
            "the store has {key} = {} there, the answer does not",
            item.words()
        ))),
    }
}

fn gone<S>(key: S) -> Changed<S> {
    Changed { key, after: None }
}

fn kind_mismatch(request: &Request) -> Mismatch {
    Mismatch(format!(
        "the answer is of another kind than {}",
        words::request(request)
    ))
}
