//! Simulated watch streams: batches, fragments, progress, broken streams that are resumed.

use super::mix::{PREFIX, PREFIX_END};
use super::random::Random;
use crate::record::{KeyEvent, Nanos, Record, WatchEvent, WatchRecord};

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
}

/// All revisions with their events.
pub(crate) type Feed = Vec<(i64, Vec<KeyEvent>)>;

impl Watcher {
    pub(crate) fn new(number: u32, target: String, narrow: bool) -> Self {
        let keys = if narrow {
            (format!("{PREFIX}k/"), format!("{PREFIX}k/005"))
        } else {
            (PREFIX.to_owned(), PREFIX_END.to_owned())
        };
        Self {
            number,
            target,
            keys,
            stream: 0,
            position: 0,
            last: 0,
        }
    }

    pub(crate) fn open(&self, t: Nanos) -> Record {
        let (key, range_end) = self.keys.clone();
        self.record(
            t,
            WatchEvent::Opened {
                key,
                range_end,
                start_revision: self.last + 1,
            },
        )
    }

    /// Delivers what is new, mostly.
    pub(crate) fn deliver(&mut self, t: Nanos, feed: &Feed, random: &mut Random) -> Vec<Record> {
        let mut records = Vec::new();
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
                self.say(t, (revision, events), random, &mut records);
            }
        }
        if random.chance(5) && !feed.is_empty() {
            records.push(self.record(
                t,
                WatchEvent::Progress {
                    revision: feed[feed.len() - 1].0,
                },
            ));
        }
        if random.chance(2) {
            records.push(self.record(
                t,
                WatchEvent::Broken {
                    message: "connection reset".to_owned(),
                },
            ));
            self.stream += 1;
            records.push(self.open(t));
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
