//! Pure: has the leader been silent for too long? Time is passed in.
//!
//! A sign of life is a beat of the leader's agent that says that its etcd answers, or an answer of that etcd itself.
//! While beats claim that it reaches no majority, it is silent since then, whatever it answers.
//! Silence counts when it is far longer than any of the last minutes, and when this judge was on time all along. One
//! judge only suspects: agents of a majority must, each by itself, before [`super::plan`] lets a member campaign.

use std::time::{Duration, Instant};

use kbagent_protocol::Beat;

use super::plan::Died;

/// Pace of beats, and of the judge's own timer.
pub const BEAT: Duration = Duration::from_millis(30);
/// Silence that is never suspicious: five beats.
const FLOOR: Duration = Duration::from_millis(150);
/// Suspicious silence is so many times the longest that was followed by a sign of life.
const TIMES: u32 = 3;
/// The longest silence is remembered for one to two of these.
const MEMORY: Duration = Duration::from_secs(60);
/// A timer that is later than this was late because processors were busy, or the process was stopped.
const LATE: Duration = Duration::from_millis(25);
/// A judge that was late says nothing for so long: what it received came late, too.
const STARVED: Duration = Duration::from_secs(1);
/// Share of time in which its process waited for a processor, from which on a judge counts as starved. It needs far
/// less of one.
const PRESSURE: f64 = 0.25;
/// A leader is judged after it has given signs of life for so long.
const KNOWN: Duration = Duration::from_secs(1);

/// Whether the process itself is on time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Punctuality {
    ticked: Option<Instant>,
    starved_until: Option<Instant>,
}

impl Punctuality {
    /// The timer of one [`BEAT`] has ended. `pressure` is the share of the last moments in which the process waited
    /// for a processor, where the kernel tells.
    pub fn tick(&mut self, now: Instant, pressure: Option<f64>) {
        let late = self
            .ticked
            .is_some_and(|then| now.saturating_duration_since(then) > BEAT + LATE);
        if late || pressure.is_some_and(|share| share > PRESSURE) {
            self.starved_until = Some(now + STARVED);
        }
        self.ticked = Some(now);
    }

    /// True when it was late just now, or is.
    pub fn starved(&self, now: Instant) -> bool {
        let overdue = self
            .ticked
            .is_none_or(|then| now.saturating_duration_since(then) > BEAT + LATE);
        overdue || self.starved_until.is_some_and(|until| now < until)
    }
}

/// The longest silences that were followed by a sign of life.
#[derive(Clone, Copy, Debug, Default)]
struct Silences {
    since: Option<Instant>,
    now: Duration,
    before: Duration,
}

impl Silences {
    fn add(&mut self, silence: Duration, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= MEMORY {
            let recent = age < MEMORY * 2;
            self.before = if recent { self.now } else { Duration::ZERO };
            (self.now, self.since) = (Duration::ZERO, Some(now));
        }
        self.now = self.now.max(silence);
    }

    fn longest(&self) -> Duration {
        self.now.max(self.before)
    }
}

/// A leader under watch.
#[derive(Clone, Copy, Debug)]
struct Watched {
    led: Died,
    /// First and newest sign of life.
    signs: Option<(Instant, Instant)>,
    /// The newest beats claim that it reaches no majority.
    cut_off: Option<CutOff>,
}

/// A leader's agent claims that its etcd reaches no majority.
#[derive(Clone, Copy, Debug)]
struct CutOff {
    since: Instant,
    /// Void from then on, unless it is claimed again.
    until: Instant,
}

impl Watched {
    /// Since when the leader claims to be cut off, while that is in force.
    fn claimed(&self, now: Instant) -> Option<Instant> {
        let claim = self.cut_off.filter(|claim| now < claim.until);
        claim.map(|claim| claim.since)
    }
}

/// What one judge thinks of its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// It is not silent, or not known for long enough.
    Well,
    /// It has been silent for too long.
    Suspected(Died),
    /// It is silent, and that tells nothing.
    Left(Left),
}

/// Why silence tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Left {
    /// This agent itself was late.
    #[error("this agent itself was late just now: processors are busy")]
    Starved,
    /// Signs of life come irregularly.
    #[error("silence that ended was a quarter of the election timeout lately")]
    Irregular,
    /// It took too long.
    #[error("it took so long that raft's own timeout has its turn")]
    RaftsTurn,
}

/// One agent's judgement of the leader that its member follows.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    election_timeout: Duration,
    watched: Option<Watched>,
    silences: Silences,
}

impl Judge {
    /// `election_timeout` is etcd's.
    pub fn new(election_timeout: Duration) -> Self {
        Self {
            election_timeout,
            watched: None,
            silences: Silences::default(),
        }
    }

    /// The leader to watch from now on.
    pub fn watch(&mut self, led: Option<Died>) {
        if self.watched.map(|watched| watched.led) != led {
            self.watched = led.map(|led| Watched {
                led,
                signs: None,
                cut_off: None,
            });
        }
    }

    /// A beat of the agent of `led`, received `now`.
    pub fn beat(&mut self, led: Died, beat: &Beat, now: Instant) {
        let ago = |ms: Option<u64>| now.checked_sub(Duration::from_millis(ms?));
        let Some(watched) = self.watched.as_mut().filter(|known| known.led == led) else {
            return;
        };
        if beat.starved {
            self.lives(now, now);
        } else if let Some(since) = ago(beat.cut_off_ms) {
            let until = now + FLOOR;
            watched.cut_off = Some(CutOff { since, until });
        } else if let Some(at) = ago(beat.silent_ms) {
            self.lives(at, now);
        }
    }

    /// An answer of the etcd of `led` from the moment `at`, received `now`. It tells nothing of whether that reaches
    /// others.
    pub fn sign(&mut self, led: Died, at: Instant, now: Instant) {
        let known = self.watched.filter(|known| known.led == led);
        if known.is_some_and(|known| known.claimed(now).is_none()) {
            self.lives(at, now);
        }
    }

    /// A sign of life, which ends a claim.
    fn lives(&mut self, at: Instant, now: Instant) {
        let Some(watched) = self.watched.as_mut() else {
            return;
        };
        let at = at.min(now);
        let claimed = watched.claimed(now);
        watched.cut_off = None;
        match &mut watched.signs {
            None => watched.signs = Some((at, at)),
            Some((_, newest)) if at > *newest => {
                let since = claimed.unwrap_or(*newest);
                *newest = at;
                self.silences.add(at.saturating_duration_since(since), now);
            }
            Some(_) => {}
        }
    }

    /// How much silence is suspicious now.
    pub fn patience(&self) -> Duration {
        FLOOR.max(self.silences.longest().saturating_mul(TIMES))
    }

    /// True when the leader's etcd is to be asked, because its agent has been silent for a while. One that claims
    /// to be cut off is not: no answer would count.
    pub fn asks(&self, now: Instant) -> bool {
        let claimed = self.watched.and_then(|watched| watched.claimed(now));
        let silence = self.silence(now).filter(|_| claimed.is_none());
        silence.is_some_and(|(_, silence)| silence >= FLOOR / 2)
    }

    /// The leader, when it is suspected. Never of a judge that is not on time, nor when raft's own timeout is as near.
    pub fn suspects(&self, own: &Punctuality, now: Instant) -> Option<Died> {
        match self.opinion(own, now) {
            Opinion::Suspected(led) => Some(led),
            Opinion::Well | Opinion::Left(_) => None,
        }
    }

    /// What is to be thought of the leader.
    pub fn opinion(&self, own: &Punctuality, now: Instant) -> Opinion {
        let Some((led, silence)) = self.silence(now) else {
            return Opinion::Well;
        };
        let patience = self.patience();
        if silence <= FLOOR {
            Opinion::Well
        } else if own.starved(now) {
            Opinion::Left(Left::Starved)
        } else if patience > self.election_timeout * 3 / 4 {
            Opinion::Left(Left::Irregular)
        } else if silence <= patience {
            Opinion::Well
        } else if silence > self.election_timeout {
            Opinion::Left(Left::RaftsTurn)
        } else {
            Opinion::Suspected(led)
        }
    }

    fn silence(&self, now: Instant) -> Option<(Died, Duration)> {
        let watched = self.watched?;
        let (first, newest) = watched.signs?;
        let known = newest.saturating_duration_since(first) >= KNOWN;
        let since = watched.claimed(now).unwrap_or(newest);
        known.then(|| (watched.led, now.saturating_duration_since(since)))
    }
}

#[cfg(test)]
#[path = "suspicion_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "suspicion_model.rs"]
mod model;
