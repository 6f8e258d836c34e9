//! The checks of what clients saw, on histories written by hand.

use crate::check;
use crate::check::test_support::*;
use crate::record::{Compare, KeyEvent, Outcome, Request, Response};

#[test]
fn writes_and_reads_in_order_are_linearizable() {
    Story::new()
        .put(1, (0, 1), ("a", "1"), 2)
        .put(2, (2, 3), ("a", "2"), 3)
        .ok(
            1,
            (4, 5),
            get("a"),
            (3, found(&[version("a", "2", (2, 3, 2))])),
        )
        .passes("linearizable");
}

#[test]
fn overlapping_reads_may_see_either_side_of_a_write() {
    Story::new()
        .put(1, (0, 1), ("a", "1"), 2)
        .put(1, (2, 9), ("a", "2"), 3)
        .ok(
            2,
            (3, 4),
            get("a"),
            (3, found(&[version("a", "2", (2, 3, 2))])),
        )
        .ok(3, (3, 8), get("a"), (2, found(&[kv("a", "1", 2)])))
        .passes("linearizable");
}

#[test]
fn a_read_older_than_a_finished_write_is_stale() {
    Story::new()
        .put(1, (0, 1), ("a", "1"), 2)
        .put(1, (2, 3), ("a", "2"), 3)
        .ok(2, (4, 5), get("a"), (2, found(&[kv("a", "1", 2)])))
        .violates(
            "linearizable",
            "had happened by 0.003000 s, before it was called",
        );
}

#[test]
fn a_read_may_not_show_what_its_revision_does_not_have() {
    Story::new()
        .put(1, (0, 1), ("a", "1"), 2)
        .ok(2, (4, 5), get("a"), (2, found(&[])))
        .violates("linearizable", "the store has a = 1");
}

#[test]
fn two_writes_may_not_share_a_revision() {
    Story::new()
        .put(1, (0, 1), ("a", "1"), 2)
        .put(2, (0, 1), ("b", "2"), 2)
        .violates("linearizable", "both made the same revision");
}

#[test]
fn an_unknown_write_that_a_watcher_saw_counts() {
    let story = || {
        Story::new()
            .opened(0, 1)
            .put(1, (0, 1), ("a", "1"), 2)
            .unknown(2, (2, 3), put("a", "2"))
    };
    let event = seen(version("a", "2", (2, 3, 2)));
    story()
        .events(0, 9, 3, &[seen(kv("a", "1", 2)), event.clone()])
        .ok(
            1,
            (10, 11),
            get("a"),
            (3, found(&[version("a", "2", (2, 3, 2))])),
        )
        .passes("linearizable");
    story()
        .events(0, 9, 3, &[seen(kv("a", "1", 2)), event])
        .ok(1, (10, 11), get("a"), (2, found(&[kv("a", "1", 2)])))
        .put(1, (12, 13), ("b", "3"), 4)
        .violates("linearizable", "had happened by");
}

#[test]
fn an_unknown_write_that_happens_twice_is_a_violation() {
    Story::new()
        .opened(0, 1)
        .unknown(1, (0, 1), put("a", "1"))
        .events(
            0,
            9,
            3,
            &[seen(kv("a", "1", 2)), seen(version("a", "1", (2, 3, 2)))],
        )
        .ok(
            2,
            (10, 11),
            get("a"),
            (3, found(&[version("a", "1", (2, 3, 2))])),
        )
        .violates("linearizable", "it happened twice, at revisions 2 and 3");
}

#[test]
fn a_failed_write_that_a_watcher_saw_is_a_violation() {
    Story::new()
        .opened(0, 1)
        .failed(1, (0, 1), put("a", "1"))
        .events(0, 9, 2, &[seen(kv("a", "1", 2))])
        .violates(
            "linearizable",
            "it failed for certain, yet at revision 2 a watcher saw it",
        );
}

#[test]
fn a_watcher_may_not_see_a_write_before_its_call() {
    Story::new()
        .opened(0, 1)
        .put(1, (5, 6), ("a", "1"), 2)
        .events(0, 3, 2, &[seen(kv("a", "1", 2))])
        .violates("linearizable", "had happened by 0.003000 s");
}

#[test]
fn transactions_take_the_branch_of_their_compares() {
    let swap = |revision| Request::Txn {
        compare: vec![Compare::ModRevision {
            key: "a".into(),
            revision,
        }],
        then: vec![put("a", "2"), get("a")],
        otherwise: vec![get("a")],
    };
    let swapped = found(&[version("a", "2", (2, 3, 2))]);
    let succeeded = Response::Txn {
        succeeded: true,
        responses: vec![Response::Put {}, swapped],
    };
    let story = || Story::new().put(1, (0, 1), ("a", "1"), 2);
    story()
        .ok(1, (2, 3), swap(2), (3, succeeded.clone()))
        .passes("linearizable");
    story()
        .ok(1, (2, 3), swap(7), (3, succeeded))
        .violates("linearizable", "the compares do not hold there");
}

#[test]
fn a_transaction_in_a_transaction_is_judged_by_no_check() {
    let txn = |compare, then| Request::Txn {
        compare,
        then,
        otherwise: Vec::new(),
    };
    let done = |responses| Response::Txn {
        succeeded: true,
        responses,
    };
    // etcd decides the inner compare before the put in front of it.
    let absent = Compare::Version {
        key: "a".into(),
        version: 0,
    };
    let inner = txn(vec![absent], vec![put("b", "2")]);
    let request = txn(Vec::new(), vec![put("a", "1"), inner]);
    let answer = done(vec![Response::Put {}, done(vec![Response::Put {}])]);
    let history = Story::new().ok(1, (1, 2), request, (2, answer)).history();
    let verdicts = check::all(&history, &small());
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    let told = "then[1] of a transaction is a txn, which no check models";
    inconclusive(&verdicts[0], told);
    inconclusive(&check::linearizable(&history), told);
    let records = history.records.into_iter().map(Ok::<_, ()>);
    inconclusive(&check::stream(records).expect("no reader"), told);
}

#[test]
fn a_delete_that_finds_nothing_makes_no_revision() {
    let nothing = Response::Delete { deleted: 0 };
    let story = || Story::new().put(1, (0, 1), ("a", "1"), 2);
    story()
        .ok(1, (2, 3), delete("b"), (2, nothing.clone()))
        .passes("linearizable");
    story()
        .ok(1, (2, 3), delete("a"), (2, nothing))
        .violates("linearizable", "deletes 1 keys there");
}

#[test]
fn a_lease_that_ends_takes_its_keys_in_one_revision() {
    let held = |key, revision| KeyEvent::Put {
        kv: crate::record::KeyValue {
            lease: 7,
            ..kv(key, key, revision)
        },
        prev: None,
    };
    let story = || {
        Story::new()
            .opened(0, 1)
            .ok(1, (0, 1), leased("a", "a", 7), (2, Response::Put {}))
            .ok(1, (1, 2), leased("b", "b", 7), (3, Response::Put {}))
            .events(0, 3, 3, &[held("a", 2), held("b", 3)])
    };
    story()
        .events(0, 9, 4, &[gone("a", 4), gone("b", 4)])
        .passes("linearizable");
    story()
        .events(0, 9, 4, &[gone("a", 4)])
        .ok(2, (10, 11), get("a"), (4, found(&[])))
        .violates("linearizable", "no order");
}

#[test]
fn reads_of_an_older_revision_show_that_revision() {
    let story = || {
        Story::new()
            .put(1, (0, 1), ("a", "1"), 2)
            .put(1, (2, 3), ("a", "2"), 3)
    };
    story()
        .ok(2, (4, 5), get_at("a", 2), (3, found(&[kv("a", "1", 2)])))
        .passes("linearizable");
    story()
        .ok(
            2,
            (4, 5),
            get_at("a", 2),
            (3, found(&[version("a", "2", (2, 3, 2))])),
        )
        .violates("linearizable", "at revision 2");
}

#[test]
fn nothing_acknowledged_is_inconclusive() {
    Story::new()
        .unknown(1, (0, 1), put("a", "1"))
        .proves_nothing("linearizable", "no operation was acknowledged");
}

#[test]
fn serializable_reads_may_be_old_but_not_untrue() {
    let story = || {
        Story::new()
            .put(1, (0, 1), ("a", "1"), 2)
            .put(1, (2, 3), ("a", "2"), 3)
    };
    // Of a member that acknowledged neither write.
    let read = |response| {
        let (revision, term, member) = (2, 2, "b".to_owned());
        let answer = Outcome::Ok {
            revision,
            term,
            member,
            response,
        };
        story().op(2, (4, 5), local_get("a"), answer)
    };
    read(found(&[kv("a", "1", 2)])).passes("reads");
    read(found(&[])).violates("reads", "the store has a = 1");
}

#[test]
fn a_member_does_not_go_back_behind_what_it_acknowledged_itself() {
    let old = || (2, found(&[kv("a", "1", 2)]));
    let story = |t| {
        let story = Story::new().put(1, (0, 1), ("a", "1"), 2);
        story
            .put(1, (2, 3), ("a", "2"), 3)
            .ok(2, (t, t + 1), local_get("a"), old())
    };
    story(4).violates(
        "reads",
        "member a went back from revision 3 to 2: op 2 (put a = 2",
    );
    // It was called before the answer, or something happened to the member meanwhile.
    story(3).passes("reads");
    story(10).fault(5, 6).passes("reads");
    // A read that saw the write binds it as well.
    let new = (3, found(&[version("a", "2", (2, 3, 2))]));
    let read = Story::new()
        .put(1, (0, 1), ("a", "1"), 2)
        .put(1, (2, 90), ("a", "2"), 3)
        .ok(2, (4, 5), get("a"), new)
        .ok(3, (6, 7), local_get("a"), old());
    read.violates(
        "reads",
        "member a went back from revision 3 to 2: op 3 (get a",
    );
}

#[test]
fn a_member_does_not_go_back_for_one_client() {
    let story = || {
        Story::new()
            .put(1, (0, 1), ("a", "1"), 2)
            .put(1, (2, 3), ("a", "2"), 3)
            .ok(2, (4, 5), local_get("b"), (3, found(&[])))
            .ok(2, (6, 7), local_get("b"), (2, found(&[])))
    };
    story().violates("reads", "went back from revision 3 to 2");
    story().fault(5, 6).passes("reads");
}

#[test]
fn compacted_revisions_are_refused_exactly() {
    let compact = Request::Compact { revision: 3 };
    let story = || {
        Story::new()
            .put(1, (0, 1), ("a", "1"), 2)
            .put(1, (2, 3), ("a", "2"), 3)
    };
    let compacted = || story().ok(1, (4, 5), compact.clone(), (3, Response::Compact {}));
    compacted()
        .failed(2, (6, 7), get_at("a", 2))
        .passes("reads");
    compacted()
        .ok(2, (6, 7), get_at("a", 2), (3, found(&[kv("a", "1", 2)])))
        .violates("reads", "read a revision that was compacted");
    story()
        .failed(2, (6, 7), get_at("a", 2))
        .violates("reads", "no client compacted further than 0");
}

#[test]
fn the_last_acknowledged_write_is_there_in_the_end() {
    let story = || {
        Story::new()
            .put(1, (0, 1), ("a", "1"), 2)
            .put(1, (2, 3), ("a", "2"), 3)
    };
    let new = version("a", "2", (2, 3, 2));
    story().dump(9, "etcd-0", (3, &[new])).passes("durability");
    story()
        .dump(9, "etcd-0", (3, &[kv("a", "1", 2)]))
        .violates("durability", "has lost a");
    story()
        .dump(9, "etcd-0", (3, &[]))
        .violates("durability", "it is not there and nothing deleted it");
    story()
        .dump(9, "etcd-0", (2, &[kv("a", "1", 2)]))
        .violates("durability", "every look at the end is below revision 3");
    story().proves_nothing("durability", "0 of 1 members were dumped");
}

#[test]
fn an_unknown_write_may_be_there_in_the_end_or_not() {
    let story = || {
        Story::new()
            .put(1, (0, 1), ("a", "1"), 2)
            .unknown(1, (2, 3), put("a", "2"))
    };
    story()
        .dump(9, "etcd-0", (2, &[kv("a", "1", 2)]))
        .passes("durability");
    story()
        .dump(9, "etcd-0", (3, &[version("a", "2", (2, 3, 2))]))
        .passes("durability");
    story()
        .dump(9, "etcd-0", (3, &[version("a", "3", (2, 3, 2))]))
        .violates("durability", "no client may have written");
    let deleted = || {
        Story::new()
            .put(1, (0, 1), ("a", "1"), 2)
            .unknown(1, (2, 3), delete("a"))
    };
    deleted().dump(9, "etcd-0", (3, &[])).passes("durability");
}

#[test]
fn a_dump_holds_all_that_the_store_has_at_its_revision() {
    // The write was not acknowledged, and was read.
    let read = || {
        Story::new()
            .unknown(1, (0, 1), put("k", "v"))
            .ok(2, (2, 3), get("k"), (2, found(&[kv("k", "v", 2)])))
            .put(1, (4, 5), ("x", "1"), 3)
    };
    let x = kv("x", "1", 3);
    let both = [kv("k", "v", 2), x.clone()];
    read().dump(9, "etcd-0", (3, &both)).passes("durability");
    read()
        .dump(9, "etcd-0", (3, std::slice::from_ref(&x)))
        .violates(
            "durability",
            "member etcd-0 at revision 3 is without k = v of revision 2",
        );
    // Where the delete may have happened the dump is of a later revision.
    let deleted = read().unknown(1, (6, 7), delete("k"));
    deleted
        .dump(9, "etcd-0", (4, std::slice::from_ref(&x)))
        .passes("durability");
    // A key of a lease, which goes with a revision of its own.
    let held = crate::record::KeyValue {
        lease: 7,
        ..kv("a", "1", 2)
    };
    let attached = || {
        Story::new()
            .ok(1, (0, 1), leased("a", "1", 7), (2, Response::Put {}))
            .put(1, (2, 3), ("x", "1"), 3)
    };
    let dumped = |revision, kvs: &[crate::record::KeyValue]| {
        let story = attached().dump(9, "etcd-0", (revision, kvs));
        story.verdict("durability", &small())
    };
    assert!(dumped(3, &[held, x.clone()]).passed());
    assert!(dumped(4, std::slice::from_ref(&x)).passed());
    violates(&dumped(3, &[x]), "is without a = 1 of revision 2");
}

#[test]
fn a_deleted_key_does_not_come_back() {
    let story = || {
        Story::new().put(1, (0, 1), ("a", "1"), 2).ok(
            1,
            (2, 3),
            delete("a"),
            (3, Response::Delete { deleted: 1 }),
        )
    };
    story().dump(9, "etcd-0", (3, &[])).passes("durability");
    story()
        .dump(9, "etcd-0", (3, &[kv("a", "1", 2)]))
        .violates("durability", "has lost a");
}

#[test]
fn leases_end_neither_early_nor_late() {
    let held = KeyEvent::Put {
        kv: crate::record::KeyValue {
            lease: 7,
            ..kv("a", "1", 2)
        },
        prev: None,
    };
    let story = |ends: i64| {
        Story::new()
            .opened(0, 1)
            .ok(
                1,
                (0, 1),
                Request::LeaseGrant { id: 7, ttl: 2 },
                (1, Response::LeaseGrant { id: 7, ttl: 2 }),
            )
            .ok(1, (2, 3), leased("a", "1", 7), (2, Response::Put {}))
            .events(0, 4, 2, std::slice::from_ref(&held))
            .events(0, ends, 3, &[gone("a", 3)])
    };
    story(2_100).passes("leases");
    story(1_500).violates("leases", "not due before 2.000000 s");
    story(9_000).violates("leases", "still had its keys at 9.000000 s");
    let kept = |t| {
        story(2_100).ok(
            1,
            (t, t + 1),
            Request::LeaseKeepAlive { id: 7 },
            (2, Response::LeaseKeepAlive { ttl: 2 }),
        )
    };
    kept(2_200).violates("leases", "refreshed it");
    kept(1_000).violates("leases", "not due before 3.000000 s");
}

#[test]
fn watches_are_ordered_whole_and_without_gaps() {
    let story = || {
        Story::new()
            .opened(0, 1)
            .put(1, (0, 1), ("a", "1"), 2)
            .put(1, (1, 2), ("b", "2"), 3)
            .put(1, (2, 3), ("c", "3"), 4)
    };
    let [a, b, c] = [
        seen(kv("a", "1", 2)),
        seen(kv("b", "2", 3)),
        seen(kv("c", "3", 4)),
    ];
    story()
        .events(0, 9, 3, &[a.clone(), b.clone()])
        .events(0, 9, 4, std::slice::from_ref(&c))
        .progress(0, 9, 4)
        .passes("watch");
    story()
        .events(0, 9, 4, &[a.clone(), c.clone()])
        .violates("watch", "b at revision 3 is missing before revision 4");
    story()
        .events(0, 9, 4, &[b.clone(), c.clone()])
        .violates("watch", "a at revision 2 is missing");
    story()
        .events(0, 9, 4, &[a.clone(), c.clone(), b.clone()])
        .violates("watch", "is missing");
    story()
        .events(0, 9, 4, &[a.clone(), a.clone()])
        .violates("watch", "came twice");
    story()
        .progress(0, 8, 2)
        .events(0, 9, 4, &[a, b, c])
        .violates("watch", "promised that all up to 2 had come");
    story().proves_nothing("watch", "no watcher delivered anything");
}

#[test]
fn a_revision_is_not_split_but_for_fragments() {
    use crate::record::WatchEvent;
    let story = || Story::new().opened(0, 1);
    let [a, b] = [seen(kv("a", "1", 2)), seen(kv("b", "1", 2))];
    let part = WatchEvent::Events {
        revision: 2,
        events: vec![a.clone()],
        fragment: true,
    };
    story()
        .watch(0, 8, part)
        .events(0, 9, 2, std::slice::from_ref(&b))
        .passes("watch");
    story()
        .events(0, 8, 2, &[a])
        .events(0, 9, 2, &[b])
        .violates("watch", "revision 2 has 2 events, 1 of them came");
}

fn look(key: &str, end: &str) -> Request {
    Request::Range {
        key: key.into(),
        range_end: Some(end.into()),
        limit: 0,
        serializable: false,
        revision: 0,
    }
}

#[test]
fn a_store_that_was_read_in_part_is_not_known_beyond_that() {
    let before = || found(&[kv("z", "1", 5)]);
    let narrow = |revision| {
        let story = Story::new();
        story.ok(1, (10, 11), look("a", "c"), (revision, found(&[])))
    };
    let judge = |story: Story| story.verdict("linearizable", &small());
    // One key more was read before the first write: together they tell all that the run uses.
    let both = || narrow(10).ok(1, (20, 21), get("z"), (10, before()));
    both().passes("linearizable");
    both()
        .put(1, (30, 31), ("b", "2"), 11)
        .passes("linearizable");
    let lost = both().put(1, (30, 31), ("b", "2"), 11);
    let lost = lost.ok(1, (40, 41), get("z"), (11, found(&[])));
    violates(&judge(lost), "op 4");
    // It was read afterwards, or not at all.
    let written = || narrow(10).put(1, (20, 21), ("b", "2"), 11);
    let words = "the store was at revision 10 when the run began, and not all of z was read";
    let after = || written().ok(1, (30, 31), get("z"), (11, before()));
    inconclusive(&judge(after()), words);
    inconclusive(&judge(written().put(1, (30, 31), ("z", "3"), 12)), words);
    written().passes("linearizable");
    // A store at its first revision is empty.
    let new = narrow(1).put(1, (20, 21), ("z", "1"), 2);
    new.passes("linearizable");
    // Record by record, too.
    let streamed = |story: Story| {
        let records = story.history().records.into_iter();
        let Ok(verdict) = crate::check::stream(records.map(Ok::<_, std::convert::Infallible>));
        verdict
    };
    inconclusive(
        &streamed(after()),
        "not all of z was read before the first write",
    );
    assert!(streamed(written()).passed(), "{:?}", streamed(written()));
}
