//! Clients that keep objects: what they must have met for a run to prove anything.

use crate::check::test_support::*;
use crate::check::{Expectations, OperationKind};
use crate::record::{Compare, Request, Response};

fn page(key: &str, revision: i64) -> Request {
    Request::Range {
        key: key.into(),
        range_end: Some("o0".into()),
        limit: 1,
        serializable: false,
        revision,
    }
}

fn answer(key: &str, more: bool) -> Response {
    Response::Range {
        kvs: vec![kv(key, key, 2)],
        count: 2,
        more,
    }
}

/// Writes an object if it is of revision 2.
fn write(object: &str, value: &str) -> Request {
    Request::Txn {
        compare: vec![Compare::ModRevision {
            key: object.into(),
            revision: 2,
        }],
        then: vec![put(object, value)],
        otherwise: vec![get(object)],
    }
}

fn answered(succeeded: bool) -> Response {
    Response::Txn {
        succeeded,
        responses: vec![match succeeded {
            true => Response::Put {},
            false => found(&[]),
        }],
    }
}

/// A list of two pages, the second from this key on and at this revision.
fn list(next: &str, revision: i64) -> Story {
    Story::new()
        .ok(1, (1, 2), page("o/", 0), (5, answer("o/1", true)))
        .ok(1, (3, 4), page(next, revision), (9, answer("o/2", false)))
}

#[track_caller]
fn lacks(story: Story, kind: OperationKind) {
    let wanted = Expectations {
        operations: [OperationKind::FurtherPage, OperationKind::OutdatedWrite].into(),
        ..small()
    };
    let verdict = story.verdict("assumptions", &wanted);
    inconclusive(&verdict, &format!("no {kind:?} succeeded"));
}

#[test]
fn a_run_in_which_no_write_of_an_object_met_another_proves_nothing() {
    let pages = || list("o/1\0", 5);
    lacks(pages(), OperationKind::OutdatedWrite);
    let won = pages().ok(1, (5, 6), write("o/1", "a"), (10, answered(true)));
    lacks(won, OperationKind::OutdatedWrite);
    // As other clients do, which list no pages.
    let other = pages().ok(2, (5, 6), write("o/1", "a"), (10, answered(false)));
    lacks(other, OperationKind::OutdatedWrite);
    let unknown = pages().unknown(1, (5, 6), write("o/1", "a"));
    lacks(unknown, OperationKind::OutdatedWrite);
    let wanted = Expectations {
        operations: [OperationKind::FurtherPage, OperationKind::OutdatedWrite].into(),
        ..small()
    };
    let met = pages().ok(1, (5, 6), write("o/1", "a"), (10, answered(false)));
    let verdict = met.verdict("assumptions", &wanted);
    assert!(verdict.passed(), "{verdict:?}");
}

#[test]
fn a_run_in_which_no_list_had_a_second_page_proves_nothing() {
    let refused = |story: Story| story.ok(1, (5, 6), write("o/1", "a"), (10, answered(false)));
    lacks(refused(Story::new()), OperationKind::FurtherPage);
    for (next, revision) in [("o/1\0", 0), ("o/1\0", 6), ("o/1", 5), ("o/2\0", 5)] {
        lacks(refused(list(next, revision)), OperationKind::FurtherPage);
    }
    let whole = Story::new()
        .ok(1, (1, 2), page("o/", 0), (5, answer("o/1", false)))
        .ok(1, (3, 4), page("o/1\0", 5), (9, answer("o/2", false)));
    lacks(refused(whole), OperationKind::FurtherPage);
}
