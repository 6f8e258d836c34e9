//! Which signed requests an agent has taken, so that each is taken once. Pure: the agent's time is given.

use std::collections::BTreeSet;
use std::fmt;

use crate::Id;
use crate::signed::{Nonce, Signed};

/// How old a request's time may be, in milliseconds. Longer than a caller on a starved machine needs from the answer of
/// the clock to its request; within it a request that was held back on its way is still taken, once.
pub const WINDOW_MS: u64 = 10_000;
/// Requests that are remembered. When there are more in a window the oldest are forgotten, and nothing as old is taken.
pub const SEEN: usize = 1024;

/// Requests that one agent process has taken.
#[derive(Debug)]
pub struct Seen {
    epoch: Id,
    taken: BTreeSet<(u64, Nonce)>,
    /// Nothing of this time or before is taken.
    floor: Option<u64>,
}

/// A signed request that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// Its time is too long ago, or ahead, or it is for an agent process of before.
    Late,
    /// It was taken before.
    Replayed,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unseen::Late => "the request was not signed just now: ask for the clock and sign again",
            Unseen::Replayed => "the request was taken before",
        })
    }
}

impl std::error::Error for Unseen {}

impl Seen {
    /// Of the process with this random number.
    #[must_use]
    pub fn new(epoch: Id) -> Self {
        Seen {
            epoch,
            taken: BTreeSet::new(),
            floor: None,
        }
    }

    /// Takes a request whose signature was found good. Only such a request costs memory.
    ///
    /// # Errors
    /// When it was taken before, or that is not known any more.
    pub fn take(&mut self, signed: &Signed, now_ms: u64) -> Result<(), Unseen> {
        let age = now_ms.checked_sub(signed.at_ms).ok_or(Unseen::Late)?;
        let forgotten = self.floor.is_some_and(|floor| signed.at_ms <= floor);
        if signed.epoch != self.epoch || age > WINDOW_MS || forgotten {
            return Err(Unseen::Late);
        }
        if !self.taken.insert((signed.at_ms, signed.nonce)) {
            return Err(Unseen::Replayed);
        }
        // What is older than the window is refused for its age.
        let oldest = now_ms.saturating_sub(WINDOW_MS);
        while self.taken.first().is_some_and(|(at_ms, _)| *at_ms < oldest) {
            self.taken.pop_first();
        }
        if self.taken.len() > SEEN
            && let Some((at_ms, _)) = self.taken.pop_first()
        {
            self.floor = Some(at_ms);
        }
        Ok(())
    }

    /// How many are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn signed(epoch: u64, at_ms: u64, nonce: u32) -> Signed {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&nonce.to_be_bytes());
        Signed::unsigned(Id(epoch), at_ms, Nonce(bytes))
    }

    #[test]
    fn a_request_is_taken_once_in_its_window_by_its_process() {
        let mut seen = Seen::new(Id(1));
        let now = 50_000;
        assert_eq!(seen.take(&signed(1, now, 1), now), Ok(()));
        assert_eq!(seen.take(&signed(1, now, 1), now), Err(Unseen::Replayed));
        assert_eq!(seen.take(&signed(1, now, 2), now), Ok(()));
        assert_eq!(
            seen.take(&signed(2, now, 3), now),
            Err(Unseen::Late),
            "an agent of before"
        );
        assert_eq!(
            seen.take(&signed(1, now + 1, 3), now),
            Err(Unseen::Late),
            "ahead"
        );
        let oldest = now - WINDOW_MS;
        assert_eq!(seen.take(&signed(1, oldest, 3), now), Ok(()));
        assert_eq!(seen.take(&signed(1, oldest, 3), now), Err(Unseen::Replayed));
        assert_eq!(seen.take(&signed(1, oldest - 1, 4), now), Err(Unseen::Late));
        let later = now + WINDOW_MS;
        assert_eq!(seen.take(&signed(1, now, 1), later), Err(Unseen::Replayed));
        assert_eq!(seen.take(&signed(1, now, 1), later + 1), Err(Unseen::Late));
        assert_eq!(seen.take(&signed(1, later + 1, 9), later + 1), Ok(()));
        assert_eq!(seen.remembered(), 1, "the rest is too old to be taken");
    }

    #[test]
    fn a_flood_costs_no_more_memory_and_opens_nothing_again() {
        let mut seen = Seen::new(Id(1));
        let flood = u32::try_from(SEEN).expect("small") + 10;
        for nonce in 0..flood {
            let at = u64::from(nonce) / 4;
            assert_eq!(seen.take(&signed(1, at, nonce), 9000), Ok(()));
        }
        assert_eq!(seen.remembered(), SEEN);
        for nonce in 0..flood {
            let again = seen.take(&signed(1, u64::from(nonce) / 4, nonce), 9000);
            assert!(again.is_err(), "{nonce}");
        }
        let forgotten = seen.take(&signed(1, 1, 99_999), 9000);
        assert_eq!(forgotten, Err(Unseen::Late), "of a time that is forgotten");
        assert_eq!(seen.take(&signed(1, 9000, 99_999), 9000), Ok(()));
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice_in_any_order(
            requests in proptest::collection::vec((0..30_000u64, 0..6u32, 0..4_000u64), 0..3000)
        ) {
            let (mut seen, mut taken, mut now) = (Seen::new(Id(1)), HashSet::new(), 0);
            for (at, nonce, later) in requests {
                now += later / 100;
                if seen.take(&signed(1, at, nonce), now).is_ok() {
                    prop_assert!(taken.insert((at, nonce)), "{} {} was taken twice", at, nonce);
                    prop_assert!(at <= now && now - at <= WINDOW_MS);
                }
                prop_assert!(seen.remembered() <= SEEN);
            }
        }
    }
}
