//! What the operator sees of the API server's objects, in figures: watches that break off, lists that fail, objects
//! that cannot be read.
//!
//! Labels are kinds only: the number of names has no bound.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::watcher::{self, Event};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// A watch that has had no list for so long is blind, and the replica not ready.
pub(crate) const BLIND: Duration = Duration::from_secs(120);
/// An unreadable object that was not looked at for so long is gone: its reconciler looks every five minutes.
const FORGOTTEN: Duration = Duration::from_secs(660);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Debug, Default)]
struct Seen {
    errors: Family<Kind, Counter>,
    without_list: Family<Kind, Gauge>,
    unreadable: Family<Kind, Gauge>,
    next: AtomicU64,
    /// By watch: its kind, and since when it waits for a list.
    waiting: Mutex<HashMap<u64, (String, Instant)>>,
    /// By kind and name: when it could not be read last.
    bad: Mutex<HashMap<(String, String), Instant>>,
}

/// Handles of the figures; a clone shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches(Arc<Seen>);

impl Watches {
    /// Makes the figures visible.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "etcd_operator_watch_errors",
            "Times that a watch or its list failed",
            self.0.errors.clone(),
        );
        registry.register(
            "etcd_operator_watch_without_list_seconds",
            "How long a watch of the kind has been waiting for a list; 0 when it has one",
            self.0.without_list.clone(),
        );
        registry.register(
            "etcd_operator_unreadable_objects",
            "Objects that the operator cannot read; an event of each says why",
            self.0.unreadable.clone(),
        );
    }

    /// A watch that begins.
    #[must_use]
    pub(crate) fn begin(&self, kind: &str) -> Watch {
        let watch = Watch {
            all: self.clone(),
            id: self.0.next.fetch_add(1, Ordering::Relaxed),
            kind: kind.to_owned(),
        };
        watch.waits();
        watch
    }

    /// Brings those figures up to date that depend on time.
    pub(crate) fn refresh(&self) {
        self.0.without_list.clear();
        for (kind, since) in lock(&self.0.waiting).values() {
            let gauge = self
                .0
                .without_list
                .get_or_create(&Kind { kind: kind.clone() });
            let seconds = i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX);
            gauge.set(gauge.get().max(seconds));
        }
        self.0.unreadable.clear();
        let mut bad = lock(&self.0.bad);
        bad.retain(|_, last| last.elapsed() < FORGOTTEN);
        for (kind, _) in bad.keys() {
            let label = Kind { kind: kind.clone() };
            self.0.unreadable.get_or_create(&label).inc();
        }
    }

    /// The kind of a watch that has been without a list for [`BLIND`], and for how long.
    pub(crate) fn blind(&self) -> Option<(String, Duration)> {
        let waiting = lock(&self.0.waiting);
        let longest = waiting.values().min_by_key(|(_, since)| *since)?;
        let elapsed = longest.1.elapsed();
        (elapsed >= BLIND).then(|| (longest.0.clone(), elapsed))
    }

    /// Notes that an object cannot be read. True when that is new.
    pub(crate) fn unreadable(&self, kind: &str, name: &str) -> bool {
        let key = (kind.to_owned(), name.to_owned());
        lock(&self.0.bad).insert(key, Instant::now()).is_none()
    }

    /// Notes that an object can be read, or is gone.
    pub(crate) fn readable(&self, kind: &str, name: &str) {
        let mut bad = lock(&self.0.bad);
        if !bad.is_empty() {
            bad.remove(&(kind.to_owned(), name.to_owned()));
        }
    }
}

/// One watch; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    all: Watches,
    id: u64,
    kind: String,
}

impl Watch {
    /// Counts what the watch has come up with. Nothing of the objects reaches the log.
    pub(crate) fn saw<K>(&self, event: &watcher::Result<Event<K>>) {
        let error = match event {
            Ok(Event::Init) => return,
            Ok(_) => {
                lock(&self.all.0.waiting).remove(&self.id);
                return;
            }
            // The server remembers changes for some minutes only: the next list is in order.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => return,
            Err(error) => error,
        };
        let kind = Kind {
            kind: self.kind.clone(),
        };
        self.all.0.errors.get_or_create(&kind).inc();
        if matches!(
            error,
            watcher::Error::InitialListFailed(_) | watcher::Error::NoResourceVersion
        ) {
            self.waits();
        }
        tracing::warn!(
            kind = self.kind,
            error = describe(error),
            "a watch failed; restarting it"
        );
    }

    fn waits(&self) {
        let begun = || (self.kind.clone(), Instant::now());
        lock(&self.all.0.waiting)
            .entry(self.id)
            .or_insert_with(begun);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.all.0.waiting).remove(&self.id);
    }
}

/// An error of a watch, without the content of any object.
fn describe(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("list: {}", without_content(error)),
        watcher::Error::WatchStartFailed(error) => format!("start: {}", without_content(error)),
        watcher::Error::WatchFailed(error) => format!("stream: {}", without_content(error)),
        watcher::Error::WatchError(status) => format!("answer: {} {}", status.code, status.reason),
        watcher::Error::NoResourceVersion => "list: no resource version".to_owned(),
    }
}

/// A parser's message may quote what it has read, and a status what was sent.
fn without_content(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        kube::Error::SerdeError(error) => {
            format!(
                "unreadable at line {} column {}",
                error.line(),
                error.column()
            )
        }
        other => other.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> watcher::Result<Event<()>> {
        let secret = serde_json::from_str::<i32>(r#""hunter2""#).expect_err("a word");
        Err(watcher::Error::InitialListFailed(kube::Error::SerdeError(
            secret,
        )))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_without_a_list_for_two_minutes_is_blind() {
        let watches = Watches::default();
        let (watch, other) = (watches.begin("Cluster"), watches.begin("Pod"));
        other.saw::<()>(&Ok(Event::InitDone));
        for _ in 0..119 {
            tokio::time::advance(Duration::from_secs(1)).await;
            watch.saw::<()>(&Ok(Event::Init));
            watch.saw(&failed());
        }
        assert_eq!(watches.blind(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            watches.blind().map(|(kind, _)| kind).as_deref(),
            Some("Cluster")
        );
        watch.saw::<()>(&Ok(Event::InitDone));
        assert_eq!(watches.blind(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_with_the_lease_is_not_waited_for() {
        let watches = Watches::default();
        drop(watches.begin("Cluster"));
        tokio::time::advance(BLIND).await;
        assert_eq!(watches.blind(), None);
    }

    #[test]
    fn nothing_of_an_object_is_in_the_words_about_a_watch() {
        let Err(error) = failed() else { return };
        assert!(
            error.to_string().contains("hunter2"),
            "the error itself quotes it"
        );
        assert_eq!(describe(&error), "list: unreadable at line 1 column 9");
    }

    #[tokio::test(start_paused = true)]
    async fn unreadable_objects_are_counted_until_they_are_read_or_gone() {
        let watches = Watches::default();
        let count = |kind: &str| {
            watches.refresh();
            watches
                .0
                .unreadable
                .get_or_create(&Kind {
                    kind: kind.to_owned(),
                })
                .get()
        };
        assert!(watches.unreadable("Cluster", "n/a") && !watches.unreadable("Cluster", "n/a"));
        assert!(watches.unreadable("Cluster", "n/b"));
        assert_eq!(count("Cluster"), 2);
        watches.readable("Cluster", "n/a");
        assert_eq!(count("Cluster"), 1);
        tokio::time::advance(FORGOTTEN).await;
        assert_eq!(count("Cluster"), 0);
    }
}
