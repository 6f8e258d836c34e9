//! What etcd may refuse as compacted: by what it is told to keep where it compacts by itself, by what clients asked
//! for, and by what was before the run.

use crate::check::test_support::*;
use crate::check::{self, AutoCompaction, Expectations, Verdict};
use crate::record::{KeyEvent, Outcome, Record, Request, Response, WatchEvent};

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

fn opened_at(start_revision: i64) -> WatchEvent {
    WatchEvent::Opened {
        key: "a".into(),
        range_end: "z".into(),
        start_revision,
    }
}

fn cancelled_at(compact_revision: i64) -> WatchEvent {
    WatchEvent::Cancelled {
        compact_revision,
        reason: String::new(),
    }
}

/// A client has compacted to a revision, at 10.2 s.
fn compacted(revision: i64) -> Story {
    let answer = (11, Response::Compact {});
    written().ok(7, (10_200, 10_201), Request::Compact { revision }, answer)
}

#[test]
fn a_watch_is_not_cancelled_because_of_what_it_was_told() {
    let cancelled = |told: i64| {
        let of = |revision: i64| version("a", &revision.to_string(), (2, revision, revision - 1));
        let events: Vec<KeyEvent> = (2..=told).map(|revision| seen(of(revision))).collect();
        compacted(9)
            .watch(1, 10_300, opened_at(1))
            .events(1, 10_400, 11, &events)
            .watch(1, 10_500, cancelled_at(9))
    };
    cancelled(7).passes("watch");
    cancelled(8).violates("watch", "yet it had been told up to revision 8");
    cancelled(9).violates("watch", "yet it had been told up to revision 9");
    // None of its own keys was changed: a member that is sent a snapshot looks at it from its start again.
    let narrow = WatchEvent::Opened {
        key: "x".into(),
        range_end: "y".into(),
        start_revision: 1,
    };
    compacted(9)
        .watch(1, 10_300, narrow)
        .progress(1, 10_400, 11)
        .watch(1, 10_500, cancelled_at(9))
        .passes("watch");
}

#[test]
fn what_was_compacted_before_the_run_is_refused() {
    // The store is at revision 50 when the run begins.
    let all = Request::Range {
        key: "a".into(),
        range_end: Some("z".into()),
        limit: 0,
        serializable: false,
        revision: 0,
    };
    let used = || {
        Story::new()
            .ok(1, (1, 2), all.clone(), (50, found(&[kv("a", "1", 50)])))
            .put(1, (3, 4), ("b", "2"), 51)
    };
    let watched = |compact_revision: i64| {
        used()
            .watch(0, 5, opened_at(1))
            .watch(0, 6, cancelled_at(compact_revision))
            .stream((0, 1), 7, opened_at(compact_revision))
            .stream(
                (0, 1),
                8,
                WatchEvent::Events {
                    revision: 51,
                    events: vec![seen(kv("a", "1", 50)), seen(kv("b", "2", 51))],
                    fragment: false,
                },
            )
    };
    watched(40).passes("watch");
    watched(50).passes("watch");
    let told = "cancelled as compacted to 51, no client had compacted further than 0";
    watched(51).violates("watch", told);
    let read = |revision| used().failed(2, (10, 11), get_at("a", revision));
    read(30).passes("reads");
    read(50).violates("reads", "no client compacted further than 0 by then");
}

#[test]
fn a_hash_is_of_what_may_have_been_compacted() {
    let hashed = |story: Story, to: i64| {
        let mut history = story.hash("etcd-0", 11, 1).history();
        for record in &mut history.records {
            if let Record::Hash(hash) = record {
                (hash.t, hash.compact_revision) = (ms(10_300), to);
            }
        }
        history.records.sort_by_key(Record::time);
        one(check::all(&history, &small()), "reads")
    };
    assert!(hashed(written(), 0).passed());
    assert!(hashed(compacted(9), 9).passed());
    assert!(hashed(compacted(9), 0).passed());
    let told = "the hash of etcd-0 at revision 11 says that it is compacted to 9, no client had compacted further";
    violates(&hashed(written(), 9), told);
    violates(
        &hashed(compacted(8), 9),
        "no client had compacted further than 8",
    );
    violates(
        &hashed(compacted(9), 12),
        "compacted to 12, which is behind it",
    );
}

#[test]
fn what_names_no_revision_is_hardly_refused_because_of_one() {
    let refused = |story: Story, request: Request| story.failed(8, (10_500, 10_700), request);
    let unasked = "was refused as compacted, and asks for no revision";
    refused(compacted(9), put("b", "x")).violates("reads", unasked);
    refused(compacted(9), delete("a")).violates("reads", unasked);
    // The newest revision is compacted only while it is read, or by a member that is behind.
    let told = "was refused as compacted, no client compacted further than 0";
    refused(written(), get("a")).violates("reads", told);
    refused(written(), local_get("a")).violates("reads", told);
    let told = "was refused as compacted, no client compacted further than 9";
    refused(compacted(9), get("a")).violates("reads", told);
    refused(compacted(9), local_get("a")).passes("reads");
    let next = Request::Compact { revision: 12 };
    let meanwhile = written()
        .unknown(7, (10_510, 10_690), next)
        .put(1, (10_520, 10_530), ("b", "12"), 12)
        .events(0, 10_540, 12, &[seen(kv("b", "12", 12))]);
    refused(meanwhile, get("a")).passes("reads");
    let future = |request: Request| {
        let (class, message) = ("future_revision".into(), String::new());
        written().op(
            8,
            (10_500, 10_700),
            request,
            Outcome::Failed { class, message },
        )
    };
    let unasked = "was refused as of the future, and asks for no revision";
    future(put("b", "x")).violates("reads", unasked);
    future(get_at("a", 40)).passes("reads");
}

#[test]
fn a_new_etcd_is_compacted_to_revision_0_once() {
    let compact = |story: Story, t| {
        let request = Request::Compact { revision: 0 };
        story.ok(7, (t, t + 1), request, (11, Response::Compact {}))
    };
    let once = || compact(written(), 10_100);
    assert!(judge(once(), "reads", None).passed());
    let twice = judge(compact(once(), 10_200), "reads", None);
    violates(&twice, "compacted a revision that was compacted (to 0)");
}
