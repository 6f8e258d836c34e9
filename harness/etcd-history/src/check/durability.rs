//! Nothing acknowledged is lost: the last acknowledged write of every key is there at the end, or something that may
//! have come after it is, in every member's own dump and in the final reads.
//!
//! Works without the replay: from acknowledgements alone, so that a fault of the replay cannot hide a loss.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::keyspace::Keys;

use super::placement;
use super::store::Item;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::index::Op;
use crate::record::{KeyEvent, KeyValue, Nanos, Request, Response};

/// Name of the check.
const CHECK: &str = "durability";

/// The last acknowledged write of a key.
#[derive(Clone, Copy)]
struct Last<'a> {
    revision: i64,
    /// Value; absent for a delete.
    value: Option<&'a str>,
    lease: i64,
    op: Op<'a>,
}

/// A look at the keys after the writes.
struct Look<'a> {
    who: String,
    t: Nanos,
    revision: i64,
    keys: Option<Keys<'a>>,
    kvs: &'a [KeyValue],
}

/// All that was acknowledged up to a revision, and what else may have happened.
#[derive(Default)]
struct Ledger<'a> {
    last: BTreeMap<&'a str, Last<'a>>,
    range_deletes: BTreeMap<Keys<'a>, (i64, Option<Op<'a>>)>,
    unknown_deletes: Vec<Keys<'a>>,
    unknown_values: BTreeSet<&'a str>,
    /// Deletes that a watcher saw: last revision per key.
    seen_deletes: BTreeMap<&'a str, i64>,
    acked_values: usize,
}

/// Judges durability.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let ledger = Ledger::keep(case, i64::MAX);
    findings.count("acknowledged_writes", ledger.acked_values);
    findings.count("keys", ledger.last.len());
    let dumps: BTreeSet<_> = case
        .index
        .finals
        .iter()
        .map(|state| state.pod.as_str())
        .collect();
    findings.count("members_dumped", dumps.len());
    let members = case.expectations.members as usize;
    let wanted = if case.expectations.ends_healthy {
        members
    } else {
        1
    };
    if dumps.len() < wanted {
        findings.doubt(format!(
            "{} of {wanted} members were dumped at the end",
            dumps.len()
        ));
    }
    if ledger.acked_values == 0 {
        findings.doubt("no write was acknowledged".to_owned());
    }
    let looks = looks(case);
    let revisions: BTreeSet<i64> = looks.iter().map(|look| look.revision).collect();
    for revision in revisions {
        // A look shows everything up to its revision, and nothing of what came after.
        let ledger = Ledger::keep(case, revision);
        for look in looks.iter().filter(|look| look.revision == revision) {
            ledger.compare(case, look, &mut findings);
            ledger.written(case, look, &mut findings);
        }
    }
    lag(&ledger, &looks, dumps.len() >= members, &mut findings);
    findings.verdict(CHECK)
}

fn looks<'a>(case: &Case<'a>) -> Vec<Look<'a>> {
    let dumps = case.index.finals.iter().map(|state| Look {
        who: format!("member {}", state.pod),
        t: state.t,
        revision: state.revision,
        keys: None,
        kvs: &state.kvs,
    });
    let last_phase = case.index.phase("final").unwrap_or(Nanos::MAX);
    let reads = case
        .index
        .ops
        .iter()
        .filter(|op| op.call.t >= last_phase)
        .filter_map(|op| {
            let acked = op.acked()?;
            match (&op.call.request, acked.response) {
                (
                    Request::Range {
                        key,
                        range_end,
                        limit: 0,
                        serializable: false,
                        revision: 0,
                    },
                    Response::Range { kvs, .. },
                ) => Some(Look {
                    who: format!("final read {}", op.id()),
                    t: op.call.t,
                    revision: acked.revision,
                    keys: Some(Keys::new(key, range_end.as_deref())),
                    kvs,
                }),
                _ => None,
            }
        });
    dumps.chain(reads).collect()
}

/// A member that is behind is only late, unless no member has what was acknowledged.
fn lag(ledger: &Ledger<'_>, looks: &[Look<'_>], all: bool, findings: &mut Findings) {
    let Some(newest) = ledger.last.values().max_by_key(|last| last.revision) else {
        return;
    };
    let behind: Vec<_> = looks
        .iter()
        .filter(|l| l.revision < newest.revision && newest.op.certain_by() < l.t)
        .collect();
    if looks.is_empty() || behind.is_empty() {
        return;
    }
    let asked = |look: &Look<'_>| look.keys.is_some();
    if behind.len() == looks.len() && (all || looks.iter().any(asked)) {
        findings.violation(
            format!(
                "every look at the end is below revision {}, which was acknowledged (op {})",
                newest.revision,
                newest.op.id()
            ),
            vec![newest.op.id()],
        );
    } else {
        let who: Vec<_> = behind
            .iter()
            .map(|l| format!("{} at {}", l.who, l.revision))
            .collect();
        findings.doubt(format!(
            "not yet at revision {}: {}",
            newest.revision,
            who.join(", ")
        ));
    }
}

impl<'a> Ledger<'a> {
    fn keep(case: &Case<'a>, end: i64) -> Self {
        let mut ledger = Self::default();
        for op in &case.index.ops {
            match op.acked() {
                Some(acked) if acked.revision > end => {}
                Some(acked) => {
                    for (request, response) in op.call.request.answered(acked.response) {
                        ledger.acknowledged(op, request, (acked.revision, response));
                    }
                }
                None if op.unknown() => ledger.doubtful(&op.call.request),
                None => {}
            }
        }
        let entries = case.log.entries();
        for (revision, entry) in entries.take_while(|(revision, _)| *revision <= end) {
            for event in entry.events {
                if let KeyEvent::Delete { key, .. } = event {
                    ledger.seen_deletes.insert(key, revision);
                }
            }
        }
        ledger
    }

    fn acknowledged(
        &mut self,
        op: &Op<'a>,
        request: &'a Request,
        (revision, response): (i64, &'a Response),
    ) {
        match (request, response) {
            (Request::Put { key, value, lease }, Response::Put {}) => {
                self.acked_values += 1;
                self.remember(
                    key,
                    Last {
                        revision,
                        value: Some(value),
                        lease: *lease,
                        op: *op,
                    },
                );
            }
            (Request::Delete { key, range_end }, Response::Delete { deleted: 1.. }) => {
                let keys = Keys::new(key, range_end.as_deref());
                if keys.is_range() {
                    let last = self.range_deletes.entry(keys).or_default();
                    if revision > last.0 {
                        *last = (revision, Some(*op));
                    }
                } else {
                    self.remember(
                        key,
                        Last {
                            revision,
                            value: None,
                            lease: 0,
                            op: *op,
                        },
                    );
                }
            }
            _ => {}
        }
    }

    fn remember(&mut self, key: &'a str, write: Last<'a>) {
        let last = self.last.entry(key).or_insert(write);
        if write.revision >= last.revision {
            *last = write;
        }
    }

    fn doubtful(&mut self, request: &'a Request) {
        self.unknown_values.extend(placement::values_of(request));
        for request in request.parts() {
            match request {
                Request::Delete { key, range_end } => {
                    self.unknown_deletes
                        .push(Keys::new(key, range_end.as_deref()));
                }
                // It may have moved the key to a lease, which then took it along.
                Request::Put { key, lease, .. } if *lease != 0 => {
                    self.unknown_deletes.push(Keys::new(key, None))
                }
                _ => {}
            }
        }
    }

    fn compare(&self, case: &Case<'a>, look: &Look<'a>, findings: &mut Findings) {
        let there: BTreeMap<&str, &KeyValue> =
            look.kvs.iter().map(|kv| (kv.key.as_str(), kv)).collect();
        for (key, last) in &self.last {
            if look.keys.is_some_and(|keys| !keys.hold(key)) {
                continue;
            }
            let last = self.range_deleted(key, *last);
            let wrong = match there.get(key) {
                Some(kv) => self.wrong(&last, kv),
                None if last.value.is_none() || self.may_be_deleted(key, &last) => None,
                None => Some("it is not there and nothing deleted it".to_owned()),
            };
            if let Some(why) = wrong {
                findings.violation(
                    format!(
                        "{} at revision {} has lost {key}: last acknowledged was {}, but {why}",
                        look.who,
                        look.revision,
                        words::op(case.index, &last.op)
                    ),
                    vec![last.op.id()],
                );
            }
        }
    }

    fn range_deleted(&self, key: &str, last: Last<'a>) -> Last<'a> {
        let delete = self
            .range_deletes
            .iter()
            .filter(|(keys, _)| keys.hold(key))
            .filter_map(|(_, (revision, op))| Some((*revision, (*op)?)))
            .filter(|(revision, _)| *revision > last.revision)
            .max_by_key(|(revision, _)| *revision);
        delete.map_or(last, |(revision, op)| Last {
            revision,
            value: None,
            lease: 0,
            op,
        })
    }

    /// What is wrong with a key that is there.
    fn wrong(&self, last: &Last<'_>, kv: &KeyValue) -> Option<String> {
        let has = format!(
            "it is {} of revision {}",
            words::shown(&kv.value),
            kv.mod_revision
        );
        if kv.mod_revision < last.revision {
            return Some(has);
        }
        if kv.mod_revision == last.revision {
            return (last.value != Some(kv.value.as_str())).then_some(has);
        }
        // Later than everything acknowledged: only a write of unknown outcome.
        (!self.unknown_values.contains(kv.value.as_str()))
            .then(|| format!("{has}, which no client may have written"))
    }

    /// What is there was written by a client, as the replay has it.
    fn written(&self, case: &Case<'a>, look: &Look<'a>, findings: &mut Findings) {
        let before = case.replayed.made.base();
        let store = &case.replayed.reached.store;
        let whole = case.replayed.stop.is_none() && store.revision == look.revision;
        for kv in look.kvs {
            let key = kv.key.as_str();
            let of_run = kv.mod_revision > before;
            let known = self.last.contains_key(key) || !of_run;
            let why = match store.get(key) {
                _ if kv.mod_revision > look.revision => "which is after the look",
                Some(item) if whole && *item != Item::of(kv) => "which is not how it was left",
                None if whole && of_run => "which is not there at that revision",
                _ if !known && !self.unknown_values.contains(kv.value.as_str()) => {
                    "which no client may have written"
                }
                _ => continue,
            };
            findings.violation(
                format!(
                    "{} at revision {} has {key} = {} of revision {}, {why}",
                    look.who,
                    look.revision,
                    words::shown(&kv.value),
                    kv.mod_revision,
                ),
                Vec::new(),
            );
        }
    }

    fn may_be_deleted(&self, key: &str, last: &Last<'_>) -> bool {
        last.lease != 0
            || self.unknown_deletes.iter().any(|keys| keys.hold(key))
            || self
                .seen_deletes
                .get(key)
                .is_some_and(|revision| *revision > last.revision)
            || self
                .range_deletes
                .iter()
                .any(|(keys, (revision, _))| keys.hold(key) && *revision > last.revision)
    }
}
