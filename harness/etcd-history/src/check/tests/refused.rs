//! Requests that etcd always refuses: acknowledged, they are a violation for the judge of the whole and for that of a
//! stream.

use crate::check::Finding;
use crate::check::test_support::*;
use crate::record::{Compare, Request, Response};

#[track_caller]
fn accepted(request: Request, answer: (i64, Response)) {
    for verdict in judged(Story::new().ok(1, (1, 2), request, answer)) {
        assert_eq!(verdict.finding, Finding::Pass);
    }
}

/// Only the acknowledgement is wrong: without one nothing is.
#[track_caller]
fn refused(request: Request, answer: (i64, Response), told: &str) {
    let told = format!("{told}, which etcd always refuses");
    for verdict in judged(Story::new().ok(1, (1, 2), request.clone(), answer)) {
        violates(&verdict, "op 1 (");
        violates(&verdict, &told);
    }
    let failed = Story::new().failed(1, (1, 2), request.clone());
    let unknown = Story::new().unknown(1, (1, 2), request);
    for story in [failed, unknown] {
        for verdict in judged(story.put(2, (3, 4), ("z", "9"), 2)) {
            assert_eq!(verdict.finding, Finding::Pass);
        }
    }
}

fn txn(then: Vec<Request>, otherwise: Vec<Request>) -> Request {
    Request::Txn {
        compare: Vec::new(),
        then,
        otherwise,
    }
}

fn done(responses: Vec<Response>) -> Response {
    Response::Txn {
        succeeded: true,
        responses,
    }
}

fn range(key: &str, end: &str) -> Request {
    Request::Range {
        key: key.into(),
        range_end: Some(end.into()),
        limit: 0,
        serializable: false,
        revision: 0,
    }
}

fn delete_range(key: &str, end: &str) -> Request {
    Request::Delete {
        key: key.into(),
        range_end: Some(end.into()),
    }
}

#[test]
fn an_empty_key_is_never_acknowledged() {
    let told = "it names an empty key";
    let nothing = || (1, found(&[]));
    refused(put("", "1"), (2, Response::Put {}), told);
    refused(get(""), nothing(), told);
    refused(local_get(""), nothing(), told);
    refused(range("", "\0"), nothing(), told);
    let none = Response::Delete { deleted: 0 };
    refused(delete(""), (1, none), told);
    accepted(range("\0", "\0"), nothing());
    accepted(put("\0", "1"), (2, Response::Put {}));
    // In a transaction as well, whether its branch runs or not.
    let put_a = || vec![put("a", "1")];
    let put_done = || (2, done(vec![Response::Put {}]));
    refused(txn(vec![put("", "1")], Vec::new()), put_done(), told);
    refused(txn(put_a(), vec![get("")]), put_done(), told);
    let compared = |key: &str| Request::Txn {
        compare: vec![Compare::Version {
            key: key.into(),
            version: 0,
        }],
        then: put_a(),
        otherwise: Vec::new(),
    };
    refused(compared(""), put_done(), told);
    accepted(compared("a"), put_done());
}

#[test]
fn one_branch_writes_a_key_once() {
    let deleted = || Response::Delete { deleted: 0 };
    let (one, other) = (|| put("a", "1"), || put("a", "2"));
    let told = "it puts a twice in one branch";
    let both = done(vec![Response::Put {}, Response::Put {}]);
    refused(txn(vec![one(), other()], Vec::new()), (2, both), told);
    let read = done(vec![found(&[])]);
    refused(txn(vec![get("a")], vec![one(), other()]), (1, read), told);
    let told = "it puts a and deletes it in one branch";
    let first = done(vec![deleted(), Response::Put {}]);
    refused(
        txn(vec![delete("a"), one()], Vec::new()),
        (2, first.clone()),
        told,
    );
    let last = done(vec![Response::Put {}, Response::Delete { deleted: 1 }]);
    refused(txn(vec![one(), delete("a")], Vec::new()), (2, last), told);
    let over = txn(vec![delete_range("Z", "b"), one()], Vec::new());
    refused(over, (2, first.clone()), told);
    // Only one of two branches runs; a range ends in front of its end; a key may be deleted twice, and read.
    let put_done = done(vec![Response::Put {}]);
    accepted(txn(vec![one()], vec![other()]), (2, put_done));
    let beside = txn(vec![delete_range("Z", "a"), one()], Vec::new());
    accepted(beside, (2, first.clone()));
    let twice = txn(vec![delete("a"), delete_range("a", "b")], Vec::new());
    accepted(twice, (1, done(vec![deleted(), deleted()])));
    let read = done(vec![Response::Put {}, found(&[kv("a", "1", 2)])]);
    accepted(txn(vec![one(), get("a")], Vec::new()), (2, read));
    // etcd does not see that this range holds the key.
    let to_the_end = txn(vec![delete_range("Z", "\0"), one()], Vec::new());
    accepted(to_the_end, (2, first));
}

#[test]
fn a_lease_is_granted_for_285_years_at_most_and_0_is_none() {
    let granted = |ttl| {
        let response = Response::LeaseGrant { id: 7, ttl };
        (Request::LeaseGrant { id: 7, ttl }, (1, response))
    };
    let (request, answer) = granted(9_000_000_001);
    refused(request, answer, "it asks for a lease of 9000000001 s");
    let (request, answer) = granted(9_000_000_000);
    accepted(request, answer);
    let revoke = Request::LeaseRevoke { id: 0 };
    let told = "it revokes lease 0, which is none";
    refused(revoke, (1, Response::LeaseRevoke {}), told);
}

#[test]
fn a_revision_of_the_future_is_neither_read_nor_compacted_to() {
    let nothing = || found(&[]);
    let told = "it reads revision 2, while the store is at revision 1";
    refused(get_at("a", 2), (1, nothing()), told);
    accepted(get_at("a", 1), (1, nothing()));
    // What a transaction reads is there before it writes.
    let read = |revision| txn(vec![get_at("a", revision), put("b", "1")], Vec::new());
    let wrote = || (2, done(vec![nothing(), Response::Put {}]));
    refused(read(2), wrote(), told);
    accepted(read(1), wrote());
    accepted(
        txn(vec![get("a")], vec![get_at("a", 9)]),
        (1, done(vec![nothing()])),
    );
    let compact = |revision| Request::Compact { revision };
    let told = "it compacts to revision 2, while the store is at revision 1";
    refused(compact(2), (1, Response::Compact {}), told);
    accepted(compact(1), (1, Response::Compact {}));
    let told = "it compacts to revision -1";
    refused(compact(-1), (1, Response::Compact {}), told);
    // A range that stands alone takes what is below 0 for the newest revision, and a negative limit for none.
    accepted(get_at("a", -2), (1, nothing()));
    let old = txn(vec![get_at("a", -2)], Vec::new());
    let told = "it reads revision -2 in a transaction";
    refused(old, (1, done(vec![nothing()])), told);
    let limited = Request::Range {
        key: "a".into(),
        range_end: None,
        limit: -1,
        serializable: false,
        revision: 0,
    };
    accepted(limited, (1, nothing()));
}
