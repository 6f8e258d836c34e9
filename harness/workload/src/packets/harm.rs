//! What is done to which packets: drawn by a seed, and bounded. Pure, time is given.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::packets::packet::Flow;

/// So many later packets of its connection pass before one that is held back: TCP takes three for a loss.
const BEHIND: u32 = 3;
/// It is held for so long at most, less than TCP waits until it sends again.
const HELD_MAX: Duration = Duration::from_millis(60);
/// Most packets that are held at a time.
const PLACES: usize = 64;

/// What is done to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Harm {
    /// It is lost.
    Lose,
    /// It arrives twice.
    Duplicate,
    /// A bit of it arrives as another.
    Corrupt,
    /// Later ones arrive before it.
    Reorder,
}

/// Which packets are harmed.
pub(super) struct Draw {
    rng: StdRng,
    percent: u8,
}

impl Draw {
    /// So many of a hundred.
    pub(super) fn new(seed: u64, percent: u8) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, percent }
    }

    /// True when the next one is.
    pub(super) fn next(&mut self) -> bool {
        self.rng.random_range(0..100) < self.percent
    }

    /// A number, for which bit of it.
    pub(super) fn number(&mut self) -> u32 {
        self.rng.random()
    }
}

/// A packet that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: u32,
    pub(super) hook: u8,
    flow: Flow,
    until: Instant,
    /// So many of its connection have passed it.
    pub(super) passed: u32,
}

/// Packets that are held back, in the order in which they came.
#[derive(Default)]
pub(super) struct Buffer(VecDeque<Held>);

impl Buffer {
    /// Holds one back. False where it cannot: too many are.
    pub(super) fn hold(&mut self, now: Instant, (id, hook): (u32, u8), flow: Flow) -> bool {
        let free = self.0.len() < PLACES;
        if free {
            self.0.push_back(Held {
                id,
                hook,
                flow,
                until: now + HELD_MAX,
                passed: 0,
            });
        }
        free
    }

    /// A packet of this connection has passed; returns those that it was the last one before.
    pub(super) fn pass(&mut self, flow: &Flow) -> Vec<Held> {
        for held in self.0.iter_mut().filter(|held| held.flow == *flow) {
            held.passed += 1;
        }
        self.take(|held| held.passed >= BEHIND)
    }

    /// Those that have been held for long enough.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Held> {
        self.take(|held| held.until <= now)
    }

    /// All.
    pub(super) fn all(&mut self) -> Vec<Held> {
        self.take(|_| true)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.front().map(|held| held.until)
    }

    fn take(&mut self, over: impl Fn(&Held) -> bool) -> Vec<Held> {
        let (taken, left): (VecDeque<Held>, _) = self.0.drain(..).partition(over);
        self.0 = left;
        taken.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Flow = [1; 12];
    const OTHER: Flow = [2; 12];

    fn ids(held: &[Held]) -> Vec<u32> {
        held.iter().map(|held| held.id).collect()
    }

    #[test]
    fn a_seed_harms_the_same_packets_again_and_about_as_many_as_were_asked_for() {
        let drawn = |seed, percent| {
            let mut draw = Draw::new(seed, percent);
            (0..10_000).map(|_| draw.next()).collect::<Vec<bool>>()
        };
        assert_eq!(drawn(7, 10), drawn(7, 10));
        assert_ne!(drawn(7, 10), drawn(8, 10));
        let harmed = drawn(7, 10).into_iter().filter(|harmed| *harmed).count();
        assert!((800..1200).contains(&harmed), "{harmed}");
        assert!(drawn(7, 0).iter().all(|harmed| !harmed));
        assert!(drawn(7, 100).iter().all(|harmed| *harmed));
    }

    #[test]
    fn a_packet_is_held_until_three_of_its_connection_have_passed() {
        let now = Instant::now();
        let mut buffer = Buffer::default();
        assert!(buffer.hold(now, (1, 3), ONE));
        assert!(buffer.pass(&OTHER).is_empty(), "another connection");
        assert!(buffer.pass(&ONE).is_empty());
        assert!(buffer.hold(now, (2, 3), ONE), "held later");
        assert!(buffer.pass(&ONE).is_empty());
        let over = buffer.pass(&ONE);
        assert_eq!((ids(&over), over[0].passed), (vec![1], 3));
        assert_eq!(ids(&buffer.pass(&ONE)), [2]);
        assert_eq!(buffer.next(), None);
    }

    #[test]
    fn none_is_held_for_longer_than_its_time() {
        let now = Instant::now();
        let later = now + Duration::from_millis(10);
        let mut buffer = Buffer::default();
        assert!(buffer.hold(now, (1, 1), ONE) && buffer.hold(later, (2, 1), OTHER));
        assert_eq!(buffer.next(), Some(now + HELD_MAX));
        assert!(
            buffer
                .due(now + HELD_MAX - Duration::from_millis(1))
                .is_empty()
        );
        let due = buffer.due(now + HELD_MAX);
        assert_eq!((ids(&due), due[0].passed), (vec![1], 0));
        assert_eq!(buffer.next(), Some(later + HELD_MAX));
        assert_eq!(ids(&buffer.all()), [2]);
    }

    #[test]
    fn no_more_are_held_than_there_are_places() {
        let now = Instant::now();
        let mut buffer = Buffer::default();
        for id in 0..u32::try_from(PLACES).expect("a few") {
            assert!(buffer.hold(now, (id, 1), ONE));
        }
        assert!(!buffer.hold(now, (99, 1), ONE));
        assert_eq!(buffer.all().len(), PLACES);
        assert!(buffer.hold(now, (99, 1), ONE));
    }
}
