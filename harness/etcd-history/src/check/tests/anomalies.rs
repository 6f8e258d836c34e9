//! Anomalies that have a name, each in a history of a few lines, beside a right history that looks like it.

use std::convert::Infallible;

use crate::check::test_support::*;
use crate::check::{self, Severity};
use crate::record::{KeyValue, Request, Response};

trait Right {
    fn holds(self);
}

impl Right for Story {
    /// It is linearizable, and no violation is seen while it is recorded either.
    #[track_caller]
    fn holds(self) {
        let history = self.history();
        let verdict = check::linearizable(&history);
        assert!(verdict.passed(), "{verdict:?}");
        let Ok(live) = check::stream(history.records.into_iter().map(Ok::<_, Infallible>));
        assert_ne!(live.severity(), Severity::Violation, "{live:?}");
    }
}

fn txn(then: Vec<Request>) -> Request {
    Request::Txn {
        compare: Vec::new(),
        then,
        otherwise: Vec::new(),
    }
}

/// Puts two keys.
fn both() -> Request {
    txn(vec![put("a", "1"), put("b", "2")])
}

fn both_done() -> Response {
    Response::Txn {
        succeeded: true,
        responses: vec![Response::Put {}, Response::Put {}],
    }
}

fn two_keys() -> Request {
    Request::Range {
        key: "a".into(),
        range_end: Some("c".into()),
        limit: 0,
        serializable: false,
        revision: 0,
    }
}

#[test]
fn a_transaction_is_read_whole_or_not_at_all() {
    let (a, b) = (kv("a", "1", 2), kv("b", "2", 2));
    let under_way = |kvs: &[KeyValue], revision| {
        let story = Story::new().ok(1, (0, 9), both(), (2, both_done()));
        story.ok(2, (2, 3), two_keys(), (revision, found(kvs)))
    };
    under_way(&[], 1).holds();
    under_way(&[a.clone(), b.clone()], 2).holds();
    under_way(std::slice::from_ref(&a), 2).violates("linearizable", "the store has b = 2");
    under_way(&[b], 2).violates("linearizable", "the store has a = 1");
    // Its outcome is not known, and one of its keys was read.
    let lost = || {
        let story = Story::new().unknown(1, (0, 1), both());
        story.ok(2, (2, 3), get("a"), (2, found(std::slice::from_ref(&a))))
    };
    lost().holds();
    lost()
        .ok(2, (4, 5), get("b"), (2, found(&[])))
        .violates("linearizable", "the store has b = 2");
}

#[test]
fn a_transaction_is_watched_whole() {
    let story = || {
        let story = Story::new().opened(0, 1);
        story.ok(1, (0, 1), both(), (2, both_done()))
    };
    let (a, b) = (seen(kv("a", "1", 2)), seen(kv("b", "2", 2)));
    story().events(0, 9, 2, &[a.clone(), b]).passes("watch");
    story()
        .events(0, 9, 2, &[a])
        .violates("linearizable", "changed 2 keys that they were asked for");
}

/// Puts a value in the place of that of revision 2, or reads what is there.
fn swap(value: &str) -> Request {
    let compare = crate::record::Compare::ModRevision {
        key: "a".into(),
        revision: 2,
    };
    Request::Txn {
        compare: vec![compare],
        then: vec![put("a", value)],
        otherwise: vec![get("a")],
    }
}

fn swapped() -> Response {
    Response::Txn {
        succeeded: true,
        responses: vec![Response::Put {}],
    }
}

/// What another one has put there, at revision 3.
fn missed(value: &str) -> Response {
    Response::Txn {
        succeeded: false,
        responses: vec![found(&[version("a", value, (2, 3, 2))])],
    }
}

#[test]
fn no_update_is_lost_to_another_one() {
    let story = || {
        let story = Story::new().put(1, (0, 1), ("a", "1"), 2);
        story.ok(1, (2, 9), swap("2"), (3, swapped()))
    };
    let other = |answer| story().ok(2, (3, 8), swap("3"), answer);
    other((3, missed("2"))).holds();
    other((4, swapped())).violates("linearizable", "the compares do not hold there");
    other((2, missed("2"))).violates("linearizable", "the compares hold there");
}

#[test]
fn who_tries_again_may_find_that_the_first_attempt_has_happened() {
    let story = || {
        let story = Story::new().put(1, (0, 1), ("a", "1"), 2);
        story.unknown(1, (2, 3), swap("2"))
    };
    story().ok(1, (4, 5), swap("3"), (3, missed("2"))).holds();
    story().ok(1, (4, 5), swap("3"), (3, swapped())).holds();
    // It was done, and so was the first attempt, although one of the two forbids the other.
    story()
        .ok(
            2,
            (4, 5),
            get("a"),
            (3, found(&[version("a", "2", (2, 3, 2))])),
        )
        .ok(1, (6, 7), swap("3"), (4, swapped()))
        .violates("linearizable", "the compares do not hold there");
}

#[test]
fn a_write_of_unknown_outcome_may_come_behind_its_retry_and_does_not_go_again() {
    let retried = || {
        let story = Story::new().unknown(1, (0, 3), put("a", "1"));
        story.put(1, (4, 5), ("a", "2"), 2)
    };
    let first = || found(&[version("a", "1", (2, 3, 2))]);
    let second = || found(&[kv("a", "2", 2)]);
    retried()
        .ok(2, (6, 7), get("a"), (2, second()))
        .ok(2, (8, 9), get("a"), (3, first()))
        .holds();
    retried()
        .ok(2, (6, 7), get("a"), (3, first()))
        .ok(2, (8, 9), get("a"), (2, second()))
        .violates("linearizable", "had happened by");
    let read = |kvs: &[KeyValue]| {
        let story = Story::new().unknown(1, (0, 3), put("a", "1"));
        let story = story.ok(2, (4, 5), get("a"), (2, found(&[kv("a", "1", 2)])));
        story.ok(2, (6, 7), get("a"), (2, found(kvs)))
    };
    read(&[kv("a", "1", 2)]).holds();
    read(&[]).violates("linearizable", "the store has a = 1");
}

#[test]
fn a_deleted_key_is_gone_and_begins_again() {
    let deleted = || {
        let story = Story::new().put(1, (0, 1), ("a", "1"), 2);
        story.ok(1, (2, 3), delete("a"), (3, Response::Delete { deleted: 1 }))
    };
    let read = |kvs: &[KeyValue]| deleted().ok(2, (4, 5), get("a"), (3, found(kvs)));
    read(&[]).holds();
    read(&[kv("a", "1", 2)]).violates("linearizable", "the store has no such key there");
    let again = |kv: KeyValue| {
        let story = deleted().put(1, (4, 5), ("a", "3"), 4);
        story.ok(2, (6, 7), get("a"), (4, found(&[kv])))
    };
    again(kv("a", "3", 4)).holds();
    again(version("a", "3", (2, 4, 2))).violates("linearizable", "the store has a = 3");
}

#[test]
fn a_compaction_takes_nothing_that_is_there() {
    let read = |kvs: &[KeyValue]| {
        let story = Story::new().put(1, (0, 1), ("a", "1"), 2);
        let story = story.put(1, (2, 3), ("a", "2"), 3);
        let compact = Request::Compact { revision: 3 };
        let story = story.ok(1, (4, 5), compact, (3, Response::Compact {}));
        story.ok(2, (6, 7), get("a"), (3, found(kvs)))
    };
    let newest = [version("a", "2", (2, 3, 2))];
    read(&newest).holds();
    read(&newest).passes("reads");
    read(&[]).violates("linearizable", "the store has a = 2");
}

#[test]
fn a_key_does_not_outlive_the_revoke_of_its_lease() {
    let held = KeyValue {
        lease: 7,
        ..kv("a", "1", 2)
    };
    let revoked = |revision, kvs: &[KeyValue]| {
        let grant = Request::LeaseGrant { id: 7, ttl: 60 };
        let granted = Response::LeaseGrant { id: 7, ttl: 60 };
        let revoke = Request::LeaseRevoke { id: 7 };
        Story::new()
            .ok(1, (0, 1), grant, (1, granted))
            .ok(1, (2, 3), leased("a", "1", 7), (2, Response::Put {}))
            .ok(1, (4, 5), revoke, (revision, Response::LeaseRevoke {}))
            .ok(2, (6, 7), get("a"), (revision, found(kvs)))
    };
    revoked(3, &[]).holds();
    revoked(3, std::slice::from_ref(&held))
        .violates("linearizable", "the store has no such key there");
    revoked(2, &[held]).violates("linearizable", "its revision is not a new one");
}

#[test]
fn a_write_that_is_tried_again_with_its_value_is_no_violation() {
    let shown = |story: Story| {
        story.events(0, 9, 2, &[seen(kv("a", "1", 2))]).ok(
            2,
            (10, 11),
            get("a"),
            (2, found(&[kv("a", "1", 2)])),
        )
    };
    let story = || Story::new().opened(0, 1);
    // What failed wrote nothing, whichever was called first.
    let again = story()
        .failed(1, (1, 2), put("a", "1"))
        .unknown(1, (3, 4), put("a", "1"));
    shown(again).holds();
    let refused = story()
        .unknown(1, (1, 2), put("a", "1"))
        .failed(1, (3, 4), put("a", "1"));
    shown(refused).holds();
    // Both happened, and no one saw the first.
    Story::new()
        .unknown(1, (1, 2), put("a", "1"))
        .put(1, (3, 4), ("a", "1"), 3)
        .ok(
            2,
            (5, 6),
            get("a"),
            (3, found(&[version("a", "1", (2, 3, 2))])),
        )
        .holds();
    let both = story()
        .unknown(1, (1, 2), put("a", "1"))
        .unknown(1, (3, 4), put("a", "1"));
    let new = version("a", "1", (2, 3, 2));
    shown(both)
        .events(0, 12, 3, &[seen(new.clone())])
        .ok(2, (13, 14), get("a"), (3, found(&[new])))
        .holds();
}

#[test]
fn a_read_of_an_older_revision_that_gets_another_answer_is_seen() {
    let old = Request::Range {
        key: "a".into(),
        range_end: None,
        limit: 0,
        serializable: true,
        revision: 2,
    };
    let story = |response| {
        Story::new()
            .put(1, (1, 2), ("a", "1"), 2)
            .put(1, (3, 4), ("a", "2"), 3)
            .ok(2, (5, 6), old.clone(), (3, response))
    };
    story(found(&[kv("a", "1", 2)])).passes("reads");
    let told = "the answer is of another kind than get a at revision 2";
    story(Response::Put {}).violates("reads", told);
}

#[test]
fn what_was_read_before_all_was_read_may_be_older() {
    // A lease of before the run ends between the two reads.
    let held = KeyValue {
        lease: 7,
        ..kv("a", "0", 5)
    };
    let story = |read: i64| {
        Story::new()
            .ok(1, (1, 2), two_keys(), (10, found(&[])))
            .ok(
                2,
                (read, read + 1),
                get("a"),
                (9, found(std::slice::from_ref(&held))),
            )
            .put(1, (50, 51), ("b", "1"), 11)
    };
    story(0).holds();
    story(20).violates("linearizable", "revision 10 had happened by 0.002000 s");
}
