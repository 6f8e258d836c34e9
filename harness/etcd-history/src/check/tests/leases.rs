//! Leases as a table: grants, refreshes, what is attached and how it ends.

use crate::check::test_support::*;
use crate::record::{KeyEvent, KeyValue, Outcome, Request, Response};

fn held(key: &str, value: &str, revision: i64) -> KeyValue {
    KeyValue {
        lease: 7,
        ..kv(key, value, revision)
    }
}

fn grant(story: Story, t: i64, ttl: i64, revision: i64) -> Story {
    let request = Request::LeaseGrant { id: 7, ttl };
    let response = Response::LeaseGrant { id: 7, ttl };
    story.ok(1, (t, t + 1), request, (revision, response))
}

fn revoke(story: Story, t: i64, revision: i64) -> Story {
    let request = Request::LeaseRevoke { id: 7 };
    story.ok(1, (t, t + 1), request, (revision, Response::LeaseRevoke {}))
}

fn refuse(story: Story, t: i64, request: Request, class: &str) -> Story {
    let (class, message) = (class.to_owned(), String::new());
    story.op(1, (t, t + 1), request, Outcome::Failed { class, message })
}

/// A lease with a key, from 1 ms on.
fn leased_key(ttl: i64) -> Story {
    grant(Story::new().opened(0, 1), 1, ttl, 1)
        .ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {}))
        .events(0, 5, 2, &[seen(held("a", "1", 2))])
}

fn attach(story: Story, t: i64, request: Request, response: Response) -> Story {
    story.ok(2, (t, t + 1), request, (4, response))
}

fn in_txn(request: Request) -> (Request, Response) {
    let request = Request::Txn {
        compare: Vec::new(),
        then: vec![request],
        otherwise: Vec::new(),
    };
    let response = Response::Txn {
        succeeded: true,
        responses: vec![Response::Put {}],
    };
    (request, response)
}

#[test]
fn nothing_is_attached_to_a_lease_that_is_gone() {
    let put_b = || leased("b", "2", 7);
    let revoked = || revoke(leased_key(60), 6, 3);
    attach(revoked(), 10, put_b(), Response::Put {}).violates("leases", "was attached to it");
    let (request, response) = in_txn(put_b());
    attach(revoked(), 10, request, response).violates("leases", "was attached to it");
    // It may have been attached before the revoke.
    attach(revoked(), 5, put_b(), Response::Put {}).passes("leases");
    // Another grant, even one of unknown outcome, lets it live again.
    let again = grant(revoked(), 8, 60, 3);
    attach(again, 10, put_b(), Response::Put {}).passes("leases");
    let again = revoked().unknown(1, (8, 9), Request::LeaseGrant { id: 7, ttl: 60 });
    attach(again, 10, put_b(), Response::Put {}).passes("leases");
    // A revoke of unknown outcome may not have happened, until its keys are seen to go.
    let unknown = || leased_key(60).unknown(1, (6, 7), Request::LeaseRevoke { id: 7 });
    let other = unknown().put(1, (8, 9), ("c", "3"), 3);
    attach(other, 10, put_b(), Response::Put {}).passes("leases");
    let gone = unknown().events(0, 8, 3, &[gone("a", 3)]);
    attach(gone, 10, put_b(), Response::Put {}).violates("leases", "was attached to it");
}

#[test]
fn nothing_is_attached_to_a_lease_that_has_expired() {
    let expired = || leased_key(1).events(0, 1_200, 3, &[gone("a", 3)]);
    attach(expired(), 1_300, leased("b", "2", 7), Response::Put {})
        .violates("leases", "was attached to it");
    refuse(expired(), 1_300, leased("b", "2", 7), "lease_not_found").passes("leases");
}

#[test]
fn a_lease_is_granted_once_while_it_lives() {
    grant(leased_key(60), 10, 60, 2).violates("leases", "granted it again");
    grant(revoke(leased_key(60), 6, 3), 10, 60, 3).passes("leases");
    let revoking = leased_key(60).unknown(1, (6, 7), Request::LeaseRevoke { id: 7 });
    let revoking = revoking.events(0, 20, 3, &[gone("a", 3)]);
    grant(revoking, 10, 60, 3).passes("leases");
    // It may have expired by then.
    grant(leased_key(1), 1_200, 60, 2).passes("leases");
}

#[test]
fn a_living_lease_is_found() {
    refuse(leased_key(60), 10, leased("b", "2", 7), "lease_not_found")
        .violates("leases", "did not find it");
    let revoke = Request::LeaseRevoke { id: 7 };
    refuse(leased_key(60), 10, revoke.clone(), "lease_not_found")
        .violates("leases", "did not find it");
    refuse(leased_key(1), 1_500, revoke, "lease_not_found").passes("leases");
    refuse(leased_key(60), 10, leased("b", "2", 7), "no_leader").passes("leases");
}

#[test]
fn a_lease_that_outlives_its_time_is_late_however_it_ends() {
    let late = |story: Story| story.violates("leases", "still had its keys at 60.000000 s");
    let read = (2, found(&[held("a", "1", 2)]));
    late(leased_key(2).ok(2, (60_000, 60_001), get("a"), read.clone()));
    late(revoke(leased_key(2), 60_000, 3));
    let used = (3, Response::Put {});
    late(leased_key(2).ok(2, (60_000, 60_001), leased("b", "2", 7), used));
    late(leased_key(2).events(0, 60_000, 3, &[gone("a", 3)]));
    // A keep-alive long after its time: it should not have found the lease.
    let keep = Request::LeaseKeepAlive { id: 7 };
    let kept = (2, Response::LeaseKeepAlive { ttl: 2 });
    late(leased_key(2).ok(1, (60_000, 60_001), keep.clone(), kept.clone()));
    // Kept alive in between, by one of unknown outcome as well.
    let times = (1..60).map(|t| t * 1_000);
    let alive = times.fold(leased_key(2), |story, t| {
        story.ok(1, (t, t + 1), keep.clone(), kept.clone())
    });
    revoke(alive, 60_000, 3).passes("leases");
    let maybe = leased_key(2).unknown(1, (58_000, 59_000), keep);
    revoke(maybe, 60_000, 3).passes("leases");
    // A new leader gives it all its time again.
    let elected = leased_key(2).sample(58_000, ("etcd-0", "a"), Some("a"), 3);
    revoke(elected, 60_000, 3).passes("leases");
    // An old read may show it for longer, and a run that was cut off tells nothing of what came after.
    let local = leased_key(2).ok(2, (60_000, 60_001), local_get("a"), read);
    local.events(0, 2_100, 3, &[gone("a", 3)]).passes("leases");
    leased_key(2).fault(59_000, 60_000).passes("leases");
}

#[test]
fn a_second_life_does_not_make_the_first_one_end_early() {
    // It expires at 1 s and is granted again before a slow watcher reports the end.
    let story = grant(leased_key(1), 1_200, 60, 3);
    let deleted = KeyEvent::Delete {
        key: "a".into(),
        mod_revision: 3,
        prev: None,
    };
    story.events(0, 1_500, 3, &[deleted]).passes("leases");
}
