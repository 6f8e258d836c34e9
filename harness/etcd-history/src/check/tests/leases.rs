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
fn a_delete_of_unknown_outcome_that_may_have_taken_its_keys_is_no_end_of_a_lease() {
    let keep = Request::LeaseKeepAlive { id: 7 };
    let kept = |revision| (revision, Response::LeaseKeepAlive { ttl: 60 });
    // The lease's only key goes long before its time, and the lease is there afterwards.
    let story = |story: Story| {
        story
            .events(0, 12, 3, &[gone("a", 3)])
            .ok(1, (30, 31), keep.clone(), kept(3))
            .ok(1, (40, 41), leased("a", "2", 7), (4, Response::Put {}))
            .events(0, 42, 4, &[seen(held("a", "2", 4))])
    };
    let deleted = |request| leased_key(60).unknown(2, (10, 20), request);
    for check in ["leases", "linearizable"] {
        story(deleted(delete("a"))).passes(check);
    }
    story(leased_key(60)).violates("leases", "lease 7 was gone at 0.012000 s, not due before");
    // Another key's delete, and one that was called later, took nothing.
    story(deleted(delete("b"))).violates("leases", "lease 7 was gone at 0.012000 s");
    let later = leased_key(60).unknown(2, (13, 20), delete("a"));
    story(later).violates("leases", "lease 7 was gone at 0.012000 s");
    // Taken twice: by the delete or by the lease's end, and once more after that.
    let twice = story(deleted(delete("a"))).events(0, 50, 5, &[gone("a", 5)]);
    twice.passes("linearizable");
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

fn keep(story: Story, t: i64, revision: i64) -> Story {
    let request = Request::LeaseKeepAlive { id: 7 };
    let response = Response::LeaseKeepAlive { ttl: 60 };
    story.ok(2, (t, t + 1), request, (revision, response))
}

/// A grant by which etcd chooses the number.
fn chosen(story: Story, t: i64, (id, ttl): (i64, i64)) -> Story {
    let request = Request::LeaseGrant { id: 0, ttl };
    let response = Response::LeaseGrant { id, ttl };
    story.ok(1, (t, t + 1), request, (1, response))
}

#[test]
fn a_lease_that_was_granted_to_no_one_is_not_found() {
    let grant_7 = || Request::LeaseGrant { id: 7, ttl: 60 };
    let refused = |class: &str| refuse(Story::new().opened(0, 1), 1, grant_7(), class);
    let held = |story: Story| {
        story
            .ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {}))
            .events(0, 5, 2, &[seen(held("a", "1", 2))])
    };
    let told = "lease 7 was granted to no one by then, yet etcd found it for op 2 (put a = 1";
    held(refused("too_many_requests")).violates("leases", told);
    keep(refused("too_many_requests"), 3, 1).violates("leases", "granted to no one by then");
    revoke(refused("too_many_requests"), 3, 1).violates("leases", "granted to no one by then");
    // It is there, though it cannot be: the grant that was refused for it is what is told.
    let there = "lease 7 cannot have been there, yet op 1 (grant lease 7 for 60 s";
    held(refused("lease_exists")).violates("leases", there);
    // Granted later, at the same time, perhaps, and by no client of the run.
    let first = || held(Story::new().opened(0, 1));
    grant(first(), 10, 60, 2).violates("leases", "op 1 (put a = 1");
    grant(first(), 4, 60, 2).passes("leases");
    let perhaps = Story::new().opened(0, 1).unknown(2, (1, 2), grant_7());
    held(perhaps).passes("leases");
    first().passes("leases");
}

#[test]
fn leases_of_which_etcd_chooses_the_number_are_different_ones() {
    let two = chosen(chosen(Story::new().opened(0, 1), 1, (7, 60)), 3, (8, 60));
    two.passes("leases");
    let again = chosen(chosen(Story::new().opened(0, 1), 1, (7, 60)), 3, (7, 60));
    again.violates("leases", "lease 7 was there after op 1");
    let below = chosen(Story::new().opened(0, 1), 1, (-7, 60));
    below.violates("leases", "was given lease -7, etcd chooses none below 1");
    let held = chosen(Story::new().opened(0, 1), 1, (7, 60))
        .ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {}))
        .events(0, 5, 2, &[seen(held("a", "1", 2))]);
    held.events(0, 9, 3, &[gone("a", 3)])
        .violates("leases", "lease 7 was gone at 0.009000 s, not due before");
}

#[test]
fn a_lease_is_granted_for_no_longer_than_asked_but_for_the_least_that_etcd_has() {
    let granted = |asked, given| {
        let request = Request::LeaseGrant { id: 7, ttl: asked };
        let response = Response::LeaseGrant { id: 7, ttl: given };
        Story::new()
            .opened(0, 1)
            .ok(1, (1, 2), request, (1, response))
    };
    granted(1, 2).passes("leases");
    granted(1, 75).passes("leases");
    granted(100, 100).passes("leases");
    granted(1, 76).violates("leases", "was given 76 s");
    granted(100, 101).violates("leases", "was given 101 s");
}

#[test]
fn a_lease_whose_time_is_not_over_explains_no_revision() {
    // No watcher shows revision 3, at which its key is gone.
    let held = |ttl| {
        let story = grant(Story::new(), 1, ttl, 1);
        story.ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {}))
    };
    let read = |story: Story, t| story.ok(2, (t, t + 1), get("a"), (3, found(&[])));
    let told = "nothing tells what made revision 3, and no order of the operations explains";
    read(held(1), 1_200).passes("linearizable");
    read(held(1), 900).violates("linearizable", told);
    read(held(60), 1_200).violates("linearizable", told);
    // It was kept alive after that, a client may have revoked it, and it may have lived before.
    let kept = keep(read(held(1), 1_200), 1_300, 3);
    kept.violates("linearizable", told);
    let revoke = Request::LeaseRevoke { id: 7 };
    read(held(60).unknown(2, (5, 6), revoke), 1_200).passes("linearizable");
    let other = Request::LeaseGrant { id: 7, ttl: 1 };
    let twice = Story::new().unknown(3, (0, 1), other);
    let twice = grant(twice, 1, 60, 1).ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {}));
    read(twice, 1_200).passes("linearizable");
}

#[test]
fn an_answer_to_a_lease_is_of_its_kind() {
    let story = |request, answer| leased_key(60).ok(1, (10, 11), request, answer);
    let keep = Request::LeaseKeepAlive { id: 7 };
    let told = "got an answer of another kind";
    story(keep, (2, Response::Put {})).violates("leases", told);
    let revoke = Request::LeaseRevoke { id: 7 };
    let told = "the answer is of another kind than revoke lease 7";
    story(revoke, (3, Response::Put {})).violates("linearizable", told);
}

#[test]
fn a_living_lease_is_kept_alive_by_the_leader_that_kept_it_before() {
    let missed = |story: Story| {
        let keep = Request::LeaseKeepAlive { id: 7 };
        story.ok(2, (20, 21), keep, (2, Response::LeaseKeepAlive { ttl: 0 }))
    };
    let then = |story: Story| story.ok(1, (30, 31), get("x"), (2, found(&[])));
    let story = || then(missed(keep(leased_key(60), 10, 2)));
    let told = "did not find it, by the same leader";
    story().violates("leases", told);
    // Another leader may have been elected: one was, or no later answer shows that none was.
    let elected = story().sample(25, ("etcd-0", "a"), Some("a"), 3);
    elected.passes("leases");
    missed(keep(leased_key(60), 10, 2)).passes("leases");
    // The leader never had it, or it may be gone.
    then(missed(leased_key(60))).passes("leases");
    let revoke = Request::LeaseRevoke { id: 7 };
    story().unknown(3, (15, 90), revoke).passes("leases");
    story().fault(5, 6).passes("leases");
    let late = then(missed(leased_key(60))).ok(
        1,
        (40, 41),
        Request::LeaseKeepAlive { id: 7 },
        (2, Response::LeaseKeepAlive { ttl: 60 }),
    );
    late.passes("leases");
}

#[test]
fn a_grant_is_refused_only_for_a_lease_that_can_be_there() {
    let grant_7 = || Request::LeaseGrant { id: 7, ttl: 60 };
    let refused = |story: Story, t| refuse(story, t, grant_7(), "lease_exists");
    let new = || Story::new().opened(0, 1);
    let told = "lease 7 cannot have been there, yet op";
    refused(new(), 10).violates("leases", told);
    grant(refused(new(), 10), 20, 60, 1).violates("leases", told);
    // It was granted, perhaps, or at the same time.
    refused(grant(new(), 1, 60, 1), 10).passes("leases");
    refused(new().unknown(2, (1, 2), grant_7()), 10).passes("leases");
    let denied = Outcome::Failed {
        class: "lease_exists".into(),
        message: String::new(),
    };
    let beside = new().op(2, (5, 15), grant_7(), denied);
    grant(beside, 10, 60, 1).passes("leases");
    // It was revoked since, and not granted again, as far as is known.
    let revoked = || revoke(leased_key(60), 6, 3);
    refused(revoked(), 10).violates("leases", told);
    refused(grant(revoked(), 8, 60, 3), 10).passes("leases");
    refused(revoked().unknown(2, (8, 9), grant_7()), 10).passes("leases");
    let perhaps = leased_key(60).unknown(2, (6, 7), Request::LeaseRevoke { id: 7 });
    refused(perhaps, 10).passes("leases");
    // An etcd that was used before may have had it: it is at revision 5 when the run begins.
    let all = Request::Range {
        key: "a".into(),
        range_end: Some("z".into()),
        limit: 0,
        serializable: false,
        revision: 0,
    };
    let used = Story::new().ok(1, (0, 1), all, (5, found(&[kv("b", "1", 5)])));
    refused(used, 10).passes("leases");
}

#[test]
fn a_refusal_because_of_a_lease_answers_a_request_that_names_one() {
    let refused = |request, class| refuse(leased_key(60), 10, request, class);
    let told = "was refused because a lease is not there, and names none";
    refused(put("b", "2"), "lease_not_found").violates("leases", told);
    refused(get("a"), "lease_not_found").violates("leases", told);
    let again = Request::LeaseGrant { id: 9, ttl: 60 };
    refused(again.clone(), "lease_not_found").violates("leases", told);
    refused(again, "too_many_requests").passes("leases");
    let told = "was refused because a lease is there, and grants none";
    refused(leased("b", "2", 7), "lease_exists").violates("leases", told);
    let (request, _) = in_txn(leased("b", "2", 9));
    refused(request, "lease_not_found").passes("leases");
}

#[test]
fn a_key_whose_lease_cannot_have_ended_is_in_every_dump() {
    // The member is at revision 3, and others are in front of it.
    let put_b = |story: Story| story.put(2, (5, 6), ("b", "2"), 3);
    let held = |ttl| {
        let story = grant(Story::new(), 1, ttl, 1);
        put_b(story.ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {})))
    };
    let dumped = |story: Story, t| {
        let story = story.dump(t, "etcd-0", (3, &[kv("b", "2", 3)]));
        story.put(2, (3_000, 3_001), ("c", "3"), 4)
    };
    let told = "it is not there, nothing deleted it, and lease 7 was alive";
    dumped(held(60), 1_500).violates("durability", told);
    // Its time is over, unless it was kept alive.
    dumped(held(1), 1_500).passes("durability");
    dumped(keep(held(1), 900, 3), 1_500).violates("durability", told);
    dumped(keep(held(1), 900, 3), 1_900).passes("durability");
    // A client may have ended it, or deleted the key, or given it to another lease; it may have lived before.
    for lost in [
        Request::LeaseRevoke { id: 7 },
        delete("a"),
        leased("a", "4", 8),
        Request::LeaseGrant { id: 7, ttl: 1 },
    ] {
        let story = held(60).unknown(3, (7, 8), lost);
        dumped(story, 1_500).passes("durability");
    }
    revoke(dumped(held(60), 1_500), 4_000, 5).passes("durability");
    // What was written without a lease since is there, whatever became of that.
    let since = held(1).unknown(3, (7, 8), Request::LeaseRevoke { id: 7 });
    let since = since.put(1, (9, 10), ("a", "4"), 4);
    let since = since.dump(1_500, "etcd-0", (4, &[kv("b", "2", 3)]));
    let told = "it is not there and nothing deleted it";
    since
        .put(2, (3_000, 3_001), ("c", "3"), 5)
        .violates("durability", told);
}

#[test]
fn a_dump_by_a_clock_that_went_back_says_nothing_of_leases() {
    let dump = |t| {
        let story = grant(Story::new(), 1, 2, 1)
            .ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {}))
            .put(2, (5, 6), ("b", "2"), 3);
        let story = story.put(2, (t, t + 1), ("c", "3"), 4);
        story.dump(1_500, "etcd-0", (3, &[kv("b", "2", 3)]))
    };
    let told = "it is not there, nothing deleted it, and lease 7 was alive";
    violates(&dump(1_000).verdict_as_told("durability"), told);
    // It was over by then, if the dump was made behind the line in front of it.
    let verdict = dump(3_000).verdict_as_told("durability");
    assert!(verdict.passed(), "{verdict:?}");
}

#[test]
fn no_lease_has_the_number_0() {
    let asked = |request, response| Story::new().ok(1, (1, 2), request, (1, response));
    let keep = |ttl| {
        asked(
            Request::LeaseKeepAlive { id: 0 },
            Response::LeaseKeepAlive { ttl },
        )
    };
    keep(0).passes("leases");
    keep(9).violates("leases", "found lease 0");
    let revoked = asked(Request::LeaseRevoke { id: 0 }, Response::LeaseRevoke {});
    revoked.violates("leases", "found lease 0");
}
