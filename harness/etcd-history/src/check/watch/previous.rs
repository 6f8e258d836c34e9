//! What a watch shows of the key before an event.

use crate::check::Case;
use crate::check::compaction::Compactions;
use crate::check::log;
use crate::check::verdict::Findings;
use crate::check::words;
use crate::hash::{FastMap, FastSet};
use crate::record::{KeyEvent, KeyValue, WatchEvent, WatchRecord};

/// Judges the previous keys that watchers were told and that they were not told.
pub(super) fn check(case: &Case<'_>, compactions: &Compactions<'_>, findings: &mut Findings) {
    told(case, findings);
    left_out(case, compactions, findings);
}

/// Walks the log: the previous key is the one before, a first version is a creation.
fn told(case: &Case<'_>, findings: &mut Findings) {
    let mut known: FastMap<&str, Option<&KeyValue>> = FastMap::default();
    let mut last = 0_i64;
    for (revision, entry) in case.log.entries() {
        forget((last, revision), case, &mut known);
        last = revision;
        for event in entry.events {
            let key = log::key(event);
            let before = known.get(key).copied();
            let told = log::previous(event);
            if let Some(why) = wrong_previous(event, before, told) {
                findings.violation(
                    format!("a watcher received {key} at revision {revision} that {why}"),
                    Vec::new(),
                );
            }
        }
        // Where watchers were asked for different keys they may have seen a part of the revision only.
        match case.replayed.made.keys(revision) {
            Some(changed) => changed.iter().for_each(|key| _ = known.remove(key)),
            None if case.log.scope.is_none() => known.clear(),
            None => {}
        }
        known.extend(entry.events.iter().map(|event| match event {
            KeyEvent::Put { kv, .. } => (kv.key.as_str(), Some(kv)),
            KeyEvent::Delete { key, .. } => (key.as_str(), None),
        }));
    }
}

/// Between two revisions of the log are those that no watcher received: what the replay says that they changed is
/// known no more, and nothing is where it did not come.
fn forget<'a>(
    (from, to): (i64, i64),
    case: &Case<'a>,
    known: &mut FastMap<&'a str, Option<&'a KeyValue>>,
) {
    for revision in from.saturating_add(1)..to {
        let Some(changed) = case.replayed.made.keys(revision) else {
            known.clear();
            return;
        };
        changed.iter().for_each(|key| _ = known.remove(key));
    }
}

/// A stream that is asked for previous keys tells all of them. etcd reads each at the revision in front of its event,
/// so that it may have been compacted. That a stream was asked for them shows in the others that it told.
fn left_out(case: &Case<'_>, compactions: &Compactions<'_>, findings: &mut Findings) {
    let stream = |record: &WatchRecord| (record.watcher, record.stream);
    let watch = || case.index.watch.iter().copied();
    let told = |record: &WatchRecord| events(record).iter().any(|e| log::previous(e).is_some());
    let asked: FastSet<(u32, u32)> = watch().filter(|r| told(r)).map(stream).collect();
    let compacted = watch().filter_map(|record| match record.event {
        WatchEvent::Cancelled {
            compact_revision, ..
        } => Some(compact_revision),
        _ => None,
    });
    let compacted = compacted.max().unwrap_or(0);
    let mut blamed = FastSet::default();
    for record in watch().filter(|record| asked.contains(&stream(record))) {
        let without = |event: &&KeyEvent| log::previous(event).is_none() && !creates(event);
        for event in events(record).iter().filter(without) {
            let revision = log::revision(event);
            let excused = compacted.max(compactions.upto(record.t)) >= revision;
            if !excused && blamed.insert(stream(record)) {
                let told = format!(
                    "watcher {} on {} received {} at revision {revision} without the key before it, which it is told \
                     of others",
                    record.watcher,
                    record.target,
                    log::key(event)
                );
                findings.violation(told, Vec::new());
            }
        }
    }
}

fn events(record: &WatchRecord) -> &[KeyEvent] {
    match &record.event {
        WatchEvent::Events { events, .. } => events,
        _ => &[],
    }
}

fn creates(event: &KeyEvent) -> bool {
    matches!(event, KeyEvent::Put { kv, .. } if kv.version == 1)
}

/// What of the key before an event the event itself contradicts, whatever else is known.
fn contradiction(event: &KeyEvent, told: &KeyValue) -> Option<String> {
    if told.key != log::key(event) {
        return Some(format!("the key before it was one of {}", told.key));
    }
    let KeyEvent::Put { kv, .. } = event else {
        return None;
    };
    let follows = told.version > 0
        && told.version.checked_add(1) == Some(kv.version)
        && told.create_revision == kv.create_revision;
    (!follows).then(|| {
        format!(
            "it is version {} of the key created at {}, the key before it version {} of one created at {}",
            kv.version, kv.create_revision, told.version, told.create_revision
        )
    })
}

fn shown(kv: &KeyValue) -> String {
    format!(
        "{} of revision {}",
        words::shown(&kv.value),
        kv.mod_revision
    )
}

/// What is wrong with the previous key that was told; `before` is what the log knows of it.
fn wrong_previous(
    event: &KeyEvent,
    before: Option<Option<&KeyValue>>,
    told: Option<&KeyValue>,
) -> Option<String> {
    if let Some(told) = told {
        if told.mod_revision >= log::revision(event) {
            return Some(format!("its previous revision was {}", told.mod_revision));
        }
        if let Some(why) = contradiction(event, told) {
            return Some(why);
        }
        match before {
            Some(Some(before)) if before != told => {
                return Some(format!(
                    "the key before it was {}, it was {}",
                    shown(told),
                    shown(before)
                ));
            }
            Some(None) => return Some("it was there before, it was not".to_owned()),
            _ => {}
        }
    }
    let KeyEvent::Put { kv, .. } = event else {
        return None;
    };
    let created = kv.create_revision == kv.mod_revision;
    if created != (kv.version == 1) {
        return Some(format!(
            "its version is {} and its creation revision {}",
            kv.version, kv.create_revision
        ));
    }
    match before {
        Some(Some(before))
            if kv.version != before.version.saturating_add(1)
                || kv.create_revision != before.create_revision =>
        {
            Some(format!(
                "its version is {} after {}",
                kv.version, before.version
            ))
        }
        Some(None) if !created => Some("it was not created, it was not there before".to_owned()),
        _ => None,
    }
}
