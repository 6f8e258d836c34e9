//! Numbers that no etcd gives, whatever it was asked and whatever was done to it: each record by itself.
//!
//! A store is at revision 1 when it is new, and every key in it was put at a later one, at which its version is 1 and
//! grows by one with each put behind it. What a header, a progress notification or a dump says is at least as new as
//! what it shows. A lease may have a negative number, where a client asked for that, but never 0.

use super::Case;
use super::log;
use super::proof;
use super::verdict::Findings;
use super::words;
use crate::index::Index;
use crate::record::{KeyEvent, KeyValue, OpId, Outcome, Record, Response, WatchEvent};

/// Judges the numbers of all records. The first one is enough.
pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let mut records = case.index.records.iter();
    let first = records.find_map(|record| Some((record, impossible(record)?)));
    if let Some((record, why)) = first {
        let (teller, ops) = teller(case.index, record);
        let at = case.index.seconds(record.time());
        findings.violation(
            format!("{teller} has {why}, which no etcd gives, at {at:.6} s"),
            ops,
        );
    }
}

/// Who gave a record, in words, and the operation that it answers.
fn teller(index: &Index<'_>, record: &Record) -> (String, Vec<OpId>) {
    let Record::Return(end) = record else {
        return (told_by(record), Vec::new());
    };
    let op = index.ops.iter().find(|op| op.id() == end.op);
    let teller = op.map_or_else(|| told_by(record), |op| words::op(index, op));
    (teller, vec![end.op])
}

/// Who gave a record, where nothing but the record is known.
pub(super) fn told_by(record: &Record) -> String {
    match record {
        Record::Return(end) => format!("the answer to op {}", end.op),
        record => proof::told_by(record),
    }
}

/// What is impossible in what etcd said in this record, in words. Requests, faults and Kubernetes are not etcd's.
pub(super) fn impossible(record: &Record) -> Option<String> {
    match record {
        Record::Return(end) => match &end.outcome {
            Outcome::Ok {
                revision, response, ..
            } => header(*revision).or_else(|| answer(response, *revision)),
            Outcome::Failed { .. } | Outcome::Unknown { .. } => None,
        },
        Record::Watch(watch) => told(&watch.event),
        Record::Member(sample) => header(sample.status.as_ref()?.revision),
        // Of another writer 0 may stand for the newest one.
        Record::Hash(sample) => negative("revision", sample.revision),
        Record::FinalState(state) => {
            header(state.revision).or_else(|| keys(&state.kvs, state.revision))
        }
        _ => None,
    }
}

fn negative(what: &str, number: i64) -> Option<String> {
    (number < 0).then(|| format!("{what} {number}"))
}

fn header(revision: i64) -> Option<String> {
    (revision < 1).then(|| format!("revision {revision}"))
}

fn answer(response: &Response, revision: i64) -> Option<String> {
    match response {
        Response::Range { kvs, count, .. } => {
            let shown = i64::try_from(kvs.len()).unwrap_or(i64::MAX);
            let few = || (*count < shown).then(|| format!("count {count} of {shown} keys"));
            keys(kvs, revision).or_else(few)
        }
        Response::Delete { deleted } => negative("a count of deleted keys of", *deleted),
        Response::Txn { responses, .. } => {
            let mut responses = responses.iter();
            responses.find_map(|response| answer(response, revision))
        }
        Response::LeaseGrant { id: 0, .. } => Some("a lease of number 0".to_owned()),
        Response::LeaseGrant { ttl, .. } => (*ttl < 1).then(|| format!("a lease for {ttl} s")),
        Response::LeaseKeepAlive { ttl } => negative("a time to live of", *ttl),
        Response::Put {} | Response::LeaseRevoke {} | Response::Compact {} => None,
    }
}

fn told(event: &WatchEvent) -> Option<String> {
    match event {
        WatchEvent::Events {
            revision, events, ..
        } => {
            let mut events = events.iter();
            header(*revision).or_else(|| events.find_map(|event| change(event, *revision)))
        }
        WatchEvent::Progress { revision } => header(*revision),
        WatchEvent::Cancelled {
            compact_revision, ..
        } => negative("compacted revision", *compact_revision),
        WatchEvent::Opened { .. } | WatchEvent::Broken { .. } => None,
    }
}

fn change(event: &KeyEvent, revision: i64) -> Option<String> {
    let made = log::revision(event);
    let own = match event {
        KeyEvent::Put { kv, .. } => key(kv, revision),
        KeyEvent::Delete { key, .. } => at_most(key, made, revision),
    };
    let before = || log::previous(event).and_then(|kv| key(kv, made.saturating_sub(1)));
    own.or_else(before)
}

fn keys(kvs: &[KeyValue], revision: i64) -> Option<String> {
    kvs.iter().find_map(|kv| key(kv, revision))
}

/// A key as it may be shown at a revision.
fn key(kv: &KeyValue, revision: i64) -> Option<String> {
    let KeyValue {
        key,
        create_revision,
        mod_revision,
        version,
        ..
    } = kv;
    let puts = mod_revision.saturating_sub(*create_revision);
    let created = puts == 0;
    // A revision puts a key once, so that there are no more puts than revisions.
    let fits = *create_revision >= 1
        && puts >= 0
        && (1..=puts.saturating_add(1)).contains(version)
        && created == (*version == 1);
    if !fits {
        return Some(format!(
            "{key} created at {create_revision}, modified at {mod_revision} in version {version}"
        ));
    }
    at_most(key, *mod_revision, revision)
}

fn at_most(key: &str, made: i64, revision: i64) -> Option<String> {
    (!(1..=revision).contains(&made))
        .then(|| format!("{key} of revision {made}, while it is at revision {revision}"))
}
