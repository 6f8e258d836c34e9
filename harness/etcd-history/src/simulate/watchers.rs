//! Simulated watch streams: batches, fragments, progress, broken streams that are resumed.

use super::mix::{PREFIX, PREFIX_END};
use super::random::Random;
use crate::record::{KeyEvent, Nanos, Record, WatchEvent, WatchRecord};

/// What a watcher asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// All keys from the beginning.
    All,
    /// A part of the keys.
    Some,
    /// All keys, from a revision that is not there yet.
    Future,
    /// All keys, from whatever is next.
    Next,
}

/// One watcher.
#[derive(Debug)]
pub(crate) struct Watcher {
    number: u32,
    target: String,
    keys: (String, String),
    stream: u32,
    /// Position in the feed.
    position: usize,
    last: i64,
    /// True while nothing has come to one that asked for whatever is next.
    next: bool,
    /// How long it stays away when its stream has broken, at most.
    away: Nanos,
    /// When it comes back; absent while a stream is open.
    back: Option<Nanos>,
}

/// All revisions with their events.
pub(crate) type Feed = Vec<(i64, Vec<KeyEvent>)>;

/// What the watchers receive.
pub(crate) struct Source<'s> {
    pub(crate) feed: &'s Feed,
    pub(crate) compacted: i64,
    pub(crate) revision: i64,
}

impl Watcher {
    pub(crate) fn new(number: u32, target: String, (wish, away): (Wish, Nanos)) -> Self {
        let keys = match wish {
            Wish::Some => (format!("{PREFIX}k/"), format!("{PREFIX}k/005")),
            _ => (PREFIX.to_owned(), PREFIX_END.to_owned()),
        };
        Self {
            number,
            target,
            keys,
            stream: 0,
            position: 0,
            last: 0,
            next: wish == Wish::Next,
            away,
            back: None,
        }
    }

    /// Opens its first stream.
    pub(crate) fn begin(&mut self, t: Nanos, wish: Wish, source: &Source<'_>) -> Vec<Record> {
        match wish {
            Wish::All | Wish::Some => {}
            Wish::Future => self.last = source.revision + 30,
            Wish::Next => {}
        }
        let mut records = Vec::new();
        self.follow(t, source, &mut records);
        records
    }

    fn open(&mut self, t: Nanos, source: &Source<'_>) -> Record {
        let (key, range_end) = self.keys.clone();
        let start_revision = if self.next { 0 } else { self.last + 1 };
        if self.next {
            self.position = source.feed.len();
        }
        self.skip(source.feed);
        self.record(
            t,
            WatchEvent::Opened {
                key,
                range_end,
                start_revision,
            },
        )
    }

    /// Nothing up to the last revision is delivered any more.
    fn skip(&mut self, feed: &Feed) {
        let told = feed.partition_point(|(revision, _)| *revision <= self.last);
        self.position = self.position.max(told);
    }

    /// Comes back where it was.
    fn come_back(&mut self, t: Nanos, source: &Source<'_>, records: &mut Vec<Record>) {
        self.back = None;
        self.stream += 1;
        self.follow(t, source, records);
    }

    /// Opens a stream, and another one behind what is compacted, which it does not receive.
    fn follow(&mut self, t: Nanos, source: &Source<'_>, records: &mut Vec<Record>) {
        records.push(self.open(t, source));
        if !self.next && self.last + 1 < source.compacted {
            records.push(self.record(
                t,
                WatchEvent::Cancelled {
                    compact_revision: source.compacted,
                    reason: "required revision has been compacted".to_owned(),
                },
            ));
            self.last = source.compacted - 1;
            self.stream += 1;
            records.push(self.open(t, source));
        }
    }

    /// Delivers what is new, mostly.
    pub(crate) fn deliver(
        &mut self,
        t: Nanos,
        source: &Source<'_>,
        random: &mut Random,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(back) = self.back {
            if t < back {
                return records;
            }
            self.come_back(t, source, &mut records);
        }
        let feed = source.feed;
        self.skip(feed);
        while self.position < feed.len() {
            let batch = usize::try_from(random.between(1, 4)).unwrap_or(1);
            let end = (self.position + batch).min(feed.len());
            let mut events: Vec<KeyEvent> = Vec::new();
            for (_, changed) in &feed[self.position..end] {
                events.extend(changed.iter().filter(|event| self.asks(event)).cloned());
            }
            let revision = feed[end - 1].0;
            self.position = end;
            if let Some(last) = events.last() {
                self.last = revision_of(last);
                self.next = false;
                self.say(t, (revision, events), random, &mut records);
            }
        }
        let told = feed.last().map_or(0, |(revision, _)| *revision);
        if random.chance(5) && told >= self.last.max(1) {
            records.push(self.record(t, WatchEvent::Progress { revision: told }));
        }
        if random.chance(2) {
            records.push(self.record(
                t,
                WatchEvent::Broken {
                    message: "connection reset".to_owned(),
                },
            ));
            if self.away > 0 {
                self.back = Some(t + random.between(0, self.away));
            } else {
                self.come_back(t, source, &mut records);
            }
        }
        records
    }

    fn say(
        &self,
        t: Nanos,
        (revision, mut events): (i64, Vec<KeyEvent>),
        random: &mut Random,
        records: &mut Vec<Record>,
    ) {
        if events.len() > 1 && random.chance(20) {
            let rest = events.split_off(1);
            records.push(self.record(
                t,
                WatchEvent::Events {
                    revision,
                    events,
                    fragment: true,
                },
            ));
            events = rest;
        }
        records.push(self.record(
            t,
            WatchEvent::Events {
                revision,
                events,
                fragment: false,
            },
        ));
    }

    fn asks(&self, event: &KeyEvent) -> bool {
        let key = match event {
            KeyEvent::Put { kv, .. } => &kv.key,
            KeyEvent::Delete { key, .. } => key,
        };
        *key >= self.keys.0 && *key < self.keys.1
    }

    fn record(&self, t: Nanos, event: WatchEvent) -> Record {
        let (watcher, stream, target) = (self.number, self.stream, self.target.clone());
        Record::Watch(WatchRecord {
            t,
            watcher,
            stream,
            target,
            event,
        })
    }
}

fn revision_of(event: &KeyEvent) -> i64 {
    match event {
        KeyEvent::Put { kv, .. } => kv.mod_revision,
        KeyEvent::Delete { mod_revision, .. } => *mod_revision,
    }
}
