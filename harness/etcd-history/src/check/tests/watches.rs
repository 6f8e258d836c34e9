//! Watches that begin with whatever is next, responses that come in parts, and keys before events.

use crate::check::test_support::*;
use crate::record::{KeyEvent, KeyValue, Request, Response, WatchEvent};

/// Revisions 2 and 3, of which watcher 0 is told.
fn written() -> Story {
    Story::new()
        .opened(0, 1)
        .put(1, (1, 2), ("a", "1"), 2)
        .put(1, (3, 4), ("b", "2"), 3)
        .events(0, 5, 3, &[seen(kv("a", "1", 2)), seen(kv("b", "2", 3))])
}

fn opened_at(story: Story, t: i64, start_revision: i64) -> Story {
    story.watch(1, t, asked("a", "z", start_revision))
}

/// Watcher 1 asks for whatever is next.
fn next() -> Story {
    opened_at(written(), 6, 0)
}

/// Revisions 4 and 5, of which watcher 0 is told.
fn more(story: Story) -> Story {
    story
        .put(1, (10, 11), ("c", "3"), 4)
        .events(0, 12, 4, &[seen(kv("c", "3", 4))])
        .put(1, (13, 14), ("d", "4"), 5)
        .events(0, 15, 5, &[seen(kv("d", "4", 5))])
}

#[test]
fn a_watch_of_whatever_is_next_is_told_all_behind_the_first_thing_that_it_is_told() {
    let (c, d) = (seen(kv("c", "3", 4)), seen(kv("d", "4", 5)));
    let told = || next().progress(1, 7, 3);
    let all = [c, d.clone()];
    more(told()).events(1, 16, 5, &all).passes("watch");
    more(told())
        .events(1, 16, 5, std::slice::from_ref(&d))
        .violates("watch", "c at revision 4 is missing before revision 5");
    let promised = "promised that all up to 5 had come, c at revision 4 had not";
    more(told()).progress(1, 16, 5).violates("watch", promised);
    // It may not have begun before revision 4 was there.
    more(next()).events(1, 16, 5, &[d]).passes("watch");
    more(next()).progress(1, 16, 5).passes("watch");
}

#[test]
fn a_watch_of_a_negative_revision_continues_nothing_and_takes_nothing_from_others() {
    let negative = |story: Story, stream: u32, t: i64| {
        let event = asked("a", "z", -1);
        story.stream((1, stream), t, event)
    };
    let refused = || WatchEvent::Cancelled {
        compact_revision: 0,
        reason: "etcdserver: mvcc: required revision has been compacted".to_owned(),
    };
    let events = |revision, event: KeyEvent| WatchEvent::Events {
        revision,
        events: vec![event],
        fragment: false,
    };
    // Its first stream is told this, and another one follows.
    let story = |told: WatchEvent| {
        let story = more(negative(written(), 0, 6)).stream((1, 0), 20, told);
        let message = String::new();
        let story = story.stream((1, 0), 21, WatchEvent::Broken { message });
        negative(story, 1, 22)
    };
    story(refused()).passes("watch");
    let next = || events(4, seen(kv("c", "3", 4)));
    story(next()).passes("watch");
    // Beside it a watch of the past is told what is new alone.
    story(next())
        .stream((2, 0), 23, asked("a", "z", 2))
        .stream((2, 0), 24, events(5, seen(kv("d", "4", 5))))
        .violates("watch", "a at revision 2 is missing before revision 5");
}

#[test]
fn a_watch_of_whatever_is_next_does_not_fall_silent() {
    let end = |story: Story| story.ok(2, (60_000, 60_001), get("x"), (5, found(&[])));
    let dead = |story: Story, told: &str| end(more(story)).violates("watch", told);
    let first = next().events(1, 12, 4, &[seen(kv("c", "3", 4))]);
    dead(first, "had not delivered d at revision 5 by 60.001000 s");
    let told = next().progress(1, 7, 3);
    dead(told, "had not delivered c at revision 4");
    end(more(next())).passes("watch");
}

#[test]
fn the_rest_of_a_response_comes() {
    let both = Request::Txn {
        compare: Vec::new(),
        then: vec![put("c", "3"), put("d", "4")],
        otherwise: Vec::new(),
    };
    let answer = Response::Txn {
        succeeded: true,
        responses: vec![Response::Put {}; 2],
    };
    let part = |key: &str, value: &str, fragment| WatchEvent::Events {
        revision: 4,
        events: vec![seen(kv(key, value, 4))],
        fragment,
    };
    let story = |rest: bool, end: i64| {
        let story = written().ok(1, (10, 11), both.clone(), (4, answer.clone()));
        let story = story.events(0, 12, 4, &[seen(kv("c", "3", 4)), seen(kv("d", "4", 4))]);
        let mut story = opened_at(story, 13, 4).watch(1, 14, part("c", "3", true));
        if rest {
            story = story.watch(1, 15, part("d", "4", false));
        }
        story.ok(2, (end, end + 1), get("x"), (4, found(&[])))
    };
    story(true, 60_000).passes("watch");
    story(false, 1_000).passes("watch");
    story(false, 60_000).violates("watch", "had not delivered d at revision 4");
}

fn asked(key: &str, range_end: &str, start_revision: i64) -> WatchEvent {
    let (key, range_end) = (key.to_owned(), range_end.to_owned());
    WatchEvent::Opened {
        key,
        range_end,
        start_revision,
    }
}

/// Watcher 0 asks for key b alone; revision 4, its second version, is told with this key before it.
fn told_with(prev: KeyValue) -> Story {
    let told = KeyEvent::Put {
        kv: version("b", "3", (2, 4, 2)),
        prev: Some(prev),
    };
    Story::new()
        .watch(0, 0, asked("b", "c", 1))
        .put(1, (1, 2), ("b", "1"), 2)
        .events(0, 3, 2, &[seen(kv("b", "1", 2))])
        .put(1, (4, 5), ("x", "2"), 3)
        .put(1, (6, 7), ("b", "3"), 4)
        .events(0, 8, 4, &[told])
}

#[test]
fn a_key_before_an_event_is_the_right_one_behind_a_revision_that_no_watcher_was_told_of() {
    told_with(kv("b", "1", 2)).passes("watch");
    let told = "the key before it was other of revision 2, it was 1 of revision 2";
    told_with(kv("b", "other", 2)).violates("watch", told);
    // Revision 3 changed the key itself, between two watchers.
    let message = String::new();
    let told = KeyEvent::Put {
        kv: version("x", "3", (2, 4, 3)),
        prev: Some(version("x", "2", (2, 3, 2))),
    };
    Story::new()
        .watch(1, 0, asked("x", "y", 1))
        .put(1, (1, 2), ("x", "1"), 2)
        .events(1, 3, 2, &[seen(kv("x", "1", 2))])
        .watch(1, 4, WatchEvent::Broken { message })
        .put(1, (5, 6), ("x", "2"), 3)
        .watch(2, 7, asked("x", "y", 4))
        .put(1, (8, 9), ("x", "3"), 4)
        .events(2, 10, 4, &[told])
        .passes("watch");
}

#[test]
fn a_key_before_an_event_does_not_contradict_it() {
    let other = "the key before it was one of q";
    told_with(kv("q", "1", 2)).violates("watch", other);
    let first = |prev: Option<KeyValue>| {
        let kv = kv("b", "1", 2);
        Story::new()
            .opened(0, 1)
            .put(1, (1, 2), ("b", "1"), 2)
            .events(0, 3, 2, &[KeyEvent::Put { kv, prev }])
    };
    first(None).passes("watch");
    let created =
        "it is version 1 of the key created at 2, the key before it version 1 of one created at 1";
    first(Some(kv("b", "0", 1))).violates("watch", created);
    let none = version("b", "0", (2, 1, 0));
    first(Some(none)).violates("watch", "the key before it version 0 of one created at 2");
}
