//! Pure: what a watch delivers -> segments. Times are given, in milliseconds since 1970.

use super::history::Last;
use super::segment::{BODY, Event, Gap, Header, Link, NotASegment, Segment};

/// A segment is closed at so many bytes.
const FULL: usize = 4 * 1024 * 1024;
/// Most bytes that wait: an unfinished revision beyond that cannot be archived.
const MOST: usize = BODY as usize;
/// A segment without events says that time has passed, in milliseconds.
const IDLE: i64 = 60_000;
/// Events wait no longer than this when the member does not say that they are all, in milliseconds.
const WAIT: i64 = 900;
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
    /// When all that had happened was known to be here.
    confirmed: Option<i64>,
    continuous: bool,
    newest: i64,
    /// The last revision that a segment has.
    last: Last,
}

impl Collector {
    /// Continues an archive.
    #[must_use]
    pub fn new(writer: &str, tail: Tail) -> Self {
        let (sequence, previous, after, since, cluster_id) = match tail {
            Tail::New {
                after,
                cluster_id,
                since,
            } => (0, String::new(), after, since, cluster_id),
            Tail::Link(link) => (
                link.sequence + 1,
                link.hash,
                link.through,
                link.until,
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
            confirmed: None,
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
    pub fn remember(&mut self, events: &[Event]) {
        self.last.remember(events);
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
        event.at = self.advance(now);
        self.bytes += weight(&event);
        self.pending.push(event);
        Ok(())
    }

    /// Takes the member's word that all up to a revision was delivered.
    ///
    /// # Errors
    /// When it was not.
    pub fn confirm(&mut self, revision: i64, now: i64) -> Result<(), Hole> {
        let last = self.latest();
        if revision > last {
            return Err(Hole {
                last,
                next: revision,
            });
        }
        if revision < last {
            return Ok(());
        }
        self.whole = self.pending.len();
        let now = self.advance(now);
        // Before the first one nothing was known since the last segment.
        let since = self.confirmed.unwrap_or(self.since);
        self.continuous &= now - since <= LAPSE;
        self.confirmed = Some(now);
        Ok(())
    }

    /// The watch has ended: what is not whole is delivered again by the next one.
    pub fn interrupted(&mut self) {
        self.pending.truncate(self.whole);
        self.bytes = self.pending.iter().map(weight).sum();
    }

    /// Revisions up to `until` cannot be had any more. What is whole must have been closed before.
    pub fn skip(&mut self, until: i64, why: String) {
        self.pending.clear();
        (self.bytes, self.whole) = (0, 0);
        let after = self.gap.take().map_or(self.after, |gap| gap.after);
        self.gap = Some(Gap { after, until, why });
        self.after = until;
    }

    /// Whether a segment is due.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        let waited = now - self.pending.first().map_or(now, |event| event.at);
        let confirmed = self.confirmed.is_some_and(|at| at > self.since);
        let all = confirmed && self.whole == self.pending.len();
        self.gap.is_some()
            || self.whole > 0 && (all || self.bytes >= FULL || waited >= WAIT)
            || confirmed && now - self.since >= IDLE
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
        let now = self.advance(now);
        let rest = self.pending.split_off(self.whole);
        let events = std::mem::replace(&mut self.pending, rest);
        let last = events.last().map_or(self.since, |event| event.at);
        // What is vouched for ends with the last confirmation, or with what has come since.
        let confirmed = self.confirmed.unwrap_or(self.since).max(self.since);
        self.continuous &= self.gap.is_none() && now - confirmed <= LAPSE;
        let until = confirmed.max(last);
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
        };
        let segment = Segment::new(header, events);
        let bytes = segment.encode()?;
        self.last.remember(&segment.events);
        let hash = &bytes[bytes.len() - 32..];
        self.previous = crate::digest::hexadecimal(hash);
        self.sequence += 1;
        self.after = segment.header.through;
        self.since = until;
        self.whole = 0;
        self.continuous = true;
        self.bytes = self.pending.iter().map(weight).sum();
        Ok((segment, bytes))
    }

    /// Time as the archive counts it: a clock that is set back stands still until it is where it was.
    fn advance(&mut self, now: i64) -> i64 {
        self.newest = self.newest.max(now);
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::segment::tests::event;

    /// A step of a watch.
    #[derive(Clone, Debug)]
    enum Step {
        /// So many events of the history arrive.
        Events(usize),
        /// The member says that all was delivered.
        Confirm,
        /// The watch breaks.
        Break,
        /// The process is killed; what was not stored is lost.
        Kill,
        /// An event is lost on its way.
        Lose,
        /// The history is compacted up to where it is, and the watch broken before.
        Compact,
        /// Time passes.
        Wait(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1_usize..9).prop_map(Step::Events),
            4 => Just(Step::Confirm),
            1 => Just(Step::Break),
            1 => Just(Step::Kill),
            1 => Just(Step::Lose),
            1 => Just(Step::Compact),
            3 => (1_i64..3000).prop_map(Step::Wait),
        ]
    }

    /// What is stored, and a writer of it.
    struct World {
        history: Vec<Event>,
        delivered: usize,
        now: i64,
        stored: Vec<Segment>,
        collector: Collector,
    }

    impl World {
        fn new(sizes: &[u8]) -> Self {
            let revisions = sizes.iter().zip(11_i64..);
            let history = revisions
                .flat_map(|(size, revision)| (0..=size % 3).map(move |n| event(revision, 0, n)));
            World {
                history: history.collect(),
                delivered: 0,
                now: 5000,
                stored: Vec::new(),
                collector: Collector::new("w", tail(&[])),
            }
        }

        /// A watch after what is whole.
        fn watch(&mut self) {
            self.collector.interrupted();
            let through = self.collector.through();
            self.delivered = self
                .history
                .iter()
                .take_while(|event| event.revision <= through)
                .count();
        }

        fn store(&mut self) {
            let (segment, bytes) = self.collector.close(self.now).expect("a segment");
            let (read, length, hash) = Segment::decode(&bytes).expect("a segment");
            assert_eq!((&read, length), (&segment, bytes.len()));
            if let Some(last) = self.stored.last() {
                let (_, _, hash) =
                    Segment::decode(&last.encode().expect("bytes")).expect("a segment");
                segment.follows(&last.link(hash)).expect("it follows");
            }
            assert!(!hash.is_empty());
            self.stored.push(segment);
        }

        fn step(&mut self, step: &Step) {
            match step {
                Step::Events(count) => {
                    let end = (self.delivered + count).min(self.history.len());
                    for event in self.history[self.delivered..end].iter().cloned() {
                        self.collector
                            .event(event, self.now)
                            .expect("nothing is lost");
                    }
                    self.delivered = end;
                }
                Step::Confirm => {
                    let at = self.history[..self.delivered]
                        .last()
                        .map_or(10, |event| event.revision);
                    // A member never says so in the middle of a revision.
                    if self
                        .history
                        .get(self.delivered)
                        .is_none_or(|next| next.revision > at)
                    {
                        self.collector.confirm(at, self.now).expect("all is there");
                    }
                }
                Step::Break => self.watch(),
                Step::Kill => {
                    self.collector = Collector::new("w", tail(&self.stored));
                    self.watch();
                }
                Step::Lose => self.lose(),
                Step::Compact => self.compact(),
                Step::Wait(time) => self.now += time,
            }
            if self.collector.is_due(self.now) {
                self.store();
            }
        }

        /// A revision that is lost whole is noticed by the next event.
        fn lose(&mut self) {
            self.watch();
            let through = self.collector.through();
            let later = self
                .history
                .iter()
                .find(|event| event.revision > through + 1);
            if let Some(later) = later.cloned() {
                let hole = self.collector.event(later, self.now).expect_err("a hole");
                assert_eq!(hole.last, through);
                self.watch();
            }
        }

        fn compact(&mut self) {
            self.watch();
            let at = self.history[..self.history.len() / 2]
                .last()
                .map_or(0, |event| event.revision);
            if at <= self.collector.through() {
                return;
            }
            if self.collector.through() > self.collector.after {
                self.store();
            }
            self.collector.skip(at, "compacted".into());
            self.watch();
        }
    }

    fn tail(stored: &[Segment]) -> Tail {
        let Some(last) = stored.last() else {
            return Tail::New {
                after: 10,
                cluster_id: "c".into(),
                since: 4000,
            };
        };
        let (_, _, hash) = Segment::decode(&last.encode().expect("bytes")).expect("a segment");
        Tail::Link(last.link(hash))
    }

    proptest! {
        #[test]
        fn whatever_breaks_every_event_is_archived_once_or_its_revision_is_in_a_gap(
            sizes in prop::collection::vec(any::<u8>(), 2..60), steps in prop::collection::vec(step(), 1..80),
        ) {
            let mut world = World::new(&sizes);
            for step in &steps {
                world.step(step);
            }
            // At the end all is delivered.
            world.watch();
            world.step(&Step::Events(usize::MAX / 2));
            world.step(&Step::Wait(1));
            world.step(&Step::Confirm);
            let gaps: Vec<Gap> = world.stored.iter().filter_map(|segment| segment.header.gap.clone()).collect();
            let missing = |revision: i64| gaps.iter().any(|gap| gap.after < revision && revision <= gap.until);
            let mut wanted = world.history.clone();
            wanted.retain(|event| !missing(event.revision));
            let mut got: Vec<Event> = world.stored.iter().flat_map(|segment| segment.events.clone()).collect();
            prop_assert!(got.is_sorted_by_key(|event| event.at));
            got.iter_mut().for_each(|event| event.at = 0);
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_stands_still() {
        let mut collector = Collector::new("w", tail(&[]));
        for (revision, now) in [(11, 5000), (12, 4500), (13, 5001)] {
            collector
                .event(event(revision, 0, 0), now)
                .expect("no hole");
        }
        collector.confirm(13, 4000).expect("no hole");
        let (segment, _) = collector.close(4000).expect("a segment");
        let times: Vec<i64> = segment.events.iter().map(|event| event.at).collect();
        assert_eq!(times, [5000, 5000, 5001]);
        assert_eq!(segment.header.until, 5001);
    }

    #[test]
    fn a_clock_that_is_set_forward_is_a_time_that_is_refused_until_it_is_passed() {
        use crate::archive::search::{Refusal, Search, Target};
        let mut collector = Collector::new("w", tail(&[]));
        let mut stored = Vec::new();
        // An hour forward after the first, and back after the second.
        for (revision, now) in [(11, 5000), (12, 3_605_000), (13, 6000)] {
            collector
                .event(event(revision, 0, 0), now)
                .expect("no hole");
            collector.confirm(revision, now).expect("no hole");
            stored.push(collector.close(now).expect("a segment").0);
        }
        let found = |target| {
            let mut search = Search::new(10, target).expect("a search");
            let mut found = stored.iter().map(|segment| search.next(segment));
            found.find_map(Result::transpose)
        };
        let wrong = found(Target::Time(6000));
        assert!(
            matches!(wrong, Some(Err(Refusal::Uncertain { .. }))),
            "{wrong:?}"
        );
        assert_eq!(found(Target::Revision(12)), Some(Ok(12)));
    }

    #[test]
    fn times_are_known_only_while_the_member_confirms_in_time() {
        let closed = |confirmations: &[i64]| {
            let mut collector = Collector::new("w", tail(&[]));
            collector
                .event(event(11, 0, 0), confirmations[0])
                .expect("no hole");
            for now in confirmations {
                collector.confirm(11, *now).expect("no hole");
            }
            let now = confirmations[confirmations.len() - 1];
            collector.close(now).expect("a segment").0.header.continuous
        };
        assert!(closed(&[5000, 5000 + LAPSE]));
        assert!(!closed(&[5000, 5001 + LAPSE]));
        assert!(
            !closed(&[4001 + LAPSE, 4002 + LAPSE]),
            "the time since the last segment counts"
        );
    }

    #[test]
    fn what_a_member_says_to_have_delivered_and_has_not_is_a_hole() {
        let mut collector = Collector::new("w", tail(&[]));
        collector.event(event(11, 0, 0), 5000).expect("no hole");
        assert_eq!(
            collector.confirm(12, 5001),
            Err(Hole { last: 11, next: 12 })
        );
        collector.confirm(11, 5001).expect("no hole");
        // More of a revision that was whole.
        assert!(collector.event(event(11, 0, 1), 5002).is_err());
    }

    #[test]
    fn a_segment_is_due_when_it_is_full_confirmed_late_or_a_minute_old() {
        let mut collector = Collector::new("w", tail(&[]));
        assert!(!collector.is_due(5000 + IDLE), "nothing was confirmed");
        collector.event(event(11, 0, 0), 5000).expect("no hole");
        assert!(
            !collector.is_due(5000 + WAIT),
            "the revision may have more events"
        );
        collector.event(event(12, 0, 0), 5001).expect("no hole");
        assert!(!collector.is_due(5001));
        assert!(collector.is_due(5000 + WAIT));
        collector.confirm(12, 5002).expect("no hole");
        assert!(collector.is_due(5002));
        collector.close(5002).expect("a segment");
        assert!(!collector.is_due(5003));
        collector.confirm(12, 5003).expect("no hole");
        assert!(!collector.is_due(5002 + IDLE - 1));
        assert!(collector.is_due(5002 + IDLE));
        let mut large = event(13, 0, 0);
        large.value = vec![0; FULL];
        collector.event(large, 5004).expect("no hole");
        collector.event(event(14, 0, 0), 5004).expect("no hole");
        assert!(collector.is_due(5004));
    }
}
