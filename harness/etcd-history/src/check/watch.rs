//! What etcd promises of a watch: ordered, unique, atomic, reliable, resumable, bookmarkable, never going back, with
//! the right previous key and nothing that was not asked for.
//!
//! Each stream is held against the log of all watchers and against what the replay says that each revision changed;
//! where the replay did not come, against the acknowledged writes. And a watch on a healthy member continues: a stream
//! that ends says so, one that says nothing at all while what it was asked for is there is dead. So is a watcher whose
//! streams all end without an event, refused, cancelled or not answered, while its member answers other questions. That
//! nothing is left out between two streams is up to the recording client.

mod continued;
mod previous;

use std::collections::BTreeMap;

use super::Case;
use super::compaction::Compactions;
use super::few::KeySet;
use super::gaps::{Window, milliseconds};
use super::keyspace::Keys;
use super::log::{self, Run};
use super::placement::{self, Part};
use super::verdict::{Findings, Verdict};
use crate::index::Index;
use crate::record::{KeyEvent, Nanos, Record, Request, Response, WatchEvent, WatchRecord};

/// Name of the check.
const CHECK: &str = "watch";
/// How long a watcher may be without what is there, while nothing is done to the cluster: a client that receives
/// nothing asks for the progress after a second, and gives the stream up after four.
const PATIENCE_NS: Nanos = 5_000_000_000;
/// How a client says that it has given a stream up that said nothing. The watcher's next one continues its silence.
const SILENT: &str = "silent for";

/// Judges all watch streams.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    for conflict in &case.log.conflicts {
        findings.violation(conflict.clone(), Vec::new());
    }
    let claims = claims(case.index);
    let compactions = Compactions::new(case);
    let mut room = Room {
        case,
        claims: &claims,
        compactions: &compactions,
        findings: &mut findings,
    };
    let (mut streams, delivered) = streams(&mut room);
    previous::check(case, &compactions, room.findings);
    continued::check(case, room.findings);
    join(&mut streams);
    streams.values().for_each(|stream| stream.tail(&mut room));
    findings.count("streams", streams.len());
    findings.count("events", delivered);
    if delivered == 0 {
        findings.doubt("no watcher delivered anything".to_owned());
    }
    findings.verdict(CHECK)
}

/// Streams by watcher and number.
type Streams<'a> = BTreeMap<(u32, u32), Stream<'a>>;

/// All streams, and how many events they delivered. Those of a client that was killed ended with its last line: it
/// could not say so, and the watchers of the next one have other numbers. So did those of a client that ended by
/// itself: others record for longer.
fn streams<'a>(room: &mut Room<'_, 'a>) -> (Streams<'a>, usize) {
    let mut streams = Streams::new();
    let (mut delivered, mut last_line) = (0, Nanos::MIN);
    for record in room.case.index.records {
        if record.of_client() {
            last_line = record.time();
        }
        match record {
            Record::Start { .. } => cut(&mut streams, last_line),
            Record::Watch(record) => {
                let stream = streams
                    .entry((record.watcher, record.stream))
                    .or_insert_with(|| Stream::new(record));
                delivered += stream.hear(record, room);
            }
            _ => {}
        }
    }
    cut(&mut streams, last_line);
    (streams, delivered)
}

/// Ends the streams that have not ended.
fn cut(streams: &mut Streams<'_>, t: Nanos) {
    streams.values_mut().for_each(|stream| stream.cut(t));
}

/// Joins streams of a watcher on one member, one after the other: those that it gave up because they said nothing to
/// one silence, and all that delivered nothing, however they ended, to one time without service.
fn join(streams: &mut Streams<'_>) {
    let mut before: Option<(u32, &Stream<'_>)> = None;
    for ((watcher, _), stream) in streams.iter_mut() {
        let former = before.filter(|(of, former)| of == watcher && former.target == stream.target);
        if let Some((_, former)) = former {
            if former.spoke.is_none() {
                stream.unserved_since = former.unserved_since;
            }
            // One that has said something has ended the silence, and may have begun another.
            if former.given_up {
                stream.since = former.spoke.unwrap_or(former.since);
            }
        }
        before = Some((*watcher, stream));
    }
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
    compactions: &'r Compactions<'a>,
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
    last_keys: KeySet<'a>,
    /// True while etcd has said that the response continues.
    fragmented: bool,
    progress: i64,
    /// True once etcd has cancelled it.
    cancelled: bool,
    target: &'a str,
    opened: Nanos,
    /// When it was opened, or the first of those before it that its watcher gave up without a word since.
    since: Nanos,
    /// When it was opened, or the first of those before it that delivered nothing, however they ended.
    unserved_since: Nanos,
    /// When it delivered something last: events, or the news that there are none.
    spoke: Option<Nanos>,
    /// True when its client gave it up because it said nothing.
    given_up: bool,
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
            last_keys: KeySet::default(),
            fragmented: false,
            progress: 0,
            cancelled: false,
            target: &record.target,
            opened: record.t,
            since: record.t,
            unserved_since: record.t,
            spoke: None,
            given_up: false,
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
        use WatchEvent::{Events, Progress};
        if matches!(record.event, Events { .. } | Progress { .. }) {
            self.spoke = Some(record.t);
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
            WatchEvent::Broken { message } => {
                self.ended.get_or_insert(record.t);
                self.given_up = message.starts_with(SILENT);
                0
            }
        }
    }

    /// Its client was killed, and wrote its last line at this time.
    fn cut(&mut self, t: Nanos) {
        let opened = self.opened;
        self.ended.get_or_insert(t.max(opened));
    }

    /// etcd cancels a watch of which the next revision that it is owed is below a compaction, which a client or etcd's
    /// own settings must have asked for. Progress says nothing of that revision: a member that is sent a snapshot looks
    /// at all its watches again, also at those that had nothing to be told for long.
    fn cancelled(&mut self, record: &WatchRecord, compacted: i64, room: &mut Room<'_, 'a>) {
        self.cancelled = true;
        self.ended.get_or_insert(record.t);
        if compacted <= 0 {
            return;
        }
        self.exists(record.t, compacted, room);
        let why = if self.start >= compacted {
            format!("yet it began at {}", self.start)
        } else if self.last > 0 && self.last.saturating_add(1) >= compacted {
            format!("yet it had been told up to revision {}", self.last)
        } else if room.compactions.upto(record.t) < compacted {
            let asked = room.compactions.asked(record.t, None);
            let own = room.compactions.told(record.t);
            format!("no client had compacted further than {asked}{own}")
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
            self.wanted(t, (key, revision), room);
            if revision < self.last {
                let last = self.last;
                let why = format!("went back from revision {last} to {revision} ({key})");
                self.blame(t, room, &why);
                continue;
            }
            if revision == self.last && self.last_keys.contains(key) {
                self.blame(t, room, &format!("{key} at revision {revision} came twice"));
                continue;
            }
            if revision == self.last && position == 0 && !self.fragmented {
                let why = format!("revision {revision} is split over two responses");
                self.blame(t, room, &why);
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
            self.last_keys.insert(key);
            self.run.events.push(event);
        }
    }

    /// An event must be one that was asked for, and may still come.
    fn wanted(&self, t: Nanos, (key, revision): (&str, i64), room: &mut Room<'_, 'a>) {
        if self.keys.is_some_and(|keys| !keys.hold(key)) {
            let why = format!("{key} at revision {revision} was not asked for");
            self.blame(t, room, &why);
        }
        let (start, progress) = (self.start, self.progress);
        if revision < start {
            let why = format!("revision {revision} is before {start}, where it was to begin");
            self.blame(t, room, &why);
        }
        if revision <= progress {
            let why = format!(
                "revision {revision} came after the promise that all up to {progress} had come"
            );
            self.blame(t, room, &why);
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
        let Some(upto) = self.upto() else {
            return;
        };
        let from = upto.saturating_add(1);
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
        if let Some(upto) = self.upto()
            && let Some((missing, key)) =
                self.missing(upto.saturating_add(1), revision.saturating_add(1), room)
        {
            self.blame(t, room, &format!("promised that all up to {revision} had come, {key} at revision {missing} had not"));
        }
        self.progress = self.progress.max(revision);
    }

    /// Up to which revision all that was asked for has come. A stream that begins with whatever is next is promised
    /// what comes behind the first thing that it is told: before that it may not have begun.
    fn upto(&self) -> Option<i64> {
        match (self.last.max(self.progress), self.start) {
            (..=0, ..=0) => None,
            (told, start) => Some(told.max(start.saturating_sub(1))),
        }
    }

    /// The first revision that is there, was asked for and has not come.
    fn owed(&self, room: &Room<'_, 'a>) -> Option<(i64, &'a str)> {
        self.keys?;
        let from = self.upto()?.saturating_add(1);
        self.rest(room)
            .or_else(|| self.missing(from, i64::MAX, room))
    }

    /// What has not come of the last revision, while etcd has said that the response continues.
    fn rest(&self, room: &Room<'_, 'a>) -> Option<(i64, &'a str)> {
        let (log, made) = (room.case.log, &room.case.replayed.made);
        let entry = log.entry(self.last).filter(|_| self.fragmented)?;
        let seen = entry.events.iter().map(|event| log::key(event));
        let made = made.keys(self.last).unwrap_or_default().iter().copied();
        let mut all = made.chain(seen).filter(|key| self.asks(key));
        let key = all.find(|key| !self.last_keys.contains(key))?;
        Some((self.last, key))
    }

    /// What is there and was asked for comes within some seconds.
    fn tail(&self, room: &mut Room<'_, 'a>) {
        let Some((revision, key)) = self.owed(room) else {
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
        let there = case.known.since(revision).max(quiet);
        let silent = there.max(self.since);
        let silent = Window {
            from: silent,
            to: end.max(silent),
        };
        let unserved = there.max(self.unserved_since);
        let unserved = self
            .answering(case, unserved, end)
            .filter(|_| self.spoke.is_none());
        let patient = |window: &Window| window.to.saturating_sub(window.from) > PATIENCE_NS;
        let Some(window) = [Some(silent), unserved].into_iter().flatten().find(patient) else {
            return;
        };
        let told = format!(
            "{} had not delivered {key} at revision {revision} by {:.6} s, which was there at {:.6} s",
            self.name,
            case.index.seconds(window.to),
            case.index.seconds(window.from),
        );
        let conditions = case.machine.conditions(window);
        let waited = milliseconds(window.to.saturating_sub(window.from));
        if waited <= conditions.allow(milliseconds(PATIENCE_NS)) {
            room.findings.not_judged(told, &conditions.why);
        } else {
            room.findings.violation(told, Vec::new());
        }
    }

    /// The last part of a time in which the member answered whatever else it was asked, from one answer to another:
    /// what was refused meanwhile was refused by a member that is there, and not by the agent of one that is down, for
    /// which another member answers. A learner serves no watch.
    fn answering(&self, case: &Case<'_>, from: Nanos, to: Nanos) -> Option<Window> {
        let samples = case.samples().rev();
        let mut samples = samples
            .filter(|(sample, _)| sample.pod == self.target)
            .skip_while(|(sample, _)| sample.t > to)
            .take_while(|(sample, _)| sample.t >= from)
            .take_while(|(_, own)| own.is_some_and(|status| !status.learner))
            .map(|(sample, _)| sample.t);
        let to = samples.next()?;
        let from = samples.last().unwrap_or(to);
        Some(Window { from, to })
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
