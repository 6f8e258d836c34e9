//! Segments of histories that are delivered, lost, compacted and killed in any order.

use proptest::prelude::*;

use super::*;
use crate::archive::segment::tests::event;

/// An end that is vouched for is put a millisecond later, and what comes next counts from there.
const SLACK: i64 = 2;

/// A step of a cluster, or of its watch.
#[derive(Clone, Debug)]
enum Step {
    /// So many revisions of the history happen.
    Happen(usize),
    /// So many events of those that have happened arrive.
    Events(usize),
    /// The member is asked for its revision.
    Ask,
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
        4 => (1_usize..5).prop_map(Step::Happen),
        6 => (1_usize..9).prop_map(Step::Events),
        4 => Just(Step::Ask),
        4 => Just(Step::Confirm),
        1 => Just(Step::Break),
        1 => Just(Step::Kill),
        1 => Just(Step::Lose),
        1 => Just(Step::Compact),
        3 => (1_i64..3000).prop_map(Step::Wait),
        1 => (3000_i64..30_000).prop_map(Step::Wait),
    ]
}

/// What happens, what is stored, and a writer of it.
struct World {
    history: Vec<Event>,
    /// When each revision happened, from 11 on.
    truth: Vec<i64>,
    delivered: usize,
    /// The member's revision when it was asked, and then.
    asked: Option<(i64, i64)>,
    now: i64,
    /// Since when something waits, and when the last segment was closed.
    waits: i64,
    closed: i64,
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
            truth: Vec::new(),
            delivered: 0,
            asked: None,
            now: 5000,
            waits: 5000,
            closed: 5000,
            stored: Vec::new(),
            collector: Collector::new("w", tail(&[])),
        }
    }

    /// The last revision that has happened.
    fn head(&self) -> i64 {
        10 + self.truth.len() as i64
    }

    /// The events that have happened.
    fn happened(&self) -> &[Event] {
        let head = self.head();
        let end = self.history.partition_point(|event| event.revision <= head);
        &self.history[..end]
    }

    fn happen(&mut self, revisions: usize) {
        let last = self.history.last().map_or(10, |event| event.revision);
        let more = revisions.min((last - self.head()) as usize);
        self.truth.extend(std::iter::repeat_n(self.now, more));
    }

    /// A watch after what is whole.
    fn watch(&mut self) {
        self.collector.interrupted();
        self.asked = None;
        let through = self.collector.through();
        self.delivered = self
            .history
            .partition_point(|event| event.revision <= through);
    }

    /// What a member says that has sent all it has, whether it was asked lately or not.
    fn confirm(&mut self) {
        let at = self.history[..self.delivered]
            .last()
            .map_or(10, |event| event.revision);
        let next = self.history.get(self.delivered);
        // A member never says so in the middle of a revision.
        if next.is_some_and(|next| next.revision == at) || at < self.collector.through() {
            return;
        }
        match self.asked.filter(|(revision, _)| at >= *revision) {
            Some((_, asked)) => {
                assert_eq!(self.collector.confirm(at, asked), Ok(true));
                self.asked = None;
            }
            None => assert_eq!(self.collector.reached(at), Ok(true)),
        }
    }

    fn store(&mut self) {
        let (segment, bytes) = self.collector.close(self.now).expect("a segment");
        (self.waits, self.closed) = (self.now, self.now);
        let (read, length, hash) = Segment::decode(&bytes).expect("a segment");
        assert_eq!((&read, length), (&segment, bytes.len()));
        if let Some(last) = self.stored.last() {
            let (_, _, hash) = Segment::decode(&last.encode().expect("bytes")).expect("a segment");
            segment.follows(&last.link(hash)).expect("it follows");
        }
        assert!(!hash.is_empty());
        self.stored.push(segment);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Happen(revisions) => self.happen(*revisions),
            Step::Events(count) => {
                let end = self
                    .delivered
                    .saturating_add(*count)
                    .min(self.happened().len());
                for event in self.history[self.delivered..end].iter().cloned() {
                    if self.collector.waiting().is_empty() {
                        self.waits = self.now;
                    }
                    self.collector
                        .event(event, self.now)
                        .expect("nothing is lost");
                }
                self.delivered = end;
            }
            Step::Ask => self.asked = Some((self.head(), self.collector.time(self.now))),
            Step::Confirm => self.confirm(),
            Step::Break => self.watch(),
            Step::Kill => {
                self.collector = Collector::new("w", tail(&self.stored));
                (self.waits, self.closed) = (self.now, self.now);
                self.watch();
            }
            Step::Lose => self.lose(),
            Step::Compact => self.compact(),
            Step::Wait(time) => self.now += time,
        }
        let since = |at: i64| Duration::from_millis((self.now - at).unsigned_abs());
        let waited = if self.collector.waiting().is_empty() {
            Duration::ZERO
        } else {
            since(self.waits)
        };
        if self.collector.is_due(waited, since(self.closed)) {
            self.store();
        }
    }

    /// A revision that is lost whole is noticed by the next event.
    fn lose(&mut self) {
        self.watch();
        let through = self.collector.through();
        let later = self
            .happened()
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
        let happened = self.happened();
        let at = happened[..happened.len() / 2]
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

    /// A restore to any time has all that had happened by then, but for what is younger than a lapse, and nothing else.
    fn times_are_true(&self) {
        use crate::archive::search::{Search, Target};
        let truth = |revision: i64| self.truth[(revision - 11) as usize];
        let continuous = self
            .stored
            .iter()
            .filter(|segment| segment.header.continuous);
        for event in continuous.flat_map(|segment| &segment.events) {
            let late = event.at - truth(event.revision);
            assert!((0..=LAPSE + SLACK).contains(&late), "{late} ms: {event:?}");
        }
        let ends = self.stored.iter().flat_map(|segment| {
            let (since, until) = (segment.header.since, segment.header.until);
            [since, since + 1, (since + until) / 2, until - 1, until]
        });
        for time in ends {
            let mut search = Search::new(10, Target::Time(time)).expect("a search");
            let mut shown = self.stored.iter().map(|segment| search.next(segment));
            let found = shown.find_map(Result::transpose);
            let Ok(found) = found.unwrap_or_else(|| search.end()) else {
                continue;
            };
            assert!(found == 10 || truth(found) <= time, "{found} at {time}");
            let missed = (found + 1..=self.head()).find(|next| truth(*next) + LAPSE + SLACK < time);
            assert_eq!(missed, None, "{found} at {time}");
        }
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
        world.step(&Step::Happen(usize::MAX));
        world.step(&Step::Events(usize::MAX));
        world.step(&Step::Wait(1));
        world.step(&Step::Ask);
        world.step(&Step::Confirm);
        world.times_are_true();
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

/// The end of an archive that was in step at 4000.
fn in_step() -> Tail {
    Tail::Link(Link {
        sequence: 0,
        hash: String::new(),
        through: 10,
        until: 4000,
        confirmed: Some(4000),
        cluster_id: "c".into(),
    })
}

#[test]
fn a_clock_that_is_set_back_stands_still() {
    let mut collector = Collector::new("w", tail(&[]));
    for (revision, now) in [(11, 5000), (12, 4500), (13, 5001)] {
        collector
            .event(event(revision, 0, 0), now)
            .expect("no hole");
    }
    let asked = collector.time(4000);
    collector.confirm(13, asked).expect("no hole");
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
        let asked = collector.time(now);
        collector.confirm(revision, asked).expect("no hole");
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
        let mut collector = Collector::new("w", in_step());
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
    let none = Duration::ZERO;
    let mut collector = Collector::new("w", in_step());
    assert!(!collector.is_due(none, IDLE), "nothing was confirmed");
    collector.event(event(11, 0, 0), 5000).expect("no hole");
    assert!(
        !collector.is_due(WAIT, IDLE),
        "the revision may have more events"
    );
    collector.event(event(12, 0, 0), 5001).expect("no hole");
    assert!(!collector.is_due(WAIT - Duration::from_millis(1), none));
    assert!(collector.is_due(WAIT, none));
    collector.confirm(12, 5002).expect("no hole");
    assert!(collector.is_due(none, none));
    collector.close(5002).expect("a segment");
    assert!(!collector.is_due(none, IDLE), "nothing was confirmed since");
    collector.confirm(12, 5003).expect("no hole");
    assert!(!collector.is_due(none, IDLE - Duration::from_millis(1)));
    assert!(collector.is_due(none, IDLE));
    let mut large = event(13, 0, 0);
    large.value = vec![0; FULL];
    collector.event(large, 5004).expect("no hole");
    collector.event(event(14, 0, 0), 5004).expect("no hole");
    assert!(collector.is_due(none, none));
}

#[test]
fn what_is_written_while_a_writer_catches_up_is_not_in_step_until_the_member_confirms() {
    const AWAY: i64 = 30 * 60_000;
    let begin = Tail::New {
        after: 10,
        cluster_id: "c".into(),
        since: 4000,
    };
    let mut unknown = in_step();
    if let Tail::Link(link) = &mut unknown {
        link.confirmed = None;
    }
    // It was unavailable, it died while it caught up, and it begins over a backup of before.
    for (tail, from) in [(in_step(), 4000 + AWAY), (unknown, 4001), (begin, 4001)] {
        let mut collector = Collector::new("w", tail);
        let mut stored = Vec::new();
        // Two segments of what was missed, the report by the member, and two more.
        for (number, confirmed) in [(0, false), (1, false), (2, true), (3, true), (4, false)] {
            let (revision, now) = (11 + number, from + number * 1000);
            collector
                .event(event(revision, 0, 0), now)
                .expect("no hole");
            if confirmed {
                collector.confirm(revision, now + 100).expect("no hole");
            } else {
                collector.reached(revision).expect("no hole");
            }
            stored.push(collector.close(now + 100).expect("a segment").0);
        }
        let known: Vec<bool> = stored.iter().map(|one| one.header.continuous).collect();
        assert_eq!(known, [false, false, false, true, true], "{from}");
        // Who continues after each of them knows as much.
        let confirmed: Vec<bool> = stored.iter().map(|one| one.confirmed().is_some()).collect();
        assert_eq!(confirmed, [false, false, true, true, true], "{from}");
        assert_eq!(stored[4].header.until, stored[4].events[0].at + 1);
        assert_eq!(stored[4].confirmed(), Some(from + 4000 - NEAR));
    }
}

#[test]
fn a_time_that_is_not_known_ends_with_the_first_confirmation_without_an_event_too() {
    let none = Duration::ZERO;
    let mut collector = Collector::new("w", tail(&[]));
    collector.confirm(10, 5000).expect("no hole");
    assert!(collector.is_due(none, none));
    let (first, _) = collector.close(5000).expect("a segment");
    assert_eq!((first.header.continuous, first.header.until), (false, 5000));
    collector.confirm(10, 5400).expect("no hole");
    assert!(!collector.is_due(none, none));
    assert!(collector.is_due(none, IDLE));
    assert!(
        collector
            .close(5400)
            .expect("a segment")
            .0
            .header
            .continuous
    );
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_holds_nothing_up() {
    let none = Duration::ZERO;
    let mut collector = Collector::new("w", in_step());
    collector.confirm(10, 3_605_000).expect("no hole");
    collector.close(3_605_000).expect("a segment");
    collector.event(event(11, 0, 0), 5000).expect("no hole");
    let asked = collector.time(5000);
    assert_eq!(asked, 3_605_000);
    assert_eq!(collector.confirm(11, asked), Ok(true));
    assert!(collector.is_due(none, none));
    collector.close(5000).expect("a segment");
    // And when the member does not say that these are all.
    for revision in [12, 13] {
        collector
            .event(event(revision, 0, 0), 5001)
            .expect("no hole");
    }
    assert!(collector.is_due(WAIT, none));
    collector.close(5002).expect("a segment");
    let asked = collector.time(5003);
    collector.confirm(13, asked).expect("no hole");
    assert!(collector.is_due(none, none), "revision 13 waits");
    collector.close(5003).expect("a segment");
    let asked = collector.time(5004);
    collector.confirm(13, asked).expect("no hole");
    assert!(collector.is_due(none, IDLE));
}
