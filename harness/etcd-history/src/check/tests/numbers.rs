//! Numbers that no etcd gives, in answers, in what watchers and members say, and to the judge of a stream.

use std::convert::Infallible;

use crate::check::test_support::*;
use crate::check::{self, Finding};
use crate::record::{KeyEvent, KeyValue, Record, Request, Response, WatchEvent};

#[track_caller]
fn impossible(story: Story, told: &str) {
    let history = story.history();
    let records = history.records.iter().cloned();
    let Ok(streamed) = check::stream(records.map(Ok::<_, Infallible>));
    for verdict in [one(check::all(&history, &small()), "agreement"), streamed] {
        violates(&verdict, told);
        violates(&verdict, "which no etcd gives");
    }
}

#[track_caller]
fn possible(story: Story) {
    let history = story.history();
    let records = history.records.iter().cloned();
    let Ok(streamed) = check::stream(records.map(Ok::<_, Infallible>));
    let broken = matches!(streamed.finding, Finding::Violation { .. });
    assert!(!broken, "{:?}", streamed.finding);
    let agreement = one(check::all(&history, &small()), "agreement");
    assert_eq!(agreement.finding, Finding::Pass);
}

fn keep(ttl: i64) -> (Request, Response) {
    (
        Request::LeaseKeepAlive { id: 7 },
        Response::LeaseKeepAlive { ttl },
    )
}

#[test]
fn a_store_is_at_a_revision() {
    let kept = |revision| {
        let (request, response) = keep(9);
        Story::new().ok(2, (5, 6), request, (revision, response))
    };
    possible(kept(1));
    impossible(kept(0), "op 1");
    impossible(kept(-4), "has revision -4");
    let read = |revision| Story::new().ok(2, (5, 6), local_get("a"), (revision, found(&[])));
    possible(read(1));
    impossible(read(0), "has revision 0");
    let status = |revision| {
        Story::new().sample_with(1, ("etcd-0", "a"), |status| status.revision = revision)
    };
    possible(status(1));
    impossible(status(0), "the status of etcd-0 has revision 0");
    let dump = |revision| Story::new().dump(1, "etcd-0", (revision, &[]));
    possible(dump(1));
    impossible(dump(-1), "the dump of etcd-0 has revision -1");
    let progress = |revision| Story::new().opened(0, 0).progress(0, 5, revision);
    possible(progress(1));
    let told = "a progress notification to watcher 0 on etcd-0 has revision 0";
    impossible(progress(0), told);
    let cancelled = |compact_revision| {
        let reason = String::new();
        let event = WatchEvent::Cancelled {
            compact_revision,
            reason,
        };
        Story::new().opened(0, 1).watch(0, 5, event)
    };
    possible(cancelled(0));
    impossible(cancelled(-1), "has compacted revision -1");
}

#[test]
fn a_store_that_never_was_compacted_says_so_beside_its_hash() {
    let mut history = Story::new().hash("etcd-0", 9, 1).history();
    for record in &mut history.records {
        if let Record::Hash(hash) = record {
            hash.compact_revision = -1;
        }
    }
    for check in ["agreement", "reads"] {
        let verdict = one(check::all(&history, &small()), check);
        assert_eq!(verdict.finding, Finding::Pass, "{check}");
    }
}

#[test]
fn a_key_was_created_before_it_was_changed_and_each_put_counts() {
    let shown = |kv: KeyValue| {
        let read = (5, found(&[kv]));
        Story::new().ok(2, (5, 6), local_get("a"), read)
    };
    let key = |numbers| version("a", "1", numbers);
    for right in [(2, 2, 1), (2, 5, 2), (2, 5, 4), (4, 5, 2)] {
        possible(shown(key(right)));
    }
    for wrong in [
        (3, 2, 1),
        (0, 2, 2),
        (-1, -1, 1),
        (2, 3, 0),
        (2, 3, -1),
        (2, 3, 1),
        (2, 2, 2),
        (2, 4, 4),
        (i64::MIN, i64::MAX, i64::MAX),
    ] {
        let (created, modified, version) = wrong;
        let told = format!("a created at {created}, modified at {modified} in version {version}");
        impossible(shown(key(wrong)), &told);
        let dump = Story::new().dump(1, "etcd-0", (5, &[key(wrong)]));
        impossible(dump, &told);
    }
    let told = "a of revision 6, while it is at revision 5";
    impossible(shown(key((2, 6, 2))), told);
    // A lease may have a negative number.
    possible(shown(KeyValue {
        lease: -7,
        ..key((2, 2, 1))
    }));
    let inner = Request::Txn {
        compare: Vec::new(),
        then: vec![local_get("a")],
        otherwise: Vec::new(),
    };
    let answer = |kv| Response::Txn {
        succeeded: true,
        responses: vec![found(&[kv])],
    };
    let in_txn = |kv| Story::new().ok(2, (5, 6), inner.clone(), (5, answer(kv)));
    possible(in_txn(key((2, 5, 2))));
    impossible(in_txn(key((2, 6, 2))), told);
}

#[test]
fn what_is_counted_is_no_less_than_what_is_shown_and_never_less_than_nothing() {
    let counted = |count| {
        let (kvs, more) = (vec![kv("a", "1", 2)], false);
        let response = Response::Range { kvs, count, more };
        Story::new().ok(2, (5, 6), local_get("a"), (2, response))
    };
    possible(counted(1));
    impossible(counted(0), "count 0 of 1 keys");
    impossible(counted(-1), "count -1 of 1 keys");
    let deleted = |deleted| {
        let response = Response::Delete { deleted };
        Story::new().ok(2, (5, 6), delete("a"), (1, response))
    };
    possible(deleted(0));
    impossible(deleted(-1), "a count of deleted keys of -1");
    let kept = |ttl| {
        let (request, response) = keep(ttl);
        Story::new().ok(2, (5, 6), request, (1, response))
    };
    possible(kept(0));
    impossible(kept(-1), "a time to live of -1");
    let granted = |id, ttl| {
        let request = Request::LeaseGrant { id, ttl: 60 };
        let response = Response::LeaseGrant { id, ttl };
        Story::new().ok(2, (5, 6), request, (1, response))
    };
    possible(granted(-7, 60));
    impossible(granted(7, 0), "a lease for 0 s");
    impossible(granted(7, -60), "a lease for -60 s");
    impossible(granted(0, 60), "a lease of number 0");
}

#[test]
fn an_event_is_not_newer_than_its_response_nor_older_than_what_was_before() {
    let told = |revision, event| {
        let story = Story::new().opened(0, 1);
        story.events(0, 5, revision, &[event])
    };
    let put = |mod_revision, prev: Option<KeyValue>| KeyEvent::Put {
        kv: version("a", "2", (2, mod_revision, 2)),
        prev,
    };
    let gone = |mod_revision, prev| KeyEvent::Delete {
        key: "a".into(),
        mod_revision,
        prev,
    };
    let before = |revision| {
        Some(version(
            "a",
            "1",
            (2, revision, 1 + i64::from(revision > 2)),
        ))
    };
    for event in [put(3, None), put(3, before(2)), gone(3, before(2))] {
        let history = told(3, event).history();
        let impossible = history.records.iter().find_map(check::numbers::impossible);
        assert_eq!(impossible, None);
    }
    let newer = "a of revision 3, while it is at revision 2";
    impossible(told(2, put(3, None)), newer);
    impossible(told(2, gone(3, None)), newer);
    let same = "a of revision 3, while it is at revision 2";
    impossible(told(3, put(3, before(3))), same);
    impossible(told(3, gone(3, before(3))), same);
    let none = "a of revision 0, while it is at revision 3";
    impossible(told(3, gone(0, None)), none);
}
