//! Pure: whether etcd has the history that the archive has. A cluster that was recovered from a lost quorum, or whose
//! disks were set back, counts its revisions on from an older one, under the identifier that it had.

use prost::Message as _;
use sha2::{Digest, Sha256};

use super::segment::{Changes, Event, Segment};

/// Most changes of one revision that a segment carries on: its header is bounded, and one deletion may have a million.
const CARRIED: usize = 256;

/// The changes of the last revision of an archive, by their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    revision: i64,
    events: Vec<u64>,
}

impl Last {
    /// As a segment has them, or carries them on from the ones before it.
    #[must_use]
    pub fn of(segment: &Segment) -> Option<Self> {
        if let Some(changes) = &segment.header.last {
            let hashes = changes.hashes.iter();
            let read = hashes.map(|hash| u64::from_str_radix(hash, 16).ok());
            return Some(Last {
                revision: changes.revision,
                events: read.collect::<Option<_>>()?,
            });
        }
        let mut last = Last::default();
        last.remember(&segment.events);
        (last != Last::default()).then_some(last)
    }

    /// For a segment without events; `None` where nothing is known, or it is too much.
    #[must_use]
    pub fn carried(&self) -> Option<Changes> {
        let fits = (1..=CARRIED).contains(&self.events.len());
        fits.then(|| Changes {
            revision: self.revision,
            hashes: self
                .events
                .iter()
                .map(|hash| format!("{hash:016x}"))
                .collect(),
        })
    }

    /// Takes the changes at the end of some; where there are none the last revision is what it was.
    pub fn remember(&mut self, events: &[Event]) {
        let Some(last) = events.last() else {
            return;
        };
        let of = events
            .iter()
            .rev()
            .take_while(|event| event.revision == last.revision);
        *self = Last {
            revision: last.revision,
            events: of.map(hash).collect(),
        };
    }

    /// Whether etcd tells another change of that revision. Of other revisions nothing is known.
    #[must_use]
    pub fn contradicts(&self, told: &[Event]) -> bool {
        let mut same = told.iter().filter(|event| event.revision == self.revision);
        same.any(|event| !self.events.contains(&hash(event)))
    }
}

/// Of what etcd itself has of a change.
fn hash(event: &Event) -> u64 {
    let plain = Event {
        at: 0,
        lease_seconds: 0,
        ..event.clone()
    };
    let digest = Sha256::digest(plain.encode_to_vec());
    let first = digest.iter().take(8);
    first.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::collect::{Collector, Tail};
    use crate::archive::segment::tests::event;

    /// The newest segment of an archive that had these changes, and then none for so many minutes, while its writer was
    /// restarted in each.
    fn quiet(changes: Vec<Event>, minutes: i64) -> Segment {
        let begin = Tail::New {
            after: 10,
            cluster_id: "c".into(),
            since: 0,
        };
        let mut collector = Collector::new("w", begin);
        for change in changes {
            collector.event(change, 1).expect("no hole");
        }
        let mut newest = None;
        for minute in 0..=minutes {
            let now = 1 + minute * 60_000;
            collector.confirm(11, now).expect("all is there");
            let (_, bytes) = collector.close(now).expect("a segment");
            let (read, _, hash) = Segment::decode(&bytes).expect("a segment");
            collector = Collector::new("w", Tail::Link(read.link(hash)));
            collector.remember(Last::of(&read).unwrap_or_default());
            newest = Some(read);
        }
        newest.expect("a segment")
    }

    #[test]
    fn another_history_is_seen_after_any_time_without_a_change() {
        let (first, second) = (event(11, 0, 0), event(11, 0, 1));
        let mut other = first.clone();
        other.value = b"another".to_vec();
        for minutes in [0, 1, 17, 1000] {
            let newest = quiet(vec![first.clone(), second.clone()], minutes);
            assert_eq!(newest.header.events == 0, minutes > 0);
            let last = Last::of(&newest).expect("it knows");
            assert!(last.contradicts(std::slice::from_ref(&other)), "{minutes}");
            assert!(
                !last.contradicts(&[second.clone(), first.clone()]),
                "{minutes}"
            );
        }
    }

    #[test]
    fn what_is_too_much_to_be_carried_on_is_not_known_and_never_in_part() {
        let changes = |count: usize| {
            let numbered = |number: usize| {
                let mut event = event(11, 0, 0);
                event.key = number.to_be_bytes().to_vec();
                event
            };
            (0..count).map(numbered).collect::<Vec<_>>()
        };
        let all = Last::of(&quiet(changes(CARRIED), 3)).expect("it knows");
        assert!(!all.contradicts(&changes(CARRIED)));
        assert!(all.contradicts(&changes(CARRIED + 1)));
        assert_eq!(Last::of(&quiet(changes(CARRIED + 1), 3)), None);
        assert!(Last::of(&quiet(changes(CARRIED + 1), 0)).is_some());
    }

    #[test]
    fn a_segment_of_before_says_nothing_of_what_was_before_it() {
        let mut newest = quiet(vec![event(11, 0, 0)], 1);
        newest.header.last = None;
        let old = Segment::new(newest.header, Vec::new());
        let bytes = old.encode().expect("a segment");
        let (read, _, _) = Segment::decode(&bytes).expect("it is read");
        assert_eq!(Last::of(&read), None);
    }

    #[test]
    fn another_change_of_the_last_revision_is_another_history() {
        let (first, second) = (event(12, 0, 0), event(12, 0, 1));
        let mut last = Last::default();
        assert!(
            !last.contradicts(std::slice::from_ref(&first)),
            "nothing is known"
        );
        last.remember(&[event(11, 0, 0), first.clone(), second.clone()]);
        last.remember(&[]);
        // In any order and in pieces; times are the archive's own.
        let mut later = second.clone();
        (later.at, later.lease_seconds) = (77, 5);
        assert!(!last.contradicts(&[later, first.clone()]));
        assert!(!last.contradicts(&[second]) && !last.contradicts(&[]));
        assert!(!last.contradicts(&[event(11, 0, 9), event(13, 0, 0)]));
        let mut other = first.clone();
        other.value = b"another".to_vec();
        assert!(last.contradicts(&[first, other]));
    }
}
