//! Locks with fencing: holders one after the other, and all ways in which two of them write.

use crate::check::test_support::*;
use crate::check::{self, Expectations, Finding};
use crate::record::{Compare, Request, Response};

fn take(lock: &str, lease: i64) -> Request {
    Request::Txn {
        compare: vec![Compare::Version {
            key: lock.into(),
            version: 0,
        }],
        then: vec![leased(lock, &format!("h{lease}"), lease)],
        otherwise: vec![get(lock)],
    }
}

fn write((lock, token): (&str, i64), value: &str) -> Request {
    Request::Txn {
        compare: vec![Compare::ModRevision {
            key: lock.into(),
            revision: token,
        }],
        then: vec![put("guarded", value)],
        otherwise: vec![get(lock)],
    }
}

fn done() -> Response {
    Response::Txn {
        succeeded: true,
        responses: vec![Response::Put {}],
    }
}

fn refused() -> Response {
    Response::Txn {
        succeeded: false,
        responses: vec![found(&[])],
    }
}

/// The first holder takes the lock at revision 2 and writes at 3; its lease ends at 4; another one takes it at 5.
fn two_holders() -> Story {
    Story::new()
        .ok(1, (1, 2), take("lock", 7), (2, done()))
        .ok(1, (3, 4), write(("lock", 2), "a"), (3, done()))
        .ok(2, (2_000, 2_001), take("lock", 8), (5, done()))
}

#[test]
fn holders_one_after_the_other_write_and_the_late_one_is_refused() {
    two_holders()
        .ok(1, (2_002, 2_003), write(("lock", 2), "b"), (5, refused()))
        .ok(2, (2_004, 2_005), write(("lock", 5), "c"), (6, done()))
        .ok(1, (2_006, 2_007), write(("lock", 2), "d"), (6, refused()))
        .passes("locks");
}

#[test]
fn a_write_by_a_lock_that_another_has_taken_is_seen() {
    two_holders()
        .ok(1, (2_002, 2_003), write(("lock", 2), "b"), (6, done()))
        .violates("locks", "which another had taken at revision 5");
}

#[test]
fn two_holders_that_both_write_are_seen_whatever_took_their_locks() {
    // As in an election: each candidate has a key of its own, and nothing tells when it came.
    Story::new()
        .ok(1, (1, 2), write(("e/1", 4), "a"), (10, done()))
        .ok(2, (3, 4), write(("e/2", 7), "b"), (11, done()))
        .ok(1, (5, 6), write(("e/1", 4), "c"), (12, done()))
        .violates("locks", "after a holder by that of revision 7 had written");
    // Answers come in any order: revisions count.
    Story::new()
        .ok(2, (3, 4), write(("e/2", 7), "b"), (11, done()))
        .ok(1, (1, 9), write(("e/1", 4), "a"), (10, done()))
        .passes("locks");
}

#[test]
fn a_lock_that_was_gone_does_not_come_back() {
    Story::new()
        .ok(1, (1, 2), write(("lock", 2), "a"), (3, done()))
        .ok(1, (3, 4), write(("lock", 2), "b"), (4, refused()))
        .ok(1, (5, 6), write(("lock", 2), "c"), (5, done()))
        .violates("locks", "which was gone");
    // Written before it was refused, and answered later.
    Story::new()
        .ok(1, (3, 4), write(("lock", 2), "b"), (4, refused()))
        .ok(3, (1, 6), write(("lock", 2), "c"), (4, done()))
        .passes("locks");
}

#[test]
fn a_lock_of_the_future_guards_nothing() {
    Story::new()
        .ok(1, (1, 2), write(("lock", 3), "a"), (3, done()))
        .violates("locks", "not there yet");
}

#[test]
fn holders_that_never_wrote_prove_nothing() {
    Story::new()
        .ok(1, (1, 2), take("lock", 7), (2, done()))
        .ok(1, (3, 4), write(("lock", 2), "b"), (3, refused()))
        .proves_nothing("locks", "no holder");
}

#[test]
fn a_lock_that_one_client_holds_alone_proves_nothing_where_it_must_be_contested() {
    let contested = |least| Expectations {
        contested_locks: least,
        ..small()
    };
    let alone = || {
        Story::new()
            .ok(1, (1, 2), write(("lock", 2), "a"), (3, done()))
            .ok(1, (3, 4), write(("lock", 5), "b"), (6, done()))
    };
    let words = "0 of 1 keys were written by two holders";
    inconclusive(&alone().verdict("locks", &contested(1)), words);
    alone().passes("locks");
    let both = || alone().ok(2, (5, 6), write(("lock", 7), "c"), (8, done()));
    let verdict = both().verdict("locks", &contested(1));
    assert_eq!(verdict.finding, Finding::Pass, "{verdict:?}");
    inconclusive(&both().verdict("locks", &contested(2)), "1 of 2 keys");
    let nothing = Story::new().put(1, (1, 2), ("a", "1"), 2);
    inconclusive(&nothing.verdict("locks", &contested(1)), "no holder");
}

#[test]
fn a_transaction_that_compares_a_key_without_a_lease_is_no_write_under_a_lock() {
    let written = || {
        Story::new()
            .put(1, (1, 2), ("a", "1"), 2)
            .put(1, (3, 4), ("c", "1"), 3)
    };
    let stories = [
        written()
            .ok(1, (5, 6), write(("c", 3), "x"), (4, done()))
            .ok(1, (7, 8), write(("a", 2), "y"), (5, done())),
        written().ok(1, (5, 6), write(("c", 2), "x"), (3, refused())),
    ];
    for story in stories {
        let verdicts = check::all(&story.history(), &small());
        assert!(verdicts.iter().all(|verdict| verdict.check != "locks"));
    }
}

#[test]
fn a_write_that_is_refused_before_its_lock_is_there_says_nothing_of_it() {
    let story = |refused_at| {
        Story::new()
            .ok(1, (1, 2), write(("lock", 5), "a"), (refused_at, refused()))
            .ok(1, (3, 4), write(("lock", 5), "b"), (7, done()))
    };
    story(3).passes("locks");
    story(6).violates("locks", "which was gone");
}
