//! What etcd promises of a watch: ordered, unique, atomic, reliable, resumable, bookmarkable, never going back, with
//! the right previous key and nothing that was not asked for.
//!
//! Each stream is held against the log of all watchers and against what the replay says that each revision changed;
//! where the replay did not come, against the acknowledged writes. And a watch on a healthy member continues: a stream
//! that ends says so, one that says nothing at all while what it was asked for is there is dead.

use std::collections::BTreeMap;

use super::Case;
use super::compaction;
use super::gaps::Window;
use super::keyspace::Keys;
use super::log::{self, Run};
use super::placement::{self, Part};
use super::verdict::{Findings, Verdict};
use crate::hash::FastMap;
use crate::index::Index;
use crate::record::{KeyEvent, KeyValue, Nanos, Request, Response, WatchEvent, WatchRecord};

/// Name of the check.
const CHECK: &str = "watch";
/// How long a stream may be without what is there, while nothing is done to the cluster: a client that receives nothing
/// asks for the progress after a second, and gives the stream up after four.
const PATIENCE_NS: Nanos = 5_000_000_000;

/// Judges all watch streams.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    for conflict in &case.log.conflicts {
        findings.violation(conflict.clone(), Vec::new());
    }
    let claims = claims(case.index);
    let mut streams: BTreeMap<(u32, u32), Stream<'_>> = BTreeMap::new();
    let mut delivered = 0;
    for record in &case.index.watch {
        let stream = streams
            .entry((record.watcher, record.stream))
            .or_insert_with(|| Stream::new(record));
        let mut room = Room {
            case,
            claims: &claims,
            findings: &mut findings,
        };
        delivered += stream.hear(record, &mut room);
    }
    previous(case, &mut findings);
    for stream in streams.values() {
        let mut room = Room {
            case,
            claims: &claims,
            findings: &mut findings,
        };
        stream.tail(&mut room);
    }
    findings.count("streams", streams.len());
    findings.count("events", delivered);
    if delivered == 0 {
        findings.doubt("no watcher delivered anything".to_owned());
    }
    findings.verdict(CHECK)
}

/// Acknowledged writes by revision: what a stream may not pass over even where no watcher saw it.
fn claims<'a>(index: &Index<'a>) -> Vec<(i64, &'a Request, &'a Response)> {
    let mut claims: Vec<_> = index
        .ops
        .iter()
        .filter_map(|op| {
            let acked = op.acked()?;
            let changes = placement::part(&op.call.request, acked.response) == Some(Part::Changes);
            changes.then_some((acked.revision, &op.call.request, acked.response))
        })
        .collect();
    claims.sort_by_key(|(revision, ..)| *revision);
    claims
}

/// What a stream needs to be judged.
struct Room<'r, 'a> {
    case: &'r Case<'a>,
    claims: &'r [(i64, &'a Request, &'a Response)],
    findings: &'r mut Findings,
}

/// One stream so far.
struct Stream<'a> {
    name: String,
    keys: Option<Keys<'a>>,
    start: i64,
    /// Last revision delivered whole or in part; 0 before the first.
    last: i64,
    /// Keys delivered of the last revision.
    last_keys: Vec<&'a str>,
    /// True while etcd has said that the response continues.
    fragmented: bool,
    progress: i64,
    /// True once etcd has cancelled it.
    cancelled: bool,
    opened: Nanos,
    /// When it was over; absent while it is not.
    ended: Option<Nanos>,
    run: Run<'a>,
}

impl<'a> Stream<'a> {
    fn new(record: &'a WatchRecord) -> Self {
        Self {
            name: format!(
                "watcher {} on {} (stream {})",
                record.watcher, record.target, record.stream
            ),
            keys: None,
            start: 0,
            last: 0,
            last_keys: Vec::new(),
            fragmented: false,
            progress: 0,
            cancelled: false,
            opened: record.t,
            ended: None,
            run: Run::default(),
        }
    }

    /// Takes one record in and returns the number of events in it.
    fn hear(&mut self, record: &'a WatchRecord, room: &mut Room<'_, 'a>) -> usize {
        if self.cancelled && !matches!(record.event, WatchEvent::Broken { .. }) {
            self.blame(record.t, room, "it continued after it was cancelled");
            self.cancelled = false;
        }
        match &record.event {
            WatchEvent::Opened {
                key,
                range_end,
                start_revision,
            } => {
                self.keys = Some(Keys::new(key, Some(range_end)));
                self.start = *start_revision;
                self.opened = record.t;
                0
            }
            WatchEvent::Events {
                revision,
                events,
                fragment,
            } => {
                self.events(record.t, events, room);
                self.exists(record.t, *revision, room);
                if *revision < self.last {
                    self.blame(
                        record.t,
                        room,
                        &format!(
                            "its header says revision {revision} after events of {}",
                            self.last
                        ),
                    );
                }
                if !fragment {
                    self.finish(room);
                }
                self.fragmented = *fragment;
                events.len()
            }
            WatchEvent::Progress { revision } => {
                self.progress(record.t, *revision, room);
                0
            }
            WatchEvent::Cancelled {
                compact_revision, ..
            } => {
                self.cancelled(record, *compact_revision, room);
                0
            }
            WatchEvent::Broken { .. } => {
                self.ended.get_or_insert(record.t);
                0
            }
        }
    }

    /// etcd cancels a watch that begins below a compaction, which a client must have asked for.
    fn cancelled(&mut self, record: &WatchRecord, compacted: i64, room: &mut Room<'_, 'a>) {
        self.cancelled = true;
        self.ended.get_or_insert(record.t);
        if compacted <= 0 {
            return;
        }
        let asked = compaction::asked(room.case.index, record.t);
        let why = if self.start >= compacted {
            format!("yet it began at {}", self.start)
        } else if asked < compacted {
            format!("no client had compacted further than {asked}")
        } else {
            return;
        };
        let why = format!("cancelled as compacted to {compacted}, {why}");
        self.blame(record.t, room, &why);
    }

    /// A header names a revision that a client can have made.
    fn exists(&self, t: Nanos, revision: i64, room: &mut Room<'_, 'a>) {
        if room.case.ceiling.is_some_and(|most| revision > most) {
            let most = room.case.ceiling.unwrap_or(0);
            let why =
                format!("it named revision {revision}, clients cannot have made more than {most}");
            self.blame(t, room, &why);
        }
    }

    fn events(&mut self, t: Nanos, events: &'a [KeyEvent], room: &mut Room<'_, 'a>) {
        for (position, event) in events.iter().enumerate() {
            let (key, revision) = (log::key(event), log::revision(event));
            if self.keys.is_some_and(|keys| !keys.hold(key)) {
                self.blame(
                    t,
                    room,
                    &format!("{key} at revision {revision} was not asked for"),
                );
            }
            if revision < self.start {
                self.blame(
                    t,
                    room,
                    &format!(
                        "revision {revision} is before {}, where it was to begin",
                        self.start
                    ),
                );
            }
            if revision <= self.progress {
                self.blame(
                    t,
                    room,
                    &format!(
                        "revision {revision} came after the promise that all up to {} had come",
                        self.progress
                    ),
                );
            }
            if revision < self.last {
                self.blame(
                    t,
                    room,
                    &format!(
                        "went back from revision {} to {revision} ({key})",
                        self.last
                    ),
                );
                continue;
            }
            if revision == self.last && self.last_keys.contains(&key) {
                self.blame(t, room, &format!("{key} at revision {revision} came twice"));
                continue;
            }
            if revision == self.last && position == 0 && !self.fragmented {
                self.blame(
                    t,
                    room,
                    &format!("revision {revision} is split over two responses"),
                );
            }
            if revision > self.last {
                self.finish(room);
                self.gap(t, revision, room);
                self.last = revision;
                self.last_keys.clear();
                self.run = Run {
                    revision,
                    t,
                    events: std::mem::take(&mut self.run.events),
                };
            }
            self.last_keys.push(key);
            self.run.events.push(event);
        }
    }

    /// The last revision is over: everything of it that this stream asked for must have come.
    fn finish(&mut self, room: &mut Room<'_, 'a>) {
        let run = std::mem::take(&mut self.run);
        if run.events.is_empty() {
            return;
        }
        let seen = room.case.log.entry(run.revision).map_or(0, |entry| {
            let keys = entry.events.iter().map(|event| log::key(event));
            keys.filter(|key| self.asks(key)).count()
        });
        let made = room.case.replayed.made.keys(run.revision);
        let made = made.unwrap_or_default().iter();
        let wanted = made.filter(|key| self.asks(key)).count().max(seen);
        if wanted > run.events.len() {
            let why = format!(
                "revision {} has {wanted} events, {} of them came",
                run.revision,
                run.events.len()
            );
            self.blame(run.t, room, &why);
        }
    }

    /// Nothing that was asked for may lie between the last revision and this one.
    fn gap(&self, t: Nanos, revision: i64, room: &mut Room<'_, 'a>) {
        let from = match (self.last, self.start) {
            (0, 0) => return,
            (0, start) => start,
            (last, _) => last.saturating_add(1),
        };
        if let Some((missing, key)) = self.missing(from, revision, room) {
            self.blame(
                t,
                room,
                &format!("{key} at revision {missing} is missing before revision {revision}"),
            );
        }
    }

    /// The first revision from one up to another, exclusive, that has something that was asked for. A stream may start
    /// far below what this run knows, and be promised what cannot be known.
    fn missing(&self, from: i64, to: i64, room: &Room<'_, 'a>) -> Option<(i64, &'a str)> {
        let (log, made) = (room.case.log, &room.case.replayed.made);
        let first = log.first().min(made.base().saturating_add(1));
        let end = log.last().max(made.last()).saturating_add(1);
        let told = (from.max(first)..to.min(end)).find_map(|revision| {
            let key = match (made.keys(revision), log.entry(revision)) {
                (Some(keys), _) => keys.iter().copied().find(|key| self.asks(key)),
                (None, Some(entry)) => {
                    let mut keys = entry.events.iter().map(|event| log::key(event));
                    keys.find(|key| self.asks(key))
                }
                (None, None) => None,
            };
            Some((revision, key?))
        });
        let unseen = |revision| made.keys(revision).is_none() && log.entry(revision).is_none();
        let claims = room
            .claims
            .partition_point(|(revision, ..)| *revision < from);
        let claimed = room.claims[claims..]
            .iter()
            .take_while(|(revision, ..)| *revision < to)
            .filter(|(revision, ..)| unseen(*revision))
            .find_map(|(revision, request, response)| {
                let key = changed(request, response).find(|key| self.asks(key))?;
                Some((*revision, key))
            });
        told.into_iter().chain(claimed).min()
    }

    fn progress(&mut self, t: Nanos, revision: i64, room: &mut Room<'_, 'a>) {
        if revision < self.last.max(self.progress) {
            let why = format!(
                "promised revision {revision} after {}",
                self.last.max(self.progress)
            );
            self.blame(t, room, &why);
        }
        // A stream that was resumed may be told at once that nothing has come since the last event of the one before.
        if revision < self.start.saturating_sub(1) {
            let why = format!(
                "promised revision {revision}, it was to begin at {}",
                self.start
            );
            self.blame(t, room, &why);
        }
        self.exists(t, revision, room);
        self.finish(room);
        // A promise is only about what was asked for: nothing before the start, and something must have been asked for.
        let from = if self.last > 0 {
            self.last.saturating_add(1)
        } else {
            self.start
        };
        if from > 0
            && let Some((missing, key)) = self.missing(
                from.max(self.progress.saturating_add(1)),
                revision.saturating_add(1),
                room,
            )
        {
            self.blame(t, room, &format!("promised that all up to {revision} had come, {key} at revision {missing} had not"));
        }
        self.progress = self.progress.max(revision);
    }

    /// What is there and was asked for comes within some seconds. A stream that begins with whatever is next has no
    /// revision that it must have.
    fn tail(&self, room: &mut Room<'_, 'a>) {
        if self.start <= 0 || self.keys.is_none() {
            return;
        }
        let upto = self.last.max(self.progress).max(self.start - 1);
        let Some((revision, key)) = self.missing(upto.saturating_add(1), i64::MAX, room) else {
            return;
        };
        let case = room.case;
        let end = self.ended.unwrap_or(case.index.end);
        let settle = Nanos::try_from(case.expectations.settle_ms).unwrap_or(Nanos::MAX);
        let settle = settle.saturating_mul(1_000_000);
        let faults = case.index.faults.iter().filter(|fault| fault.from <= end);
        let quiet = faults
            .map(|fault| fault.healed.map_or(end, |t| t.saturating_add(settle)))
            .max()
            .unwrap_or(Nanos::MIN);
        let from = case.known.since(revision).max(self.opened).max(quiet);
        if from >= end || end.saturating_sub(from) <= PATIENCE_NS {
            return;
        }
        let told = format!(
            "{} had not delivered {key} at revision {revision} by {:.6} s, which was there at {:.6} s",
            self.name,
            case.index.seconds(end),
            case.index.seconds(from),
        );
        match case.machine.slow(Window { from, to: end }) {
            Some(why) => room.findings.not_judged(told, &why),
            None => room.findings.violation(told, Vec::new()),
        }
    }

    fn asks(&self, key: &str) -> bool {
        self.keys.is_none_or(|keys| keys.hold(key))
    }

    fn blame(&self, t: Nanos, room: &mut Room<'_, 'a>, why: &str) {
        let at = room.case.index.seconds(t);
        room.findings
            .violation(format!("{}: {why}, at {at:.6} s", self.name), Vec::new());
    }
}

/// Keys that an acknowledged write certainly changed. A deleted range is left out: its keys are not known here.
fn changed<'a>(request: &'a Request, response: &'a Response) -> impl Iterator<Item = &'a str> {
    let parts = request.answered(response);
    parts.filter_map(|(request, response)| match (request, response) {
        (Request::Put { key, .. }, _)
        | (
            Request::Delete {
                key,
                range_end: None,
            },
            Response::Delete { deleted: 1.. },
        ) => Some(key.as_str()),
        _ => None,
    })
}

/// Walks the log: the previous key is the one before, a first version is a creation. A hole in the log ends what is
/// known.
fn previous(case: &Case<'_>, findings: &mut Findings) {
    let mut known: FastMap<&str, Option<&KeyValue>> = FastMap::default();
    let mut last = 0_i64;
    for (revision, entry) in case.log.entries() {
        if last.checked_add(1) != Some(revision) {
            known.clear();
        }
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
            let after = match event {
                KeyEvent::Put { kv, .. } => Some(kv),
                KeyEvent::Delete { .. } => None,
            };
            known.insert(key, after);
        }
    }
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
        match before {
            Some(Some(before)) if before != told => {
                return Some(format!(
                    "its previous revision was {}, it was {}",
                    told.mod_revision, before.mod_revision
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
