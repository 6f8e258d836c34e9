//! What proves that a revision existed, and what the judge does where nothing tells what made one.

use crate::check::test_support::*;
use crate::check::{Finding, Verdict};
use crate::record::{Compare, KeyEvent, KeyValue, Request, Response, WatchEvent};

fn held(key: &str, value: &str, revision: i64) -> KeyValue {
    KeyValue {
        lease: 7,
        ..kv(key, value, revision)
    }
}

fn narrow(story: Story, watcher: u32, start_revision: i64) -> Story {
    story.watch(
        watcher,
        0,
        WatchEvent::Opened {
            key: "b".into(),
            range_end: "c".into(),
            start_revision,
        },
    )
}

fn txn(then: Vec<Request>) -> Request {
    Request::Txn {
        compare: Vec::new(),
        then,
        otherwise: Vec::new(),
    }
}

fn done(answers: usize) -> Response {
    Response::Txn {
        succeeded: true,
        responses: vec![Response::Put {}; answers],
    }
}

/// Two writes; the answer to the second comes late, and a read called before that shows the first.
fn stale(proof: impl Fn(Story) -> Story) -> Story {
    let story =
        Story::new()
            .opened(0, 2)
            .put(1, (1, 2), ("a", "1"), 2)
            .put(1, (3, 90), ("a", "2"), 3);
    proof(story).ok(2, (20, 21), get("a"), (2, found(&[kv("a", "1", 2)])))
}

#[test]
fn whatever_tells_of_a_revision_proves_it() {
    let new = version("a", "2", (2, 3, 2));
    stale(|story| story).passes("linearizable");
    let proofs: [&dyn Fn(Story) -> Story; 7] = [
        &|story| story.progress(0, 10, 3),
        &|story| story.ok(3, (9, 10), local_get("b"), (3, found(&[]))),
        &|story| story.sample_with(10, ("etcd-0", "a"), |status| status.revision = 3),
        &|story| story.dump(10, "etcd-0", (3, std::slice::from_ref(&new))),
        &|story| story.events(0, 10, 3, &[seen(kv("a", "1", 2))]),
        &|story| story.events(0, 10, 3, &[seen(kv("a", "1", 2)), seen(new.clone())]),
        &|story| {
            let kept = Response::LeaseKeepAlive { ttl: 9 };
            story.ok(3, (9, 10), Request::LeaseKeepAlive { id: 7 }, (3, kept))
        },
    ];
    for proof in proofs {
        stale(proof).violates("linearizable", "revision 3 had happened by 0.010000 s");
    }
    // As late as the read was called, or after it, nothing is proved.
    stale(|story| story.progress(0, 20, 3)).passes("linearizable");
    stale(|story| story.progress(0, 30, 3)).passes("linearizable");
    // A read that may be old is not held to it.
    Story::new()
        .opened(0, 2)
        .put(1, (1, 2), ("a", "1"), 2)
        .put(1, (3, 4), ("a", "2"), 3)
        .ok(2, (20, 21), local_get("a"), (2, found(&[kv("a", "1", 2)])))
        .passes("linearizable");
}

#[test]
fn a_write_called_after_its_revision_was_there_did_not_make_it() {
    Story::new()
        .opened(0, 1)
        .put(1, (1, 2), ("a", "1"), 2)
        .progress(0, 5, 3)
        .put(1, (10, 11), ("a", "2"), 3)
        .violates("linearizable", "revision 3 had happened by 0.005000 s");
}

#[test]
fn the_end_of_a_lease_that_a_watcher_saw_is_in_the_past_of_later_reads() {
    let story = |read: i64| {
        Story::new()
            .opened(0, 1)
            .ok(1, (1, 2), leased("a", "1", 7), (2, Response::Put {}))
            .events(0, 3, 2, &[seen(held("a", "1", 2))])
            .events(0, 50, 3, &[gone("a", 3)])
            .ok(
                2,
                (read, read + 1),
                get("a"),
                (2, found(&[held("a", "1", 2)])),
            )
    };
    story(49).passes("linearizable");
    story(60).violates("linearizable", "revision 3 had happened by 0.050000 s");
}

#[test]
fn a_value_that_a_read_shows_tells_what_made_its_revision() {
    let new = version("a", "2", (2, 3, 2));
    let story = || {
        Story::new()
            .opened(0, 1)
            .put(1, (1, 2), ("a", "1"), 2)
            .events(0, 3, 2, &[seen(kv("a", "1", 2))])
    };
    let early = || (3, found(std::slice::from_ref(&new)));
    // The run is cut off in the middle of a write: an old read may have seen it already.
    story()
        .unknown(2, (5, 30), put("a", "2"))
        .ok(3, (8, 9), local_get("a"), early())
        .passes("linearizable");
    story()
        .unknown(2, (5, 30), txn(vec![put("a", "2"), put("b", "2")]))
        .ok(3, (8, 9), local_get("a"), early())
        .dump(40, "etcd-0", (3, &[new.clone(), kv("b", "2", 3)]))
        .passes("linearizable");
    story()
        .failed(2, (5, 6), put("a", "2"))
        .ok(3, (8, 9), local_get("a"), early())
        .violates(
            "linearizable",
            "it failed for certain, yet at revision 3 it was read",
        );
    story()
        .ok(3, (8, 9), local_get("a"), (3, found(&[new])))
        .violates(
            "linearizable",
            "no order of the operations explains revision 3",
        );
}

#[test]
fn keys_of_a_lease_may_go_where_nobody_watches() {
    let gone = |request: Request, response: Response| {
        let story = narrow(Story::new(), 0, 1)
            .ok(1, (3, 4), request, (2, response))
            .put(1, (5, 6), ("b", "2"), 3)
            .events(0, 7, 3, &[seen(kv("b", "2", 3))]);
        story.ok(1, (3_000, 3_001), get("a"), (4, found(&[])))
    };
    gone(leased("a", "1", 7), Response::Put {}).passes("linearizable");
    gone(txn(vec![leased("a", "1", 7)]), done(1)).passes("linearizable");
    gone(txn(vec![leased("a", "1", 7), put("d", "1")]), done(2)).passes("linearizable");
    // Without a lease nothing takes it.
    gone(put("a", "1"), Response::Put {})
        .violates("linearizable", "nothing tells what made revision 4");
}

#[test]
fn a_fault_may_have_made_the_revisions_that_it_tells_and_no_other() {
    let story = |revisions: &[i64]| {
        Story::new()
            .put(1, (1, 2), ("a", "1"), 2)
            .fault_wrote(3, revisions)
            .put(1, (4, 5), ("b", "1"), 5)
    };
    story(&[3, 4]).passes("linearizable");
    story(&[3]).violates("linearizable", "nothing tells what made revision 4");
    // Behind a hole, where the search continues.
    let behind = |revisions: &[i64]| {
        narrow(Story::new(), 0, 1)
            .ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {}))
            .fault_wrote(5, revisions)
            .ok(1, (3_000, 3_001), get("a"), (4, found(&[])))
    };
    behind(&[3]).passes("linearizable");
    behind(&[]).violates("linearizable", "nothing tells what made revision 3");
    // A watcher saw another client's change there.
    Story::new()
        .put(1, (1, 2), ("a", "1"), 2)
        .fault_wrote(3, &[3])
        .events(0, 4, 3, &[seen(kv("a", "2", 3))])
        .violates("linearizable", "a = 2 is of revision 3");
}

#[test]
fn a_lease_from_before_the_run_may_end_in_it() {
    let all = Request::Range {
        key: "a".into(),
        range_end: Some("z".into()),
        limit: 0,
        serializable: false,
        revision: 0,
    };
    Story::new()
        .ok(1, (1, 2), all, (9, found(&[held("a", "0", 5)])))
        .put(1, (3, 4), ("b", "1"), 10)
        .ok(1, (3_000, 3_001), get("a"), (11, found(&[])))
        .passes("linearizable");
}

#[test]
fn watchers_are_told_of_what_they_asked_for_and_of_nothing_else() {
    let story = |events: &[KeyEvent]| {
        narrow(Story::new(), 0, 1)
            .ok(
                1,
                (1, 2),
                txn(vec![put("a", "1"), put("b", "1")]),
                (2, done(2)),
            )
            .events(0, 3, 2, events)
            .put(1, (4, 5), ("a", "2"), 3)
    };
    story(&[seen(kv("b", "1", 2))]).passes("linearizable");
    story(&[seen(kv("b", "2", 2))]).violates("linearizable", "left b otherwise");
    let both = txn(vec![put("b", "1"), put("ba", "1"), put("a", "1")]);
    narrow(Story::new(), 0, 1)
        .ok(1, (1, 2), both, (2, done(3)))
        .events(0, 3, 2, &[seen(kv("b", "1", 2))])
        .violates(
            "linearizable",
            "changed 2 keys that they were asked for, they saw 1",
        );
    // A deleted range across the border.
    let range = Request::Delete {
        key: "a".into(),
        range_end: Some("c".into()),
    };
    story(&[seen(kv("b", "1", 2))])
        .ok(1, (6, 7), range, (4, Response::Delete { deleted: 2 }))
        .events(0, 8, 4, &[gone("b", 4)])
        .passes("linearizable");
}

#[test]
fn a_delete_that_nobody_asked_for_is_a_loss_however_long_the_run() {
    let keys: Vec<String> = (0..5_000).map(|n| format!("k/{n:05}")).collect();
    let lost = |story: Story| {
        let story = (2..).zip(&keys).fold(story, |story, (revision, key)| {
            let t = revision * 2;
            let story = story.put(1, (t, t + 1), (key, key), revision);
            story.events(0, t + 1, revision, &[seen(kv(key, key, revision))])
        });
        story
            .events(0, 20_000, 5_002, &[gone("k/00100", 5_002)])
            .ok(2, (20_001, 20_002), get("k/00100"), (5_002, found(&[])))
    };
    lost(Story::new().opened(0, 1))
        .violates("linearizable", "nothing tells what made revision 5002");
    // A delete of unknown outcome of another key does not explain it, one of this key does.
    let unknown = |key: &str| Story::new().opened(0, 1).unknown(3, (1, 2), delete(key));
    lost(unknown("k/00101")).violates("linearizable", "nothing tells what made revision 5002");
    lost(unknown("k/00100")).passes("linearizable");
}

#[test]
fn a_stale_read_behind_a_hole_is_seen() {
    // No client saw revision 3, which one of two writes of unknown outcome made.
    let story = || {
        Story::new()
            .opened(0, 4)
            .put(1, (1, 2), ("a", "1"), 2)
            .unknown(2, (3, 4), put("b", "2"))
            .unknown(3, (3, 4), put("c", "2c"))
            .put(1, (5, 6), ("d", "3"), 4)
            .events(0, 10, 4, &[seen(kv("d", "3", 4))])
    };
    let read = |revision| (revision, found(&[kv("a", "1", 2)]));
    story()
        .ok(4, (20, 21), get("a"), read(4))
        .passes("linearizable");
    story()
        .ok(4, (20, 21), get("a"), read(3))
        .violates("linearizable", "revision 4 had happened by 0.006000 s");
    // What is read there must fit one of them.
    story()
        .ok(4, (20, 21), get("b"), (4, found(&[kv("b", "2", 3)])))
        .passes("linearizable");
    story()
        .ok(4, (20, 21), get("a"), (4, found(&[])))
        .violates("linearizable", "nothing tells what made revision 3");
    // A write that was called when the revision was already there did not make it.
    Story::new()
        .opened(0, 3)
        .put(1, (1, 2), ("a", "1"), 2)
        .progress(0, 5, 3)
        .unknown(2, (7, 8), put("b", "2"))
        .put(1, (9, 10), ("d", "3"), 4)
        .violates(
            "linearizable",
            "explains revision 3, which was there by 0.005000 s",
        );
}

#[test]
fn writers_whose_clocks_disagree_prove_nothing_about_time() {
    let reason = |verdict: &Verdict| match &verdict.finding {
        Finding::Inconclusive { reason } => reason.clone(),
        other => panic!("{other:?}"),
    };
    // A second process reads what the first wrote, on a clock that was set back.
    let stepped = |revision, kvs: &[KeyValue]| {
        Story::new()
            .put(1, (1, 2), ("a", "1"), 2)
            .put(1, (2_000, 2_001), ("a", "2"), 3)
            .ok(9_000, (1_500, 1_501), get("a"), (revision, found(kvs)))
    };
    let verdict = stepped(3, &[version("a", "2", (2, 3, 2))]).verdict_as_told("linearizable");
    assert!(reason(&verdict).contains("clocks"));
    // What is wrong on every clock is still wrong.
    violates(
        &stepped(3, &[kv("a", "1", 2)]).verdict_as_told("linearizable"),
        "the store has a = 2",
    );
    // A clock that was set forward: the watcher of the first process is told before the second seems to call.
    let verdict = Story::new()
        .opened(0, 1)
        .put(1, (1, 2), ("a", "1"), 2)
        .put(9_000, (5_000, 5_001), ("a", "2"), 3)
        .events(
            0,
            9,
            3,
            &[seen(kv("a", "1", 2)), seen(version("a", "2", (2, 3, 2)))],
        )
        .verdict_as_told("linearizable");
    assert!(reason(&verdict).contains("clocks"));
}

#[test]
fn what_was_not_watched_is_not_missed_in_what_was() {
    let marked = |mark: &str| {
        let delete = Request::Delete {
            key: "b".into(),
            range_end: None,
        };
        narrow(Story::new(), 0, 1)
            .put(1, (1, 2), ("b", "1"), 2)
            .events(0, 3, 2, &[seen(kv("b", "1", 2))])
            .unknown(2, (4, 5), txn(vec![delete, put(mark, "2")]))
            .events(0, 6, 3, &[gone("b", 3)])
            .ok(1, (7, 8), get("b"), (3, found(&[])))
    };
    // The mark of an unknown delete lies outside of what is watched: that it was not seen says nothing.
    marked("a").passes("linearizable");
    marked("ba").violates("linearizable", "nothing tells what made revision 3");
}

/// Lease 7 with these keys, put one after the other from revision 2 on; `b` alone is watched where `narrow`.
fn attached(story: Story, keys: &[&str], narrow: bool) -> Story {
    let granted = Response::LeaseGrant { id: 7, ttl: 60 };
    let story = story.ok(
        1,
        (1, 2),
        Request::LeaseGrant { id: 7, ttl: 60 },
        (1, granted),
    );
    (2..).zip(keys).fold(story, |story, (revision, key)| {
        let t = revision * 2;
        let done = (revision, Response::Put {});
        let story = story.ok(1, (t, t + 1), leased(key, "1", 7), done);
        match narrow && *key != "b" {
            true => story,
            false => story.events(0, t + 1, revision, &[seen(held(key, "1", revision))]),
        }
    })
}

#[test]
fn a_lost_delete_of_one_key_of_a_lease_may_have_made_what_a_watcher_of_that_key_saw() {
    let story = |lost: Option<Request>| {
        let story = attached(narrow(Story::new(), 0, 1), &["b", "d"], true);
        let story = match lost {
            Some(lost) => story.unknown(2, (10, 20), lost),
            None => story,
        };
        let story = story.events(0, 12, 4, &[gone("b", 4)]);
        story.ok(3, (30, 31), get("d"), (4, found(&[held("d", "1", 3)])))
    };
    story(Some(delete("b"))).passes("linearizable");
    story(Some(delete("b"))).proves_nothing("leases", "the replay ended early");
    // No delete, or one of another key, took a part of it.
    story(None).violates("linearizable", "op 4");
    story(Some(delete("c"))).violates("linearizable", "op 5");
    // A range may hold keys that no one watches: then all keys of the lease are gone, by either.
    let range = Request::Delete {
        key: "a".into(),
        range_end: Some("f".into()),
    };
    let gone_both = attached(narrow(Story::new(), 0, 1), &["b", "d"], true)
        .unknown(2, (10, 20), range)
        .events(0, 12, 4, &[gone("b", 4)])
        .ok(3, (30, 31), get("d"), (4, found(&[])));
    gone_both.passes("leases");
}

#[test]
fn a_lost_delete_of_one_key_of_a_lease_is_told_from_its_end_where_all_keys_are_watched() {
    let story = || {
        attached(Story::new().opened(0, 1), &["a", "b"], false)
            .unknown(2, (10, 20), delete("a"))
            .events(0, 12, 4, &[gone("a", 4)])
            .ok(3, (30, 31), get("b"), (4, found(&[held("b", "1", 3)])))
    };
    story().passes("linearizable");
    story().passes("leases");
}

fn delete_range(key: &str, end: &str) -> Request {
    Request::Delete {
        key: key.into(),
        range_end: Some(end.into()),
    }
}

#[test]
fn a_lost_delete_of_a_range_may_have_taken_what_no_one_watches() {
    // Two deletes without an answer: of b alone, and of a range that holds a key outside of what is watched.
    let story = |left: &[KeyValue]| {
        narrow(Story::new(), 0, 1)
            .put(1, (1, 2), ("aa", "1"), 2)
            .put(1, (3, 4), ("b", "1"), 3)
            .events(0, 5, 3, &[seen(kv("b", "1", 3))])
            .unknown(2, (6, 20), delete("b"))
            .unknown(3, (7, 20), delete_range("a", "c"))
            .events(0, 8, 4, &[gone("b", 4)])
            .ok(4, (30, 31), get("aa"), (4, found(left)))
    };
    story(&[]).passes("linearizable");
    story(&[kv("aa", "1", 2)]).passes("linearizable");
    story(&[kv("aa", "2", 2)]).violates("linearizable", "nothing tells what made revision 4");
    let streamed = |left: &[KeyValue]| {
        let records = story(left).history().records.into_iter();
        let Ok(verdict) = crate::check::stream(records.map(Ok::<_, std::convert::Infallible>));
        verdict
    };
    for left in [Vec::new(), vec![kv("aa", "1", 2)]] {
        inconclusive(&streamed(&left), "keys that no one watches");
    }
}

#[test]
fn a_lost_transaction_may_have_deleted_in_the_branch_that_puts_nothing() {
    let story = |value: &str, [then, otherwise]: [Request; 2]| {
        let lost = Request::Txn {
            compare: vec![Compare::Value {
                key: "a".into(),
                value: value.into(),
            }],
            then: vec![then],
            otherwise: vec![otherwise],
        };
        Story::new()
            .opened(0, 1)
            .put(1, (1, 2), ("a", "1"), 2)
            .events(0, 3, 2, &[seen(kv("a", "1", 2))])
            .unknown(2, (5, 20), lost)
            .events(0, 8, 3, &[gone("a", 3)])
            .ok(3, (30, 31), get("a"), (3, found(&[])))
    };
    let branches = || [delete("a"), put("b", "2")];
    let turned = || [put("b", "2"), delete("a")];
    story("1", branches()).passes("linearizable");
    story("0", turned()).passes("linearizable");
    // The branch that ran puts something that was watched, or deletes another key.
    let told = "nothing tells what made revision 3";
    story("0", branches()).violates("linearizable", told);
    story("1", turned()).violates("linearizable", told);
    story("1", [delete("c"), put("b", "2")]).violates("linearizable", told);
}

#[test]
fn a_lost_delete_that_was_taken_for_another_one_may_still_have_taken_the_key_of_a_lease() {
    let story = |first: Request| {
        let granted = Response::LeaseGrant { id: 7, ttl: 60 };
        let grant = Request::LeaseGrant { id: 7, ttl: 60 };
        Story::new()
            .opened(0, 1)
            .ok(1, (1, 2), grant, (1, granted))
            .put(1, (3, 4), ("a", "1"), 2)
            .events(0, 5, 2, &[seen(kv("a", "1", 2))])
            .unknown(2, (10, 20), first)
            .unknown(3, (11, 20), delete_range("a", "c"))
            .events(0, 30, 3, &[gone("a", 3)])
            .ok(1, (40, 41), leased("a", "2", 7), (4, Response::Put {}))
            .put(1, (42, 43), ("b", "1"), 5)
            .events(0, 44, 5, &[seen(held("a", "2", 4)), seen(kv("b", "1", 5))])
            .events(0, 60, 6, &[gone("a", 6)])
            .ok(4, (70, 71), get("b"), (6, found(&[kv("b", "1", 5)])))
    };
    // The range was deleted first, and the key alone when it had a lease.
    story(delete("a")).passes("linearizable");
    story(delete("a")).passes("leases");
    // Only the range is left, which would have taken b along.
    story(delete("c")).violates("leases", "lease 7 was gone");
}

#[test]
fn a_lost_transaction_that_deletes_may_have_left_more_than_a_lease_does() {
    let story = |mark: &str| {
        let keep = Request::LeaseKeepAlive { id: 7 };
        let kept = (3, Response::LeaseKeepAlive { ttl: 60 });
        attached(narrow(Story::new(), 0, 1), &["b"], true)
            .unknown(2, (10, 20), txn(vec![delete("b"), put(mark, "2")]))
            .events(0, 12, 3, &[gone("b", 3)])
            .ok(1, (30, 31), keep, kept)
    };
    story("x").proves_nothing("leases", "the replay ended early");
    story("x").passes("linearizable");
    // Its mark was overwritten before anyone read it.
    let marked = |create, versions| version("x", "3", (create, 4, versions));
    let overwritten = |kv: KeyValue| {
        story("x")
            .put(3, (40, 41), ("x", "3"), 4)
            .ok(3, (42, 43), get("x"), (4, found(&[kv])))
    };
    overwritten(marked(3, 2)).passes("linearizable");
    // It did not happen then, and the lease was not due.
    overwritten(marked(4, 1)).violates("linearizable", "nothing tells what made revision 3");
    overwritten(marked(2, 2)).violates("linearizable", "nothing tells what made revision 3");
    // A mark that is watched would have been seen.
    story("ba").violates("leases", "lease 7 was gone");
}

#[test]
fn an_etcd_that_was_used_before_and_not_read_proves_nothing() {
    // It was at revision 100, and k was created at 50.
    let story = |story: Story| {
        let read = (101, found(&[version("k", "a", (50, 101, 2))]));
        let story = story.put(1, (1, 2), ("k", "a"), 101);
        story.ok(1, (3, 4), get("k"), read)
    };
    let told = |watched: bool| match watched {
        true => {
            let event = seen(version("k", "a", (50, 101, 2)));
            story(Story::new().opened(0, 101)).events(0, 5, 101, &[event])
        }
        false => story(Story::new()),
    };
    let words = "the store was at revision 100 when the run began, and no range was read";
    for watched in [true, false] {
        told(watched).proves_nothing("linearizable", words);
        let records = told(watched).history().records.into_iter();
        let records = records.map(Ok::<_, std::convert::Infallible>);
        let Ok(verdict) = crate::check::stream(records);
        inconclusive(&verdict, words);
    }
    // What was there before was written by others, and their leases may end.
    let old = [kv("j", "0", 50), version("k", "a", (50, 101, 2))];
    told(false)
        .dump(9, "etcd-0", (101, &old))
        .passes("durability");
    told(true).progress(0, 9, 102).passes("watch");
    told(true)
        .progress(0, 9, 202)
        .violates("watch", "clients cannot have made more than 200");
    // Of reads that may be old nothing else is known.
    let old = (100, found(&[kv("j", "0", 50)]));
    Story::new()
        .ok(1, (1, 2), local_get("j"), old)
        .proves_nothing("linearizable", "the store was at revision 100");
    // A new one of which the first write was lost.
    let lost = Story::new().unknown(2, (1, 2), put("c", "0"));
    let lost = lost.put(1, (1, 2), ("k", "a"), 3);
    lost.passes("linearizable");
    Story::new()
        .put(1, (1, 2), ("k", "a"), 3)
        .proves_nothing("linearizable", "the store was at revision 2");
}

#[test]
fn a_first_write_that_was_lost_where_no_one_watched_is_part_of_the_run() {
    // It made revision 2, and the watcher asks for what comes behind it.
    let story = |left: KeyValue| {
        let new = version("a", "2", (2, 3, 2));
        Story::new()
            .opened(0, 3)
            .unknown(1, (1, 2), put("a", "1"))
            .put(2, (3, 4), ("a", "2"), 3)
            .events(0, 5, 3, &[seen(new)])
            .ok(2, (6, 7), get("a"), (3, found(&[left])))
    };
    story(version("a", "2", (2, 3, 2))).passes("linearizable");
    story(kv("a", "2", 3)).violates("linearizable", "nothing tells what made revision 2");
}
