//! All that was acknowledged up to a revision, and what else may have happened. It is brought forward from look to
//! look: each write is taken in once, and a look costs what it shows. So n writes and looks cost n log n, however many
//! looks there are.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::spans::Spans;
use crate::check::Case;
use crate::check::keyspace::Keys;
use crate::check::placement;
use crate::check::words;
use crate::hash::FastSet;
use crate::index::Op;
use crate::record::{KeyEvent, KeyValue, Request, Response};

/// The last acknowledged write of a key.
#[derive(Clone, Copy)]
pub(super) struct Last<'a> {
    pub(super) revision: i64,
    /// Value; absent for a delete.
    pub(super) value: Option<&'a str>,
    pub(super) lease: i64,
    pub(super) op: &'a Op<'a>,
}

/// What one revision did to keys, in the order in which it counts: a put of the revision that deleted its range is
/// behind the delete.
enum Told<'a> {
    /// A watcher saw a key go.
    Gone(&'a str),
    /// The delete of a range that had keys.
    Range(Keys<'a>, &'a Op<'a>),
    /// A write of one key.
    Write(&'a str, Last<'a>),
}

impl Told<'_> {
    fn rank(&self) -> u8 {
        match self {
            Self::Gone(_) => 0,
            Self::Range(..) => 1,
            Self::Write(..) => 2,
        }
    }
}

/// The ledger, as far as it was brought forward.
#[derive(Default)]
pub(super) struct Ledger<'a> {
    /// By revision.
    told: Vec<(i64, Told<'a>)>,
    /// The first that is not taken in.
    next: usize,
    last: BTreeMap<&'a str, Last<'a>>,
    /// Revision and operation of the last delete of a range.
    range_deletes: Spans<'a, (i64, &'a Op<'a>)>,
    /// Keys that must be there: written, and nothing has deleted or may have deleted them since. With the lease that
    /// may take them along, or 0.
    certain: BTreeMap<&'a str, i64>,
    /// Keys that a request of unknown outcome may have deleted, or given to a lease.
    doubtful_keys: FastSet<&'a str>,
    doubtful_ranges: Spans<'a, ()>,
    unknown_values: FastSet<&'a str>,
    pub(super) acked_values: usize,
    /// How often an entry was looked at.
    pub(super) steps: usize,
}

impl<'a> Ledger<'a> {
    /// Before the first revision.
    pub(super) fn of(case: &Case<'a>) -> Self {
        let mut ledger = Self::default();
        for op in &case.index.ops {
            match op.acked() {
                Some(acked) => {
                    for (request, response) in op.call.request.answered(acked.response) {
                        ledger.acknowledged(op, request, (acked.revision, response));
                    }
                }
                None if op.unknown() => ledger.doubtful(&op.call.request),
                None => {}
            }
        }
        for (revision, entry) in case.log.entries() {
            let gone = entry.events.iter().filter_map(|event| match event {
                KeyEvent::Delete { key, .. } => Some(key.as_str()),
                KeyEvent::Put { .. } => None,
            });
            let gone = gone.map(|key| (revision, Told::Gone(key)));
            ledger.told.extend(gone);
        }
        let order = |(revision, told): &(i64, Told<'_>)| (*revision, told.rank());
        ledger.told.sort_by_key(order);
        ledger
    }

    fn acknowledged(
        &mut self,
        op: &'a Op<'a>,
        request: &'a Request,
        (revision, response): (i64, &'a Response),
    ) {
        let write = |value, lease| Last {
            revision,
            value,
            lease,
            op,
        };
        let told = match (request, response) {
            (Request::Put { key, value, lease }, Response::Put {}) => {
                self.acked_values += 1;
                Told::Write(key, write(Some(value.as_str()), *lease))
            }
            (Request::Delete { key, range_end }, Response::Delete { deleted: 1.. }) => {
                let keys = Keys::new(key, range_end.as_deref());
                match keys.is_range() {
                    true => Told::Range(keys, op),
                    false => Told::Write(key, write(None, 0)),
                }
            }
            _ => return,
        };
        self.told.push((revision, told));
    }

    fn doubtful(&mut self, request: &'a Request) {
        self.unknown_values.extend(placement::values_of(request));
        for request in request.parts() {
            match request {
                Request::Delete { key, range_end } => {
                    match Keys::new(key, range_end.as_deref()).ends() {
                        Some(ends) => {
                            self.steps += self.doubtful_ranges.lay(ends, ());
                        }
                        None => {
                            self.doubtful_keys.insert(key);
                        }
                    }
                }
                // It may have moved the key to a lease, which then took it along.
                Request::Put { key, lease, .. } if *lease != 0 => {
                    self.doubtful_keys.insert(key);
                }
                _ => {}
            }
        }
    }

    /// Takes in everything up to a revision.
    pub(super) fn forward(&mut self, revision: i64) {
        while let Some((at, told)) = self.told.get(self.next).filter(|(at, _)| *at <= revision) {
            self.steps += 1;
            match *told {
                Told::Gone(key) => {
                    self.certain.remove(key);
                }
                Told::Range(keys, op) => {
                    let gone = among(&self.certain, Some(keys));
                    let gone: Vec<&str> = gone.map(|(key, _)| key).collect();
                    self.steps += gone.len();
                    for key in gone {
                        self.certain.remove(key);
                    }
                    if let Some(ends) = keys.ends() {
                        self.steps += self.range_deletes.lay(ends, (*at, op));
                    }
                }
                Told::Write(key, last) => {
                    self.last.insert(key, last);
                    match last.value.is_some() && !self.may_have_gone(key) {
                        true => self.certain.insert(key, last.lease),
                        false => self.certain.remove(key),
                    };
                }
            }
            self.next += 1;
        }
    }

    fn may_have_gone(&self, key: &str) -> bool {
        self.doubtful_keys.contains(key) || self.doubtful_ranges.at(key).is_some()
    }

    /// Number of keys with an acknowledged write.
    pub(super) fn keys(&self) -> usize {
        self.last.len()
    }

    /// The newest of the last writes.
    pub(super) fn newest(&self) -> Option<&Last<'a>> {
        self.last.values().max_by_key(|last| last.revision)
    }

    /// The last acknowledged write of a key, a delete of its range included.
    fn standing(&self, key: &str) -> Option<Last<'a>> {
        let last = *self.last.get(key)?;
        let delete = self.range_deletes.at(key);
        let delete = delete.filter(|(revision, _)| *revision > last.revision);
        Some(delete.map_or(last, |(revision, op)| Last {
            revision,
            value: None,
            lease: 0,
            op,
        }))
    }

    /// True for a key with an acknowledged write.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.last.contains_key(key)
    }

    /// True for a value that a write of unknown outcome would leave behind.
    pub(super) fn may_write(&self, value: &str) -> bool {
        self.unknown_values.contains(value)
    }

    /// Keys, of those that were asked for, of which these show that a write is lost: its last write, and why. Of those
    /// that are not there the first one. `alive`: true for a lease that cannot have ended by then.
    pub(super) fn lost(
        &mut self,
        keys: Option<Keys<'_>>,
        kvs: &'a [KeyValue],
        alive: impl Fn(i64) -> bool,
    ) -> Vec<(&'a str, Last<'a>, String)> {
        let asked = |kv: &&KeyValue| keys.is_none_or(|keys| keys.hold(&kv.key));
        let mut lost = Vec::new();
        for kv in kvs.iter().filter(asked) {
            self.steps += 1;
            if let Some(last) = self.standing(&kv.key)
                && let Some(why) = self.wrong(&last, kv)
            {
                lost.push((kv.key.as_str(), last, why));
            }
        }
        let there: FastSet<&str> = kvs.iter().map(|kv| kv.key.as_str()).collect();
        let mut steps = 0;
        let missing = among(&self.certain, keys).find(|(key, lease)| {
            steps += 1;
            !there.contains(key) && (*lease == 0 || alive(*lease))
        });
        self.steps += steps;
        if let Some((key, lease)) = missing
            && let Some(last) = self.standing(key)
        {
            let why = match lease {
                0 => "it is not there and nothing deleted it".to_owned(),
                lease => {
                    format!("it is not there, nothing deleted it, and lease {lease:x} was alive")
                }
            };
            lost.push((key, last, why));
        }
        lost.sort_by_key(|(key, ..)| *key);
        lost
    }

    /// What is wrong with a key that is there.
    fn wrong(&self, last: &Last<'_>, kv: &KeyValue) -> Option<String> {
        let has = || {
            let value = words::shown(&kv.value);
            format!("it is {value} of revision {}", kv.mod_revision)
        };
        if kv.mod_revision < last.revision {
            return Some(has());
        }
        if kv.mod_revision == last.revision {
            return (last.value != Some(kv.value.as_str())).then(has);
        }
        // Later than everything acknowledged: only a write of unknown outcome.
        (!self.may_write(&kv.value)).then(|| format!("{}, which no client may have written", has()))
    }
}

/// The keys of a set that are among these, in order, with their leases.
fn among<'s, 'a>(
    all: &'s BTreeMap<&'a str, i64>,
    keys: Option<Keys<'s>>,
) -> impl Iterator<Item = (&'a str, i64)> + 's {
    let from = keys.map_or(Bound::Unbounded, |keys| Bound::Included(keys.key));
    let all = all.range::<str, _>((from, Bound::Unbounded));
    all.map(|(key, lease)| (*key, *lease))
        .take_while(move |(key, _)| keys.is_none_or(|keys| !keys.ends_before(key)))
}
