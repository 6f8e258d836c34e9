//! Writes of unknown outcome with one value: each is tried where that was seen. What no order explains is a violation.

use crate::check::Finding;
use crate::check::test_support::*;
use crate::record::{KeyValue, Request, Response, WatchEvent};

const ALIKE: &str = "writes the value of op";

#[test]
fn each_of_two_writes_of_one_value_is_tried() {
    let seen_times = |times: i64| {
        let story = Story::new()
            .opened(0, 1)
            .unknown(1, (1, 2), put("a", "1"))
            .unknown(1, (3, 4), put("a", "1"));
        let story = (1..=times).fold(story, |story, time| {
            let (t, revision) = (10 * time, 1 + time);
            let shown = version("a", "1", (2, revision, time));
            let story = story.events(0, t, revision, &[seen(shown.clone())]);
            story.ok(2, (t + 1, t + 2), get("a"), (revision, found(&[shown])))
        });
        judged(story)
    };
    for times in [1, 2] {
        let [whole, live] = seen_times(times);
        assert_eq!(whole.finding, Finding::Pass);
        inconclusive(&live, ALIKE);
    }
    let [whole, live] = seen_times(3);
    violates(&whole, "no order of the operations explains revision 4");
    inconclusive(&live, ALIKE);
}

#[test]
fn a_write_that_is_tried_again_after_it_was_seen_hides_no_violation() {
    let read = |shown: &[KeyValue]| {
        let story = Story::new()
            .opened(0, 1)
            .unknown(1, (1, 2), put("a", "1"))
            .events(0, 3, 2, &[seen(kv("a", "1", 2))])
            .unknown(1, (10, 11), put("a", "1"))
            .put(3, (20, 21), ("b", "2"), 3)
            .ok(2, (30, 31), get("b"), (3, found(shown)));
        judged(story)
    };
    for verdict in read(&[kv("b", "2", 3)]) {
        assert_eq!(verdict.finding, Finding::Pass);
    }
    for verdict in read(&[]) {
        violates(&verdict, "op 4 (get b by client 2");
    }
}

/// Lease 7 for a minute, with these keys from revision 2 on.
fn leased_keys(story: Story, keys: &[&str]) -> Story {
    let granted = Response::LeaseGrant { id: 7, ttl: 60 };
    let grant = Request::LeaseGrant { id: 7, ttl: 60 };
    let story = story.ok(1, (0, 1), grant, (1, granted));
    (2..).zip(keys).fold(story, |story, (revision, key)| {
        let (t, put) = (revision * 2, leased(key, "1", 7));
        let story = story.ok(1, (t, t + 1), put, (revision, Response::Put {}));
        story.events(0, t + 1, revision, &[seen(held(key, revision))])
    })
}

fn held(key: &str, revision: i64) -> KeyValue {
    KeyValue {
        lease: 7,
        ..kv(key, "1", revision)
    }
}

#[test]
fn two_lost_writes_of_one_value_explain_nothing_else() {
    let story = leased_keys(Story::new().opened(0, 1), &["a", "b"])
        .unknown(2, (8, 9), put("c", "2"))
        .unknown(2, (10, 11), put("c", "2"))
        .events(0, 12, 4, &[gone("a", 4)])
        .ok(3, (30, 31), get("b"), (4, found(&[held("b", 3)])));
    let [whole, live] = judged(story);
    violates(&whole, "nothing tells what made revision 4");
    violates(&live, "the store has no such key there");
}

#[test]
fn a_lost_transaction_may_have_taken_the_key_of_a_lease_though_its_value_was_left_by_another_one() {
    let story = |other: fn(Story) -> Story| {
        let opened = WatchEvent::Opened {
            key: "b".into(),
            range_end: "c".into(),
            start_revision: 1,
        };
        let lost = Request::Txn {
            compare: Vec::new(),
            then: vec![delete("b"), put("x", "2")],
            otherwise: Vec::new(),
        };
        let story = leased_keys(Story::new().watch(0, 0, opened), &["b"]);
        let story = other(story)
            .unknown(2, (8, 9), lost)
            .events(0, 12, 3, &[gone("b", 3)]);
        let shown = version("x", "2", (3, 4, 2));
        story.ok(3, (30, 31), get("x"), (4, found(&[shown])))
    };
    let others: [fn(Story) -> Story; 2] = [
        |story| story.unknown(2, (6, 7), put("x", "2")),
        |story| story.put(2, (25, 26), ("x", "2"), 4),
    ];
    for other in others {
        story(other).passes("linearizable");
        story(other).proves_nothing("leases", "the replay ended early");
    }
}

#[test]
fn no_write_is_accused_where_its_line_and_its_time_disagree() {
    let story = || {
        Story::new()
            .opened(0, 1)
            .unknown(1, (1, 2), put("a", "1"))
            .unknown(2, (20, 21), put("a", "1"))
            .events(0, 10, 2, &[seen(kv("a", "1", 2))])
            .events(0, 12, 3, &[seen(version("a", "1", (2, 3, 2)))])
            .put(3, (30, 31), ("b", "2"), 4)
    };
    // By its line the second write may have made revision 3, by its time it was called when that was there.
    let told = "the clocks of those who wrote the history disagree about op 2";
    inconclusive(&story().verdict_as_told("linearizable"), told);
    story().violates(
        "linearizable",
        "no order of the operations explains revision 3",
    );
}
