//! What a link does with what members send over it: pure, time is given.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest delay, and longest time of a flap, in milliseconds.
const LONGEST_MS: u32 = 60_000;
/// Slowest link in bytes a second: less would hold a heartbeat for longer than any election takes.
const SLOWEST: u32 = 256;
/// Shortest time of a flap and between two resets, in milliseconds.
const SHORTEST_MS: u32 = 20;
/// Until TCP sends again what was not acknowledged, in milliseconds: twice as long each further time.
const AGAIN_MS: u32 = 200;
/// Most times that a piece is lost.
const LOSSES_MAX: u32 = 5;
/// Most pieces of a hundred that are lost.
const LOST_MAX: u8 = 50;

/// The rule of one link, which leads one way. Without any of it everything passes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rule {
    /// Nothing passes. What is under way waits, as packets that TCP sends again.
    pub(crate) blocked: bool,
    /// Everything arrives so much later, in milliseconds.
    pub(crate) delay_ms: u32,
    /// And so much more at most, drawn for each piece.
    pub(crate) jitter_ms: u32,
    /// Bytes a second of all connections together; 0: no limit.
    pub(crate) bytes_s: u32,
    /// Nothing passes for so long, then everything for `up_ms`, and so on; both or neither.
    pub(crate) down_ms: u32,
    /// See `down_ms`.
    pub(crate) up_ms: u32,
    /// Every connection is reset so often; 0: never.
    pub(crate) reset_ms: u32,
    /// So many pieces of a hundred are lost and sent again, and what is behind them waits, as with TCP; 0: none.
    pub(crate) lost_percent: u8,
}

/// Whether something passes at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It does.
    Open,
    /// Not until so long after the rule was set.
    ClosedUntil(Duration),
    /// Not before the rule is changed.
    Closed,
}

impl Rule {
    /// A rule that can be kept.
    ///
    /// # Errors
    /// The field, and what would be accepted.
    pub(crate) fn check(&self) -> Result<(), String> {
        let times = [
            ("delay_ms", self.delay_ms),
            ("jitter_ms", self.jitter_ms),
            ("down_ms", self.down_ms),
            ("up_ms", self.up_ms),
            ("reset_ms", self.reset_ms),
        ];
        if let Some((name, _)) = times.iter().find(|(_, ms)| *ms > LONGEST_MS) {
            return Err(format!("{name} must be at most {LONGEST_MS}"));
        }
        if self.bytes_s != 0 && self.bytes_s < SLOWEST {
            return Err(format!(
                "bytes_s must be 0 (no limit) or at least {SLOWEST}"
            ));
        }
        let flaps = [self.down_ms, self.up_ms];
        if flaps != [0, 0] && flaps.iter().any(|ms| *ms < SHORTEST_MS) {
            return Err(format!(
                "down_ms and up_ms must both be 0 (no flapping) or at least {SHORTEST_MS}"
            ));
        }
        if self.reset_ms != 0 && self.reset_ms < SHORTEST_MS {
            return Err(format!(
                "reset_ms must be 0 (never) or at least {SHORTEST_MS}"
            ));
        }
        if self.lost_percent > LOST_MAX {
            return Err(format!("lost_percent must be at most {LOST_MAX}"));
        }
        Ok(())
    }

    /// Whether something passes, so long after the rule was set.
    pub(crate) fn gate(&self, since: Duration) -> Gate {
        if self.blocked {
            return Gate::Closed;
        }
        let Some(cycle) = self.cycle() else {
            return Gate::Open;
        };
        let begun = cycle * self.downs_before(since, cycle);
        let up_at = begun + ms(self.down_ms);
        if since < up_at {
            Gate::ClosedUntil(up_at)
        } else {
            Gate::Open
        }
    }

    /// How often it has gone down, so long after the rule was set.
    pub(crate) fn downs(&self, since: Duration) -> u32 {
        self.cycle()
            .map_or(0, |cycle| self.downs_before(since, cycle) + 1)
    }

    fn cycle(&self) -> Option<Duration> {
        (self.down_ms > 0).then(|| ms(self.down_ms) + ms(self.up_ms))
    }

    /// Cycles that are over.
    fn downs_before(self, since: Duration, cycle: Duration) -> u32 {
        let over = since.as_nanos() / cycle.as_nanos().max(1);
        u32::try_from(over).unwrap_or(u32::MAX - 1)
    }

    /// By how much a piece is delayed, given a random number.
    pub(crate) fn delay(&self, random: u64) -> Duration {
        let jitter = random % (u64::from(self.jitter_ms) * 1000 + 1);
        let again = ms(AGAIN_MS) * ((1 << self.losses(random)) - 1);
        ms(self.delay_ms) + Duration::from_micros(jitter) + again
    }

    /// How often a piece is lost before it arrives, given a random number.
    pub(crate) fn losses(&self, random: u64) -> u32 {
        let draws = (0..LOSSES_MAX).map(|time| (random >> (24 + 8 * time)) & 0xff);
        let is_lost = |draw: &u64| draw * 100 < u64::from(self.lost_percent) * 256;
        u32::try_from(draws.take_while(is_lost).count()).unwrap_or(LOSSES_MAX)
    }

    /// How long a piece occupies the link.
    pub(crate) fn transmission(&self, bytes: usize) -> Duration {
        match self.bytes_s {
            0 => Duration::ZERO,
            bytes_s => {
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / u64::from(bytes_s))
            }
        }
    }

    /// When connections are next reset, counted from when the rule was set.
    pub(crate) fn next_reset(&self, since: Duration) -> Option<Duration> {
        let period = ms(self.reset_ms);
        if period.is_zero() {
            return None;
        }
        let over = since.as_nanos() / period.as_nanos();
        Some(period * u32::try_from(over + 1).unwrap_or(u32::MAX))
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_flap_begins_with_a_down_and_comes_up_on_time() {
        let rule = Rule {
            down_ms: 300,
            up_ms: 200,
            ..Rule::default()
        };
        assert_eq!(rule.gate(at(0)), Gate::ClosedUntil(at(300)));
        assert_eq!(rule.gate(at(299)), Gate::ClosedUntil(at(300)));
        assert_eq!(rule.gate(at(300)), Gate::Open);
        assert_eq!(rule.gate(at(499)), Gate::Open);
        assert_eq!(rule.gate(at(500)), Gate::ClosedUntil(at(800)));
        assert_eq!((rule.downs(at(499)), rule.downs(at(500))), (1, 2));
        let blocked = Rule {
            blocked: true,
            ..rule
        };
        assert_eq!(blocked.gate(at(300)), Gate::Closed);
        assert_eq!(Rule::default().gate(at(7)), Gate::Open);
        assert_eq!(Rule::default().downs(at(7)), 0);
    }

    #[test]
    fn a_delay_is_never_less_than_asked_and_never_more_than_with_its_jitter() {
        let rule = Rule {
            delay_ms: 50,
            jitter_ms: 20,
            ..Rule::default()
        };
        let delays: Vec<Duration> = (0..100_000).step_by(7).map(|n| rule.delay(n)).collect();
        assert_eq!(delays.iter().min(), Some(&at(50)));
        assert!(delays.iter().all(|delay| *delay <= at(70)));
        assert!(delays.iter().any(|delay| *delay > at(69)));
        assert_eq!(Rule::default().delay(u64::MAX), Duration::ZERO);
    }

    #[test]
    fn what_is_lost_comes_after_the_time_of_tcp_and_as_often_as_asked() {
        let rule = Rule {
            lost_percent: 10,
            ..Rule::default()
        };
        let mut random = 1_u64;
        let mut draw = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005);
            random = random.wrapping_add(1_442_695_040_888_963_407);
            random
        };
        let drawn: Vec<u64> = (0..20_000).map(|_| draw()).collect();
        let lost: Vec<u64> = drawn
            .iter()
            .copied()
            .filter(|random| rule.losses(*random) > 0)
            .collect();
        assert!((1_600..2_400).contains(&lost.len()), "{}", lost.len());
        for random in drawn {
            let waits = [0, 200, 600, 1400, 3000, 6200];
            let times = usize::try_from(rule.losses(random)).unwrap();
            assert_eq!(rule.delay(random), at(waits[times]));
        }
        assert_eq!(rule.losses(0), LOSSES_MAX);
        assert_eq!(Rule::default().losses(0), 0);
    }

    #[test]
    fn a_slow_link_takes_its_time_for_each_byte() {
        let rule = Rule {
            bytes_s: 1000,
            ..Rule::default()
        };
        assert_eq!(rule.transmission(250), at(250));
        assert_eq!(Rule::default().transmission(250), Duration::ZERO);
    }

    #[test]
    fn resets_come_at_multiples_of_their_time() {
        let rule = Rule {
            reset_ms: 100,
            ..Rule::default()
        };
        assert_eq!(rule.next_reset(at(0)), Some(at(100)));
        assert_eq!(rule.next_reset(at(100)), Some(at(200)));
        assert_eq!(Rule::default().next_reset(at(100)), None);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        for (text, word) in [
            (r#"{"delay_ms":60001}"#, "delay_ms"),
            (r#"{"bytes_s":255}"#, "bytes_s"),
            (r#"{"down_ms":100}"#, "up_ms"),
            (r#"{"reset_ms":1}"#, "reset_ms"),
            (r#"{"lost_percent":51}"#, "lost_percent"),
        ] {
            let rule: Rule = serde_json::from_str(text).unwrap();
            assert!(rule.check().unwrap_err().contains(word), "{text}");
        }
        assert_eq!(Rule::default().check(), Ok(()));
        assert!(serde_json::from_str::<Rule>(r#"{"delay":5}"#).is_err());
    }
}
