//! Pure: what a watch delivers -> segments. Times are given, in milliseconds since 1970. They are written down and
//! decide nothing but whether times are known: a clock may be set, so what is due is told by durations.

use std::time::Duration;

use super::history::Last;
use super::segment::{BODY, Event, Gap, Header, Link, NEAR, NotASegment, Segment};

/// A segment is closed at so many bytes.
const FULL: usize = 4 * 1024 * 1024;
/// Most bytes that wait: an unfinished revision beyond that cannot be archived.
const MOST: usize = BODY as usize;
/// A segment without events says that time has passed.
const IDLE: Duration = Duration::from_secs(60);
/// Events wait no longer than this when the member does not say that they are all.
const WAIT: Duration = Duration::from_millis(900);
/// From one confirmation to the next in milliseconds: if it takes longer, times are not known.
pub const LAPSE: i64 = 10_000;

/// The watch did not deliver all there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watch went from revision {last} to {next}")]
pub struct Hole {
    /// The last revision that came.
    pub last: i64,
    /// The one that came, or must have come, after it.
    pub next: i64,
}

/// Where an archive stands that has no segment yet, or whose last one is this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing was written: it begins after this revision of this etcd cluster, now.
    New {
        /// The revision.
        after: i64,
        /// Identifier of the etcd cluster, hexadecimal.
        cluster_id: String,
        /// Now.
        since: i64,
    },
    /// The last segment.
    Link(Link),
}

/// Bytes that an event takes, about.
fn weight(event: &Event) -> usize {
    event.key.len() + event.value.len() + 64
}

/// Collects events, and closes segments of whole revisions.
#[derive(Clone, Debug)]
pub struct Collector {
    writer: String,
    cluster_id: String,
    sequence: u64,
    previous: String,
    /// Revision and time that the next segment begins after.
    after: i64,
    since: i64,
    gap: Option<Gap>,
    pending: Vec<Event>,
    bytes: usize,
    /// How many of them are of revisions that have all their events.
    whole: usize,
    /// What had happened by then is known to be here. Unknown at first: that a segment was written says nothing of it.
    confirmed: Option<i64>,
    /// Everything that is here was confirmed, and since the last segment.
    agreed: bool,
    continuous: bool,
    newest: i64,
    /// The last revision that a segment has.
    last: Last,
}

impl Collector {
    /// Continues an archive.
    #[must_use]
    pub fn new(writer: &str, tail: Tail) -> Self {
        let (sequence, previous, (after, since, confirmed), cluster_id) = match tail {
            Tail::New {
                after,
                cluster_id,
                since,
            } => (0, String::new(), (after, since, None), cluster_id),
            Tail::Link(link) => (
                link.sequence + 1,
                link.hash,
                (link.through, link.until, link.confirmed),
                link.cluster_id,
            ),
        };
        Collector {
            writer: writer.to_owned(),
            cluster_id,
            sequence,
            previous,
            after,
            since,
            gap: None,
            pending: Vec::new(),
            bytes: 0,
            whole: 0,
            confirmed,
            agreed: false,
            continuous: true,
            newest: since,
            last: Last::default(),
        }
    }

    /// The last revision that is here whole: a watch continues after it.
    #[must_use]
    pub fn through(&self) -> i64 {
        self.pending[..self.whole]
            .last()
            .map_or(self.after, |event| event.revision)
    }

    /// The last revision that came, whole or not.
    fn latest(&self) -> i64 {
        self.pending
            .last()
            .map_or(self.after, |event| event.revision)
    }

    /// Takes the changes at the archive's end.
    pub fn remember(&mut self, last: Last) {
        self.last = last;
    }

    /// Whether etcd tells another change of a revision that is here.
    #[must_use]
    pub fn contradicts(&self, told: &[Event]) -> bool {
        if told.is_empty() {
            return false;
        }
        let mut last = self.last.clone();
        last.remember(&self.pending[..self.whole]);
        last.contradicts(told)
    }

    /// Identifier of the etcd cluster, hexadecimal.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Events that no segment has yet.
    pub fn waiting(&mut self) -> &mut [Event] {
        &mut self.pending
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// When revisions are missing before it.
    pub fn event(&mut self, mut event: Event, now: i64) -> Result<(), Hole> {
        let last = self.latest();
        let next = event.revision == last + 1;
        let same = event.revision == last && last > self.through();
        if !next && !same {
            return Err(Hole {
                last,
                next: event.revision,
            });
        }
        if event.revision > last {
            self.whole = self.pending.len();
        }
        event.at = self.time(now);
        self.agreed = false;
        self.bytes += weight(&event);
        self.pending.push(event);
        Ok(())
    }

    /// Takes the member's word that all up to a revision was delivered; whether that is all that came.
    ///
    /// # Errors
    /// When it was not.
    pub fn reached(&mut self, revision: i64) -> Result<bool, Hole> {
        let last = self.latest();
        if revision > last {
            return Err(Hole {
                last,
                next: revision,
            });
        }
        if revision == last {
            self.whole = self.pending.len();
        }
        Ok(revision == last)
    }

    /// Takes it for all that had happened `asked` milliseconds after 1970, as [`Collector::time`] told; whether it is.
    ///
    /// # Errors
    /// When it was not delivered.
    pub fn confirm(&mut self, revision: i64, asked: i64) -> Result<bool, Hole> {
        if !self.reached(revision)? {
            return Ok(false);
        }
        let now = self.time(asked);
        // What has come since the one before may be as old as that.
        self.continuous &= self.in_time(now);
        self.confirmed = self.confirmed.max(Some(asked));
        self.agreed = true;
        Ok(true)
    }

    /// The watch has ended: what is not whole is delivered again by the next one.
    pub fn interrupted(&mut self) {
        self.pending.truncate(self.whole);
        self.bytes = self.pending.iter().map(weight).sum();
    }

    /// Revisions up to `until` cannot be had any more. What is whole must have been closed before.
    pub fn skip(&mut self, until: i64, why: String) {
        self.pending.clear();
        (self.bytes, self.whole, self.agreed) = (0, 0, false);
        let after = self.gap.take().map_or(self.after, |gap| gap.after);
        self.gap = Some(Gap { after, until, why });
        self.after = until;
    }

    /// Whether a segment is due, when something has waited for so long, and the last one was closed so long ago. One
    /// whose times are not known ends as soon as they are again.
    #[must_use]
    pub fn is_due(&self, waited: Duration, passed: Duration) -> bool {
        self.gap.is_some()
            || self.whole > 0 && (self.agreed || self.bytes >= FULL || waited >= WAIT)
            || self.agreed && (!self.continuous || passed >= IDLE)
    }

    /// True when a single revision is larger than an archive takes.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.bytes >= MOST
    }

    /// Closes a segment of all whole revisions; its bytes. It must be stored before the next is closed.
    ///
    /// # Errors
    /// When it would contradict itself.
    pub fn close(&mut self, now: i64) -> Result<(Segment, Vec<u8>), NotASegment> {
        let now = self.time(now);
        let rest = self.pending.split_off(self.whole);
        let events = std::mem::replace(&mut self.pending, rest);
        self.continuous &= self.gap.is_none() && self.in_time(now);
        let until = self.until(&events);
        let header = Header {
            format_version: 0,
            sequence: self.sequence,
            previous: self.previous.clone(),
            cluster_id: self.cluster_id.clone(),
            writer: self.writer.clone(),
            after: self.after,
            through: self.after,
            events: 0,
            body: 0,
            since: self.since,
            until,
            continuous: self.continuous,
            gap: self.gap.take(),
            // Who continues this archive knows of no other segment.
            last: events.is_empty().then(|| self.last.carried()).flatten(),
        };
        let segment = Segment::new(header, events);
        let bytes = segment.encode()?;
        self.last.remember(&segment.events);
        let hash = &bytes[bytes.len() - 32..];
        self.previous = crate::digest::hexadecimal(hash);
        self.sequence += 1;
        self.after = segment.header.through;
        (self.since, self.newest) = (until, self.newest.max(until));
        // What waits may have come in the millisecond that the segment ends after.
        for event in &mut self.pending {
            event.at = event.at.max(until);
        }
        (self.whole, self.agreed) = (0, false);
        self.continuous = true;
        self.bytes = self.pending.iter().map(weight).sum();
        Ok((segment, bytes))
    }

    /// Whether the last confirmation is not too old.
    fn in_time(&self, now: i64) -> bool {
        self.confirmed
            .is_some_and(|at| now.saturating_sub(at) <= LAPSE)
    }

    /// Where a segment ends: with the last confirmation, or with what has come since. It ends later than its last event
    /// only when a confirmation vouches for that, as [`Segment::confirmed`] reads it.
    fn until(&self, events: &[Event]) -> i64 {
        let end = events.last().map_or(self.since, |event| event.at);
        match self.confirmed {
            Some(at) if at >= end => at,
            Some(at) if end.saturating_sub(at) <= NEAR && !events.is_empty() => end + 1,
            _ => end,
        }
    }

    /// Time as the archive counts it: a clock that is set back stands still until it is where it was.
    pub fn time(&mut self, now: i64) -> i64 {
        self.newest = self.newest.max(now);
        self.newest
    }
}

#[cfg(test)]
mod tests;
