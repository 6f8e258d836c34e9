//! The arithmetic of gaps: when a route had no successful write, in which window.
//!
//! A success counts at the time at which its answer was there, and the schedule is looked at beside it, so that neither
//! a client that waits nor one that is blocked hides an outage: the gap is the longer of the two.

use std::collections::BTreeMap;

use crate::index::Index;
use crate::record::{Nanos, Route};

/// Writes of one route, in order.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// When each success was there.
    pub(crate) answered: Vec<Nanos>,
    /// When the schedule wanted each success.
    scheduled: Vec<Nanos>,
    /// When the schedule wanted each write, whatever came of it, and how long it took (until its failure or deadline).
    wanted: Vec<(Nanos, Nanos)>,
    /// When the schedule wanted writes that had no success.
    failed: Vec<Nanos>,
}

/// Attempts at one scheduled write.
#[derive(Debug, Default)]
struct Attempts {
    /// End of the first that succeeded.
    success: Option<Nanos>,
    /// End of the last that did not.
    failure: Option<Nanos>,
}

/// A time of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
}

impl Window {
    fn length(self) -> Nanos {
        self.to - self.from
    }

    /// True for a time in it.
    pub(crate) fn holds(self, t: Nanos) -> bool {
        self.from <= t && t <= self.to
    }

    /// True for a gap whose middle lies in it: one that straddles two windows is the cost of one of them.
    fn owns(self, gap: Self) -> bool {
        let middle = gap.from + gap.length() / 2;
        self.from <= middle && middle < self.to
    }
}

/// What one route was like in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) gap_ms: f64,
    pub(crate) writes: usize,
    pub(crate) failed: usize,
    /// The slowest write; a failed one counts until its failure, which is its deadline.
    pub(crate) slowest_ms: f64,
}

/// Collects the writes of every route.
pub(crate) fn tracks(index: &Index<'_>) -> BTreeMap<Route, Track> {
    let mut tracks: BTreeMap<Route, Track> = BTreeMap::new();
    let mut attempts: BTreeMap<(Route, u32, Nanos), Attempts> = BTreeMap::new();
    for op in index.ops.iter().filter(|op| op.writes()) {
        // The reference client asks several members for one tick of its schedule and needs one of them to answer.
        let client = if op.call.route == Route::DialAll {
            0
        } else {
            op.call.client
        };
        let until = op.end.map_or(index.end, |end| end.t);
        let tick = attempts
            .entry((op.call.route, client, op.call.scheduled))
            .or_default();
        let ends = if op.acked().is_some() {
            &mut tick.success
        } else {
            &mut tick.failure
        };
        let better = if op.acked().is_some() {
            Nanos::min
        } else {
            Nanos::max
        };
        *ends = Some(ends.map_or(until, |end| better(end, until)));
    }
    for ((route, _, scheduled), tick) in attempts {
        let track = tracks.entry(route).or_default();
        let until = tick.success.or(tick.failure).unwrap_or(scheduled);
        track
            .wanted
            .push((scheduled, until.saturating_sub(scheduled)));
        if tick.success.is_some() {
            track.answered.push(until);
            track.scheduled.push(scheduled);
        } else {
            track.failed.push(scheduled);
        }
    }
    for track in tracks.values_mut() {
        track.answered.sort_unstable();
        track.scheduled.sort_unstable();
        track.wanted.sort_unstable();
        track.failed.sort_unstable();
    }
    tracks
}

impl Track {
    /// Measures a window; absent when no write was wanted in it.
    pub(crate) fn measure(&self, window: Window) -> Option<Measured> {
        let writes = between(&self.wanted, |(t, _)| *t, window);
        if writes.is_empty() {
            return None;
        }
        let end = self.end();
        let answered = longest(&self.answered, window, end);
        let scheduled = longest(&self.scheduled, window, end);
        let gap = if scheduled.length() > answered.length() {
            scheduled
        } else {
            answered
        };
        Some(Measured {
            gap_ms: milliseconds(gap.length()),
            writes: writes.len(),
            failed: between(&self.failed, |t| *t, window).len(),
            slowest_ms: milliseconds(writes.iter().map(|(_, took)| *took).max().unwrap_or(0)),
        })
    }

    /// The longest gap that belongs to none of these windows.
    pub(crate) fn outside(&self, windows: &[Window]) -> Option<f64> {
        let belongs = |gap: &Window| windows.iter().any(|window| window.owns(*gap));
        let pairs = self.answered.windows(2).chain(self.scheduled.windows(2));
        let gaps = pairs.map(|pair| Window {
            from: pair[0],
            to: pair[1],
        });
        let lengths = gaps.filter(|gap| !belongs(gap)).map(Window::length);
        lengths.max().map(milliseconds)
    }

    /// First success answered after a time.
    pub(crate) fn success_after(&self, t: Nanos) -> Option<Nanos> {
        self.answered
            .get(self.answered.partition_point(|answered| *answered <= t))
            .copied()
    }

    /// When the last write wanted was over: later no client asked.
    fn end(&self) -> Nanos {
        self.wanted
            .last()
            .map_or(0, |(t, took)| t.saturating_add(*took))
    }
}

/// Longest time between two successes that belongs to the window, whole. The beginning of the window stands for a
/// success when there was none before, the end of the traffic when there was none after.
fn longest(successes: &[Nanos], window: Window, end: Nanos) -> Window {
    let first = successes.partition_point(|t| *t < window.from);
    let mut last = if first > 0 {
        successes[first - 1]
    } else {
        window.from
    };
    let mut most = Window {
        from: last,
        to: last,
    };
    for t in successes[first..].iter().copied().chain([end]) {
        let gap = Window { from: last, to: t };
        if window.owns(gap) && gap.length() > most.length() {
            most = gap;
        }
        last = t;
        if t > window.to {
            break;
        }
    }
    most
}

fn between<T>(sorted: &[T], time: impl Fn(&T) -> Nanos, window: Window) -> &[T] {
    let from = sorted.partition_point(|item| time(item) < window.from);
    let to = sorted.partition_point(|item| time(item) <= window.to);
    &sorted[from..to.max(from)]
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a run lasts minutes: microseconds are exact"
)]
pub(crate) fn milliseconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_that_straddles_two_windows_belongs_to_the_one_with_its_middle() {
        let window = |from, to| Window { from, to };
        let successes = [0, 90, 200, 210];
        let gap = |of| longest(&successes, of, 300).length();
        assert_eq!(gap(window(40, 100)), 90);
        assert_eq!(gap(window(50, 100)), 0);
        assert_eq!(gap(window(100, 250)), 110);
        // Nothing came after: until the end of the traffic.
        assert_eq!(gap(window(205, 300)), 90);
        assert_eq!(longest(&[], window(100, 250), 300).length(), 200);
    }
}
