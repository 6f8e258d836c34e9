//! Recordings in which watch streams and pods are not in order: they prove nothing.

use crate::check::test_support::*;
use crate::record::WatchEvent;

fn written() -> Story {
    Story::new().put(1, (1, 2), ("a", "1"), 2)
}

fn told(story: Story) -> Story {
    story.events(0, 5, 2, &[seen(kv("a", "1", 2))])
}

#[test]
fn a_watch_stream_is_opened_once_and_before_it_tells_anything() {
    told(written().opened(0, 1)).passes("assumptions");
    let not_opened = "watcher 0 on etcd-0 (stream 0) told something without having been opened";
    told(written()).proves_nothing("assumptions", not_opened);
    let next = || told(written().opened(0, 1));
    let opened = || WatchEvent::Opened {
        key: "a".into(),
        range_end: "z".into(),
        start_revision: 3,
    };
    next()
        .stream((0, 1), 6, opened())
        .stream((0, 1), 7, WatchEvent::Progress { revision: 2 })
        .passes("assumptions");
    let not_opened = "(stream 1) told something without";
    next()
        .stream((0, 1), 7, WatchEvent::Progress { revision: 2 })
        .proves_nothing("assumptions", not_opened);
    next()
        .stream((0, 0), 6, opened())
        .proves_nothing("assumptions", "(stream 0) was opened twice");
    let broken = || {
        let message = "reset".to_owned();
        next().stream((0, 0), 6, WatchEvent::Broken { message })
    };
    broken().passes("assumptions");
    broken()
        .progress(0, 7, 2)
        .proves_nothing("assumptions", "(stream 0) told something after it broke");
}

#[test]
fn pods_are_shown_in_the_order_of_their_versions() {
    let shown = |all: &[(&str, u64)]| {
        (10..)
            .zip(all)
            .fold(written(), |story, (t, (uid, version))| {
                story.pod_with(t, ("etcd-0", *uid), *version, |_| {})
            })
    };
    shown(&[("u", 4), ("u", 4), ("u", 6), ("v", 7), ("v", 9)]).passes("assumptions");
    let back = "pod etcd-0 went back from version 6 to 4";
    shown(&[("u", 6), ("u", 4)]).proves_nothing("assumptions", back);
    let again = "pod etcd-0 has UID u again at 0.012000 s";
    shown(&[("u", 4), ("v", 6), ("u", 7)]).proves_nothing("assumptions", again);
    // 0 is no version, and the versions of another pod are others.
    shown(&[("u", 6), ("u", 0), ("u", 7)]).passes("assumptions");
    shown(&[("u", 6), ("v", 4)]).passes("assumptions");
    // A list tells late, by its last version, that a pod is gone.
    let gone = |uid, version| {
        shown(&[("u", 4), ("v", 6)]).pod_with(20, ("etcd-0", uid), version, |pod| {
            pod.deleted = true;
        })
    };
    gone("u", 4).passes("assumptions");
    gone("v", 6).passes("assumptions");
}
