//! Watches to their ends, compaction and future errors, members that go back, and looks at the end.

use crate::check::Expectations;
use crate::check::test_support::*;
use crate::record::{Outcome, Request, Response, WatchEvent};

fn opened_at(story: Story, watcher: u32, t: i64, start_revision: i64) -> Story {
    let (key, range_end) = ("a".into(), "z".into());
    let event = WatchEvent::Opened {
        key,
        range_end,
        start_revision,
    };
    story.watch(watcher, t, event)
}

fn written() -> Story {
    Story::new()
        .opened(0, 1)
        .put(1, (1, 2), ("a", "1"), 2)
        .put(1, (3, 4), ("b", "2"), 3)
        .events(0, 5, 3, &[seen(kv("a", "1", 2)), seen(kv("b", "2", 3))])
}

fn range(serializable: bool, revision: i64) -> Request {
    Request::Range {
        key: "a".into(),
        range_end: None,
        limit: 0,
        serializable,
        revision,
    }
}

fn refused(story: Story, (from, to): (i64, i64), request: Request, class: &str) -> Story {
    let (class, message) = (class.to_owned(), String::new());
    story.op(7, (from, to), request, Outcome::Failed { class, message })
}

#[test]
fn a_watch_on_the_future_is_told_nothing_of_the_past() {
    let future = |revision| opened_at(written(), 1, 6, 50).progress(1, 9, revision);
    future(2).violates("watch", "promised revision 2, it was to begin at 50");
    // What is resumed may be told at once that nothing has come since.
    opened_at(written(), 1, 6, 4)
        .progress(1, 9, 3)
        .passes("watch");
    opened_at(written(), 1, 6, 5)
        .progress(1, 9, 3)
        .violates("watch", "it was to begin at 5");
}

#[test]
fn a_watch_is_cancelled_as_compacted_when_somebody_compacted() {
    let cancelled = |story: Story| {
        let (compact_revision, reason) = (3, String::new());
        let event = WatchEvent::Cancelled {
            compact_revision,
            reason,
        };
        opened_at(story, 1, 20, 1).watch(1, 21, event)
    };
    let compact = Request::Compact { revision: 3 };
    cancelled(written()).violates("watch", "no client had compacted further than 0");
    cancelled(written().ok(2, (8, 9), compact.clone(), (3, Response::Compact {}))).passes("watch");
    cancelled(written().unknown(2, (8, 9), compact.clone())).passes("watch");
    cancelled(written().unknown(2, (30, 31), compact)).violates("watch", "no client had compacted");
    cancelled(written().unknown(2, (8, 9), Request::Compact { revision: 2 }))
        .violates("watch", "no client had compacted further than 2");
}

#[test]
fn an_event_that_no_watcher_was_told_of_is_missing() {
    let all = Request::Delete {
        key: "a".into(),
        range_end: Some("c".into()),
    };
    let end = |story: Story| {
        story
            .put(1, (8, 9), ("d", "3"), 5)
            .events(0, 10, 5, &[seen(kv("d", "3", 5))])
    };
    end(written().ok(1, (6, 7), all, (4, Response::Delete { deleted: 2 })))
        .violates("watch", "a at revision 4 is missing before revision 5");
    // The keys of a lease that was revoked.
    let revoke = (4, Response::LeaseRevoke {});
    let held = Story::new()
        .opened(0, 1)
        .put(1, (1, 2), ("a", "1"), 2)
        .ok(1, (3, 4), leased("b", "2", 7), (3, Response::Put {}))
        .ok(1, (5, 6), Request::LeaseRevoke { id: 7 }, revoke)
        .progress(0, 10, 4);
    held.violates("watch", "promised that all up to 4 had come");
}

#[test]
fn a_stream_that_lives_goes_on() {
    let late = || written().put(1, (10, 11), ("c", "3"), 4);
    let end = |story: Story, t: i64| story.ok(2, (t, t + 1), get("x"), (4, found(&[])));
    end(late(), 60_000).violates("watch", "had not delivered c at revision 4");
    end(late(), 1_000).passes("watch");
    // Something was done to the cluster, or the stream said that it is over.
    end(late().fault(1_000, 56_000), 60_000).passes("watch");
    let broken = WatchEvent::Broken {
        message: String::new(),
    };
    end(late().watch(0, 3_000, broken), 60_000).passes("watch");
    // It is behind, but has received no event that it asked for.
    let other = written().put(1, (10, 11), ("zz", "3"), 4);
    end(other, 60_000).passes("watch");
    // A second stream of the same watcher that is dead from the beginning.
    end(opened_at(late(), 1, 20, 4), 60_000).violates("watch", "had not delivered c");
}

#[test]
fn a_refusal_names_what_was_true_when_it_was_asked() {
    let compact = |story: Story, t, revision| {
        let request = Request::Compact { revision };
        story.ok(2, (t, t + 1), request, (3, Response::Compact {}))
    };
    let early = refused(written(), (10, 11), range(false, 2), "compacted");
    compact(early, 20, 3).violates("reads", "no client compacted further than 0 by then");
    let overlapping = refused(written(), (10, 30), range(false, 2), "compacted");
    compact(overlapping, 20, 3).passes("reads");
    let txn = Request::Txn {
        compare: Vec::new(),
        then: vec![put("c", "9"), range(false, 2)],
        otherwise: Vec::new(),
    };
    let at_two = || compact(written(), 10, 2);
    refused(at_two(), (20, 21), txn.clone(), "compacted").violates("reads", "further than 2");
    refused(compact(written(), 10, 3), (20, 21), txn, "compacted").passes("reads");
    // To compact to the same revision again is refused, to the next one is not.
    let again = |revision| {
        refused(
            at_two(),
            (20, 21),
            Request::Compact { revision },
            "compacted",
        )
    };
    again(2).passes("reads");
    again(3).violates("reads", "further than 2");
    // Of the future is what no client has seen.
    refused(written(), (10, 11), range(false, 4), "future_revision").passes("reads");
    refused(written(), (10, 11), range(false, 3), "future_revision")
        .violates("reads", "revision 3 was there");
    refused(written(), (10, 11), range(true, 3), "future_revision").passes("reads");
}

#[test]
fn a_member_goes_back_for_nobody() {
    let story = |second: u32| {
        written()
            .ok(2, (10, 11), local_get("x"), (3, found(&[])))
            .ok(second, (20, 21), local_get("x"), (2, found(&[])))
    };
    story(2).violates("reads", "went back from revision 3 to 2");
    story(3).violates("reads", "went back from revision 3 to 2");
    story(3).fault(12, 13).passes("reads");
    let status = |t| {
        let sampled = written().sample_with(t, ("etcd-0", "a"), |status| status.revision = 3);
        sampled.ok(2, (20, 21), local_get("x"), (2, found(&[])))
    };
    status(10).violates("reads", "went back from revision 3 to 2: its status");
    status(20).passes("reads");
}

#[test]
fn a_look_shows_what_there_was_at_its_revision() {
    let old = [kv("a", "1", 2)];
    let new = [kv("a", "1", 2), kv("b", "2", 3)];
    let three = Expectations {
        members: 3,
        ..small()
    };
    let looks = |last: (i64, &[crate::record::KeyValue])| {
        let story = written()
            .dump(10, "etcd-0", (3, &new))
            .dump(11, "etcd-1", (3, &new));
        story.dump(12, "etcd-2", last).verdict("durability", &three)
    };
    assert!(looks((3, &new)).passed());
    inconclusive(
        &looks((2, &old)),
        "not yet at revision 3: member etcd-2 at 2",
    );
    violates(&looks((2, &[])), "has lost a");
    violates(&looks((2, &new)), "which is after the look");
    violates(&looks((3, &old)), "has lost b");
    // One member that is behind says nothing of those that were not looked at.
    let alone = written()
        .dump(12, "etcd-2", (2, &old))
        .verdict("durability", &three);
    inconclusive(&alone, "not yet at revision 3");
    let phantom = [kv("a", "1", 2), kv("b", "2", 3), kv("k", "?", 3)];
    violates(&looks((3, &phantom)), "which is not there at that revision");
    let other = [kv("a", "1", 2), version("b", "2", (2, 3, 2))];
    violates(&looks((3, &other)), "which is not how it was left");
}
