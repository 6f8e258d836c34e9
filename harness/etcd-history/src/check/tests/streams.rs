//! Watches to their ends, compaction and future errors, members that go back, and looks at the end.

use crate::check::Expectations;
use crate::check::test_support::*;
use crate::record::{KeyEvent, KeyValue, Outcome, Request, Response, WatchEvent};

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
fn what_the_operator_compacts_to_make_room_is_no_clients_compaction() {
    let story = |name: &str, compact_revision| {
        let reason = String::new();
        let event = WatchEvent::Cancelled {
            compact_revision,
            reason,
        };
        let story = opened_at(written(), 1, 20, 1).watch(1, 21, event);
        story.fault_named((name, "etcd-0"), 10, 30)
    };
    story("fill_quota", 3).passes("watch");
    story("kill_process", 3).violates("watch", "no client had compacted further than 0");
    story("fill_quota", 9).violates("watch", "it named revision 9, clients cannot have made");
}

#[test]
fn a_revision_that_a_fault_made_exists() {
    let told = |story: Story| story.progress(1, 40, 10);
    told(opened_at(written(), 1, 6, 4)).violates("watch", "clients cannot have made more than");
    told(opened_at(written(), 1, 6, 4).fault_wrote(30, &[4, 5, 6, 7, 8, 9, 10])).passes("watch");
}

#[test]
fn an_event_of_the_last_revision_that_there_can_be_is_no_panic() {
    let event = seen(kv("k", "a", i64::MAX));
    Story::new()
        .opened(1, 1)
        .events(1, 20, i64::MAX, &[event])
        .verdict("watch", &small());
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
fn a_stream_ends_with_the_client_that_was_killed() {
    let all = [
        seen(kv("a", "1", 2)),
        seen(kv("b", "2", 3)),
        seen(kv("c", "3", 4)),
    ];
    // The next client's watcher sees everything; the run lasts until a minute.
    let end = |story: Story, t: i64| {
        let story = opened_at(story.restarted(t), 10_000, t + 1, 1);
        let story = story.events(10_000, t + 20, 4, &all);
        story.ok(9, (60_000, 60_001), get("x"), (4, found(&[])))
    };
    let late = |t: i64| written().put(8, (t, t + 1), ("c", "3"), 4);
    // Written by the second client, and by the first one just before it was killed.
    end(late(3_010), 3_000).passes("watch");
    end(late(1_000), 3_000).passes("watch");
    end(late(1_000), 30_000).passes("watch");
    // While the first one still wrote lines its stream was silent for too long.
    let told = "watcher 0 on etcd-0 (stream 0) had not delivered c at revision 4 by 7.000000 s";
    let alive = late(1_000).ok(7, (6_999, 7_000), get("x"), (4, found(&[])));
    end(alive, 30_000).violates("watch", told);
    // The next client's own stream is held to it.
    let silent = opened_at(late(1_000).restarted(3_000), 10_000, 3_001, 4);
    let silent = silent.ok(9, (60_000, 60_001), get("x"), (4, found(&[])));
    silent.violates(
        "watch",
        "watcher 10000 on etcd-0 (stream 0) had not delivered c",
    );
}

#[test]
fn a_stream_ends_with_the_client_that_ended_by_itself() {
    let written = || written().put(1, (10, 11), ("c", "3"), 4);
    let alive = |t: i64| written().ok(2, (t, t + 1), get("x"), (4, found(&[])));
    // The harness records its machine and its phases for longer.
    alive(1_000).phase(60_000, "over").passes("watch");
    alive(6_000)
        .phase(60_000, "over")
        .violates("watch", "had not delivered c at revision 4 by 6.001000 s");
}

#[test]
fn a_watcher_that_gives_up_one_silent_stream_after_the_other_waits_all_the_time() {
    let broken = |message: &str| WatchEvent::Broken {
        message: message.to_owned(),
    };
    let opened = |start_revision| WatchEvent::Opened {
        key: "a".into(),
        range_end: "z".into(),
        start_revision,
    };
    let delivered = || WatchEvent::Events {
        revision: 4,
        events: vec![seen(kv("c", "3", 4))],
        fragment: false,
    };
    // Streams of four seconds, as the recording client has them. The second one delivers, if any does.
    let story = |message: &str, until: i64, delivers: bool| {
        let mut story = written().put(1, (10, 11), ("c", "3"), 4);
        for (stream, t) in (0..).zip((20..until).step_by(4_200)) {
            let begins = if delivers && stream > 1 { 5 } else { 4 };
            story = story.stream((1, stream), t, opened(begins));
            if delivers && stream == 1 {
                story = story.stream((1, stream), t + 100, delivered());
            }
            story = story.stream((1, stream), t + 4_000, broken(message));
        }
        let end = until + 4_000;
        let story = story.watch(0, 12, delivered());
        story.ok(2, (end, end + 1), get("x"), (4, found(&[])))
    };
    let silent = "silent for 4 s";
    let told = "watcher 1 on etcd-0 (stream 1) had not delivered c at revision 4";
    story(silent, 60_000, false).violates("watch", told);
    story(silent, 5_000, false).violates("watch", told);
    // One of them, streams that ended by themselves on a member of which nothing else is known, a silence that ended.
    story(silent, 1_000, false).passes("watch");
    story("the stream ended", 60_000, false).passes("watch");
    story(silent, 5_000, true).passes("watch");
    story(silent, 60_000, true).passes("watch");
}

#[test]
fn a_watcher_that_no_stream_serves_is_dead_while_its_member_answers() {
    let opened = || WatchEvent::Opened {
        key: "a".into(),
        range_end: "z".into(),
        start_revision: 4,
    };
    let delivered = || WatchEvent::Events {
        revision: 4,
        events: vec![seen(kv("c", "3", 4))],
        fragment: false,
    };
    // A stream every 1.2 s until 30 s, each with this end, and a member that answers in these times.
    let story = |ends: &dyn Fn(Story, u32, i64) -> Story, answers: &dyn Fn(&i64) -> bool| {
        let mut story = written().put(1, (10, 11), ("c", "3"), 4);
        for (stream, t) in (0..).zip((20..30_000).step_by(1_200)) {
            story = ends(story.stream((1, stream), t, opened()), stream, t + 1_000);
        }
        let asked = (100..30_000).step_by(500);
        let story = asked.filter(answers).fold(story, |story, t| {
            story.sample_with(t, ("etcd-0", "a"), |status| status.revision = 4)
        });
        let story = story.watch(0, 12, delivered());
        story.ok(2, (31_000, 31_001), get("x"), (4, found(&[])))
    };
    let broken = |story: Story, stream, t| {
        let message = "no answer to the watch request".to_owned();
        story.stream((1, stream), t, WatchEvent::Broken { message })
    };
    let cancelled = |story: Story, stream, t| {
        let event = WatchEvent::Cancelled {
            compact_revision: 0,
            reason: "permission denied".to_owned(),
        };
        broken(story.stream((1, stream), t - 1, event), stream, t)
    };
    let served = |story: Story, stream, t| {
        let told = WatchEvent::Progress { revision: 3 };
        broken(story.stream((1, stream), t - 1, told), stream, t)
    };
    let always = |_: &i64| true;
    let told = "watcher 1 on etcd-0 (stream 4) had not delivered c at revision 4";
    story(&broken, &always).violates("watch", told);
    story(&cancelled, &always).violates("watch", told);
    // News that come in time, a fault that explains it, and a member that is not there.
    story(&served, &always).passes("watch");
    let faulty = story(&broken, &always).fault(50, 30_000);
    faulty.passes("watch");
    story(&broken, &|_| false).passes("watch");
    story(&broken, &|t| *t < 4_000).passes("watch");
    let busy = story(&broken, &always).busy(0, 31_000);
    not_judged(&busy.verdict("watch", &small()), told);
}

#[test]
fn a_watcher_that_leaves_something_out_between_two_streams_proves_nothing() {
    let all = [
        seen(kv("a", "1", 2)),
        seen(kv("b", "2", 3)),
        seen(kv("c", "3", 4)),
    ];
    let opened = |start_revision| WatchEvent::Opened {
        key: "a".into(),
        range_end: "z".into(),
        start_revision,
    };
    let events = |events: &[KeyEvent], fragment| WatchEvent::Events {
        revision: 4,
        events: events.to_vec(),
        fragment,
    };
    // The first stream of watcher 1 begins here and is told this, its second one too.
    let story = |(first, told): (i64, WatchEvent), (second, then): (i64, WatchEvent)| {
        let message = String::new();
        let story = written()
            .put(1, (10, 11), ("c", "3"), 4)
            .events(0, 12, 4, &all[2..])
            .stream((1, 0), 20, opened(first))
            .stream((1, 0), 21, told)
            .stream((1, 0), 22, WatchEvent::Broken { message })
            .stream((1, 1), 30, opened(second));
        story.stream((1, 1), 31, then)
    };
    let two = || events(&all[..2], false);
    let none = || WatchEvent::Progress { revision: 4 };
    story((1, two()), (4, events(&all[2..], false))).passes("watch");
    story((1, two()), (3, events(&all[1..], false))).passes("watch");
    let told = "watcher 1 on etcd-0 (stream 1) begins at revision 5, its streams before had ended in front of 4";
    story((1, two()), (5, none())).proves_nothing("watch", told);
    story((0, two()), (5, none())).proves_nothing("watch", told);
    let next = "begins with whatever is next, its streams before had ended in front of 4";
    story((1, two()), (0, none())).proves_nothing("watch", next);
    // It has all that there is, or was told nothing yet that it must have.
    story((1, events(&all, false)), (5, none())).passes("watch");
    story((0, none()), (0, none())).passes("watch");
    // The rest of a revision that came in parts is left out.
    let part = || events(&all[..1], true);
    story((1, part()), (2, events(&all, false))).passes("watch");
    let told = "begins at revision 3, its streams before had ended in front of 2";
    story((1, part()), (3, events(&all[1..], false))).proves_nothing("watch", told);
    // One that does not begin at the beginning asks for a part, as often as it likes.
    story((2, two()), (5, none())).passes("watch");
    // Revision 4 has nothing that it asked for, which it was promised.
    let promised = |revision| {
        let told = WatchEvent::Progress { revision };
        let story = written().put(1, (10, 11), ("zz", "3"), 4);
        story
            .stream((1, 0), 20, opened(1))
            .stream((1, 0), 21, two())
            .stream((1, 0), 22, told)
            .stream((1, 1), 30, opened(5))
            .stream((1, 1), 31, none())
    };
    promised(4).passes("watch");
    promised(3).proves_nothing("watch", "had ended in front of 4");
}

#[test]
fn a_watcher_continues_behind_what_is_compacted() {
    let story = |again: i64, then: WatchEvent| {
        let compact = Request::Compact { revision: 3 };
        let cancelled = WatchEvent::Cancelled {
            compact_revision: 3,
            reason: String::new(),
        };
        let opened = |start_revision| WatchEvent::Opened {
            key: "a".into(),
            range_end: "z".into(),
            start_revision,
        };
        written()
            .ok(2, (8, 9), compact, (3, Response::Compact {}))
            .stream((1, 0), 20, opened(1))
            .stream((1, 0), 21, cancelled)
            .stream((1, 1), 30, opened(again))
            .stream((1, 1), 31, then)
    };
    let delivered = WatchEvent::Events {
        revision: 3,
        events: vec![seen(kv("b", "2", 3))],
        fragment: false,
    };
    story(3, delivered).passes("watch");
    let told = "begins at revision 4, its streams before had ended in front of 3";
    story(4, WatchEvent::Progress { revision: 3 }).proves_nothing("watch", told);
}

#[test]
fn a_member_for_which_another_one_answers_is_not_one_that_serves_no_watch() {
    let opened = || WatchEvent::Opened {
        key: "a".into(),
        range_end: "z".into(),
        start_revision: 4,
    };
    // Watches of etcd-0 are refused for half a minute, while this member answers on its address.
    let story = |member: &str| {
        let members = [("a", "etcd-0", false), ("b", "etcd-1", false)];
        let story = written().put(1, (10, 11), ("c", "3"), 4);
        let story = story.events(0, 12, 4, &[seen(kv("c", "3", 4))]);
        let mut story = story.list(12, "c", &members);
        for (stream, t) in (0..).zip((20..30_000).step_by(1_200)) {
            let message = "connection refused".to_owned();
            story = story.stream((1, stream), t, opened());
            story = story.stream((1, stream), t + 1_000, WatchEvent::Broken { message });
        }
        for t in (100..30_000).step_by(500) {
            for who in [("etcd-0", member), ("etcd-1", "b")] {
                story = story.sample_with(t, who, |status| status.revision = 4);
            }
        }
        story.ok(2, (31_000, 31_001), get("x"), (4, found(&[])))
    };
    let relay = Expectations {
        members_relay: true,
        ..small()
    };
    let told = "watcher 1 on etcd-0 (stream 4) had not delivered c at revision 4";
    violates(&story("a").verdict("watch", &relay), told);
    let relayed = story("b").verdict("watch", &relay);
    assert!(relayed.passed(), "{relayed:?}");
    // Without relays what answers there is that pod's member.
    story("b").violates("watch", told);
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
    // A member that acknowledged none of the writes.
    let status = |t| {
        let sampled = written().sample_with(t, ("etcd-1", "b"), |status| status.revision = 3);
        let answer = Outcome::Ok {
            revision: 2,
            term: 2,
            member: "b".to_owned(),
            response: found(&[]),
        };
        sampled.op(2, (20, 21), local_get("x"), answer)
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
    // One that is behind, of what was not written since.
    let other = [version("a", "1", (2, 2, 9))];
    violates(&looks((2, &other)), "which is not how it was left");
    let twice = [kv("a", "1", 2), kv("a", "1", 2), kv("b", "2", 3)];
    violates(
        &looks((3, &twice)),
        "a = 1 of revision 2, which it shows twice",
    );
}

#[test]
fn a_watcher_that_asks_for_previous_keys_is_told_all_of_them_that_are_not_compacted() {
    let put = |prev: Option<KeyValue>, revision: i64| {
        let kv = version("a", &revision.to_string(), (2, revision, revision - 1));
        KeyEvent::Put { kv, prev }
    };
    let old = |revision: i64| version("a", &revision.to_string(), (2, revision, revision - 1));
    let deleted = |prev| KeyEvent::Delete {
        key: "a".into(),
        mod_revision: 5,
        prev,
    };
    let story = |events: [KeyEvent; 4]| {
        let acked = |story: Story, revision: i64| {
            let t = revision * 10;
            story.put(1, (t, t + 1), ("a", &revision.to_string()), revision)
        };
        let story = (2..5).fold(Story::new().opened(0, 1), acked);
        let gone = (5, Response::Delete { deleted: 1 });
        let story = story.ok(1, (50, 51), delete("a"), gone);
        story.events(0, 60, 5, &events)
    };
    let all = || {
        [
            put(None, 2),
            put(Some(old(2)), 3),
            put(Some(old(3)), 4),
            deleted(Some(old(4))),
        ]
    };
    let but = |at: usize, event| {
        let mut events = all();
        events[at] = event;
        story(events)
    };
    story(all()).passes("watch");
    let told = "received a at revision 4 without the key before it";
    but(2, put(None, 4)).violates("watch", told);
    but(3, deleted(None)).violates("watch", "received a at revision 5 without");
    // It asked for none of them.
    story([put(None, 2), put(None, 3), put(None, 4), deleted(None)]).passes("watch");
    // Revision 3, at which the key before was read, may have been compacted by then.
    let compacted = |t, revision| {
        let compact = Request::Compact { revision };
        but(2, put(None, 4)).unknown(2, (t, t + 20), compact)
    };
    compacted(55, 4).passes("watch");
    compacted(55, 3).violates("watch", told);
    compacted(70, 4).violates("watch", told);
}
