//! A correct multi-version store, written apart from the checks' model so that the two do not share a mistake.

use std::collections::BTreeMap;

use crate::record::{Compare, KeyEvent, KeyValue, Request, Response};

/// Every version of every key.
#[derive(Clone, Debug)]
pub(crate) struct VersionedStore {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    versions: BTreeMap<String, Vec<(i64, Option<KeyValue>)>>,
    /// Events of the revision that is being made.
    staged: Vec<KeyEvent>,
}

impl VersionedStore {
    pub(crate) fn new() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            versions: BTreeMap::new(),
            staged: Vec::new(),
        }
    }

    /// Executes a request and returns the answer and the events of the revision it made, if it made one.
    pub(crate) fn execute(&mut self, request: &Request) -> (Response, Vec<KeyEvent>) {
        let response = self.apply(request);
        (response, self.commit())
    }

    /// Another client writes a key that no client of the run uses.
    pub(crate) fn write_elsewhere(&mut self) -> i64 {
        self.revision += 1;
        self.revision
    }

    /// Deletes these keys in one revision, as the end of a lease does.
    pub(crate) fn delete_keys(&mut self, keys: &[String]) -> Vec<KeyEvent> {
        for key in keys {
            self.stage(key, None);
        }
        self.commit()
    }

    /// Keys attached to a lease.
    pub(crate) fn leased(&self, lease: i64) -> Vec<String> {
        let attached = |kv: &Option<KeyValue>| kv.as_ref().is_some_and(|kv| kv.lease == lease);
        let last = |versions: &Vec<(i64, Option<KeyValue>)>| {
            versions.last().is_some_and(|(_, kv)| attached(kv))
        };
        self.versions
            .iter()
            .filter(|(_, versions)| last(versions))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// The keys in a range as they were at a revision.
    pub(crate) fn range_at(
        &self,
        key: &str,
        range_end: Option<&str>,
        revision: i64,
    ) -> Vec<KeyValue> {
        let at = |versions: &Vec<(i64, Option<KeyValue>)>| {
            let end = versions.partition_point(|(made, _)| *made <= revision);
            end.checked_sub(1).and_then(|last| versions[last].1.clone())
        };
        match range_end {
            None => self.versions.get(key).and_then(at).into_iter().collect(),
            Some(end) => self
                .versions
                .range(key.to_owned()..end.to_owned())
                .filter_map(|(_, v)| at(v))
                .collect(),
        }
    }

    pub(crate) fn answer_range(&self, request: &Request, revision: i64) -> Response {
        let Request::Range {
            key,
            range_end,
            limit,
            ..
        } = request
        else {
            return Response::Put {};
        };
        let mut kvs = self.range_at(key, range_end.as_deref(), revision);
        let count = kvs.len();
        if *limit > 0 {
            kvs.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
        }
        let more = kvs.len() < count;
        Response::Range {
            kvs,
            count: i64::try_from(count).unwrap_or(0),
            more,
        }
    }

    fn apply(&mut self, request: &Request) -> Response {
        // Inside a transaction the staged revision is already visible.
        let now = self.revision + 1;
        match request {
            Request::Put { key, value, lease } => {
                let before = self.get(key);
                let (create_revision, version) =
                    before.map_or((now, 1), |kv| (kv.create_revision, kv.version + 1));
                let (key, value) = (key.clone(), value.clone());
                let kv = KeyValue {
                    key,
                    value,
                    create_revision,
                    mod_revision: now,
                    version,
                    lease: *lease,
                };
                self.stage(&kv.key.clone(), Some(kv));
                Response::Put {}
            }
            Request::Range { revision, .. } => {
                self.answer_range(request, if *revision > 0 { *revision } else { now })
            }
            Request::Delete { key, range_end } => {
                let found = self.range_at(key, range_end.as_deref(), now);
                for kv in &found {
                    self.stage(&kv.key, None);
                }
                Response::Delete {
                    deleted: i64::try_from(found.len()).unwrap_or(0),
                }
            }
            Request::Txn {
                compare,
                then,
                otherwise,
            } => {
                let succeeded = compare.iter().all(|compare| self.holds(compare));
                let branch = if succeeded { then } else { otherwise };
                let responses = branch.iter().map(|request| self.apply(request)).collect();
                Response::Txn {
                    succeeded,
                    responses,
                }
            }
            Request::LeaseGrant { id, ttl } => Response::LeaseGrant { id: *id, ttl: *ttl },
            Request::LeaseKeepAlive { .. } => Response::LeaseKeepAlive { ttl: 0 },
            Request::LeaseRevoke { .. } => Response::LeaseRevoke {},
            Request::Compact { revision } => {
                self.compacted = self.compacted.max(*revision);
                Response::Compact {}
            }
        }
    }

    fn get(&self, key: &str) -> Option<&KeyValue> {
        self.versions.get(key)?.last()?.1.as_ref()
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::ModRevision { key, revision } => {
                self.get(key).map_or(0, |kv| kv.mod_revision) == *revision
            }
            Compare::Version { key, version } => {
                self.get(key).map_or(0, |kv| kv.version) == *version
            }
            Compare::Value { key, value } => self.get(key).is_some_and(|kv| kv.value == *value),
        }
    }

    fn stage(&mut self, key: &str, after: Option<KeyValue>) {
        let revision = self.revision + 1;
        let prev = self.get(key).cloned();
        self.staged.push(match after.clone() {
            Some(kv) => KeyEvent::Put { kv, prev },
            None => KeyEvent::Delete {
                key: key.to_owned(),
                mod_revision: revision,
                prev,
            },
        });
        self.versions
            .entry(key.to_owned())
            .or_default()
            .push((revision, after));
    }

    fn commit(&mut self) -> Vec<KeyEvent> {
        self.revision += i64::from(!self.staged.is_empty());
        std::mem::take(&mut self.staged)
    }
}
