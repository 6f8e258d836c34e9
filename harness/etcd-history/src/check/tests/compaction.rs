//! etcd that compacts by itself: what it may refuse as compacted, by what it is told to keep.

use crate::check::test_support::*;
use crate::check::{AutoCompaction, Expectations, Verdict};
use crate::record::{KeyEvent, Request, Response, WatchEvent};

/// Revisions 2 to 11 of one key, a second apart: revision 2 at 1 s, 11 at 10 s.
fn written() -> Story {
    (2..12).fold(Story::new().opened(0, 1), |story, revision: i64| {
        let (t, value) = ((revision - 1) * 1_000, revision.to_string());
        let put = version("a", &value, (2, revision, revision - 1));
        story
            .put(1, (t, t + 1), ("a", &value), revision)
            .events(0, t + 2, revision, &[seen(put)])
    })
}

fn judge(story: Story, check: &str, auto_compaction: Option<AutoCompaction>) -> Verdict {
    let expectations = Expectations {
        auto_compaction,
        ..small()
    };
    story.verdict(check, &expectations)
}

fn seconds(seconds: u64) -> Option<AutoCompaction> {
    let retention_ms = seconds * 1_000;
    Some(AutoCompaction::Periodic { retention_ms })
}

fn revisions(retention: u64) -> Option<AutoCompaction> {
    Some(AutoCompaction::Revision { retention })
}

#[test]
fn a_revision_may_be_compacted_once_what_came_behind_it_is_older_than_what_is_kept() {
    let read = |revision, keeps| {
        let read = written().failed(7, (10_500, 10_501), get_at("a", revision));
        judge(read, "reads", keeps)
    };
    // Three seconds ago, at 7.5 s, the newest revision was 8.
    assert!(read(7, seconds(3)).passed());
    let told = "no client compacted further than 0 by then, and etcd by itself no further than 8";
    violates(&read(8, seconds(3)), told);
    violates(
        &read(2, seconds(60)),
        "and etcd by itself no further than 1",
    );
    // Four revisions are kept in front of the newest one, which is 11.
    assert!(read(6, revisions(4)).passed());
    violates(
        &read(7, revisions(4)),
        "and etcd by itself no further than 7",
    );
    // Where nothing says that it compacts, clients alone do.
    let verdict = read(2, None);
    violates(&verdict, "no client compacted further than 0 by then");
    assert!(!verdict.explanation().contains("by itself"), "{verdict:?}");
}

#[test]
fn a_client_may_find_compacted_what_it_wants_to_compact() {
    let compact = |revision, keeps| {
        let request = Request::Compact { revision };
        judge(
            written().failed(7, (10_500, 10_501), request),
            "reads",
            keeps,
        )
    };
    assert!(compact(8, seconds(3)).passed());
    violates(
        &compact(9, seconds(3)),
        "and etcd by itself no further than 8",
    );
    violates(&compact(8, None), "was refused as compacted");
}

#[test]
fn what_is_old_enough_may_be_served_and_what_is_compacted_by_a_client_may_not() {
    let served = |story: Story| {
        let old = found(&[version("a", "3", (2, 3, 2))]);
        story.ok(7, (10_500, 10_501), get_at("a", 3), (11, old))
    };
    assert!(judge(served(written()), "reads", seconds(3)).passed());
    let compact = Request::Compact { revision: 5 };
    let compacted = written().ok(2, (10_100, 10_101), compact, (11, Response::Compact {}));
    let told = "read a revision that was compacted (to 5)";
    violates(&judge(served(compacted), "reads", seconds(3)), told);
}

#[test]
fn what_a_lost_write_may_have_made_counts_for_the_newest_revision() {
    let read = |revision| {
        let lost = written().unknown(2, (10_200, 10_300), put("b", "?"));
        let read = lost.failed(7, (10_500, 10_501), get_at("a", revision));
        judge(read, "reads", revisions(4))
    };
    assert!(read(7).passed());
    violates(&read(8), "and etcd by itself no further than 8");
}

#[test]
fn a_watch_may_be_cancelled_where_etcd_can_have_compacted_by_itself() {
    let cancelled = |compact_revision, keeps| {
        let opened = WatchEvent::Opened {
            key: "a".into(),
            range_end: "z".into(),
            start_revision: 2,
        };
        let cancelled = WatchEvent::Cancelled {
            compact_revision,
            reason: String::new(),
        };
        let story = written().watch(1, 10_400, opened);
        judge(story.watch(1, 10_500, cancelled), "watch", keeps)
    };
    assert!(cancelled(8, seconds(3)).passed());
    let told = "no client had compacted further than 0, and etcd by itself no further than 8";
    violates(&cancelled(9, seconds(3)), told);
    assert!(cancelled(7, revisions(4)).passed());
    violates(&cancelled(8, revisions(4)), "no further than 7");
    violates(
        &cancelled(3, None),
        "no client had compacted further than 0",
    );
}

#[test]
fn a_previous_key_may_be_left_out_where_etcd_can_have_compacted_it_by_itself() {
    let told = |keeps| {
        let of = |revision: i64| version("a", &revision.to_string(), (2, revision, revision - 1));
        let event = |revision, prev| KeyEvent::Put {
            kv: of(revision),
            prev,
        };
        let opened = WatchEvent::Opened {
            key: "a".into(),
            range_end: "z".into(),
            start_revision: 10,
        };
        // Revision 9, in front of 10, is not told any more.
        let events = WatchEvent::Events {
            revision: 11,
            events: vec![event(10, None), event(11, Some(of(10)))],
            fragment: false,
        };
        let story = written().watch(1, 10_400, opened);
        judge(story.watch(1, 10_500, events), "watch", keeps)
    };
    assert!(told(revisions(1)).passed());
    violates(
        &told(revisions(2)),
        "received a at revision 10 without the key before it",
    );
    violates(
        &told(None),
        "received a at revision 10 without the key before it",
    );
}
