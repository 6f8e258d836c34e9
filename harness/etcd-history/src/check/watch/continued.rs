//! That a watcher continues where its last stream ended.
//!
//! etcd owes no stream what it did not ask for, so what lies between two streams of a watcher may be lost and no one
//! sees it. That is the recording client's fault, and nothing is proved then.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::check::Case;
use crate::check::log;
use crate::check::verdict::Findings;
use crate::record::{WatchEvent, WatchRecord};

/// The first revision of an etcd. A watcher that begins later asks for a part by that, and may choose again with each
/// stream, as watches of the future do.
const BEGINNING: i64 = 1;

/// A watcher so far.
struct Watcher<'a> {
    keys: (&'a str, &'a str),
    /// True when it began at the beginning, or with whatever was next. One that asks for a negative revision is to be
    /// refused, and asks for nothing that it could continue.
    continues: bool,
    /// The first revision that it was not told yet; absent while it has asked for no revision and was told none.
    next: Option<i64>,
}

/// Doubts each watcher of which a stream begins behind what it had been told.
pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let mut watchers: BTreeMap<u32, Watcher<'_>> = BTreeMap::new();
    for record in case.index.watch.iter().copied() {
        let WatchEvent::Opened {
            key,
            range_end,
            start_revision,
        } = &record.event
        else {
            if let Some(watcher) = watchers.get_mut(&record.watcher) {
                watcher.hear(&record.event);
            }
            continue;
        };
        let keys = (key.as_str(), range_end.as_str());
        match watchers.entry(record.watcher) {
            Entry::Vacant(entry) => {
                entry.insert(Watcher::new(keys, *start_revision));
            }
            Entry::Occupied(entry) => {
                if let Some(next) = entry.into_mut().open(keys, *start_revision) {
                    findings.doubt(told(record, *start_revision, next));
                }
            }
        }
    }
}

impl<'a> Watcher<'a> {
    fn new(keys: (&'a str, &'a str), start: i64) -> Self {
        Self {
            keys,
            continues: (0..=BEGINNING).contains(&start),
            next: (start > 0).then_some(start),
        }
    }

    /// Its next stream; gives the first revision that is left out, where one may be.
    fn open(&mut self, keys: (&'a str, &'a str), start: i64) -> Option<i64> {
        if keys != self.keys {
            *self = Self {
                continues: self.continues,
                ..Self::new(keys, start)
            };
            return None;
        }
        let left_out = |next: &i64| start <= 0 || start > *next;
        let hole = self.next.filter(left_out).filter(|_| self.continues);
        // Once is enough.
        self.continues &= hole.is_none();
        self.next = self.next.max((start > 0).then_some(start));
        hole
    }

    fn hear(&mut self, event: &WatchEvent) {
        let next = match event {
            WatchEvent::Events {
                events, fragment, ..
            } => {
                let last = events.iter().map(log::revision).max();
                // The rest of a response that comes in parts may be of the same revision.
                let next = last.map(|last| last.saturating_add(i64::from(!fragment)));
                self.next = self.next.max(next);
                return;
            }
            WatchEvent::Progress { revision } => revision.saturating_add(1),
            WatchEvent::Cancelled {
                compact_revision, ..
            } => *compact_revision,
            WatchEvent::Opened { .. } | WatchEvent::Broken { .. } => return,
        };
        // Of one that asked for whatever is next nothing is known before its first event.
        self.next = self.next.map(|known| known.max(next));
    }
}

fn told(record: &WatchRecord, start: i64, next: i64) -> String {
    let WatchRecord {
        watcher,
        stream,
        target,
        ..
    } = record;
    let begins = match start {
        1.. => format!("at revision {start}"),
        _ => "with whatever is next".to_owned(),
    };
    format!(
        "watcher {watcher} on {target} (stream {stream}) begins {begins}, its streams before had ended in front of \
         {next}: the recording client did not ask for what is between them"
    )
}
