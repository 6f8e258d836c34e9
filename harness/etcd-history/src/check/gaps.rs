//! The arithmetic of gaps: when a route had no successful write, in which window.
//!
//! A success counts at the time at which its answer was there, and the schedule is looked at beside it, so that neither
//! a client that waits nor one that is blocked hides an outage: the gap is the longer of the two.
//!
//! What a gap has over another route's is its length less the longest time within it in which that route had no success
//! either: an outage of the other one at another time excuses nothing.

use std::collections::BTreeMap;

use crate::index::Index;
use crate::record::{Nanos, Route};

/// Most time by which an outage of another route may begin sooner or end later, however seldom its client writes.
const BESIDE_MAX: Nanos = 1_000_000_000;
/// The time around a measurement in which the machine is looked at: what was late before may have made it late.
const AROUND: Nanos = 1_000_000_000;

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

    /// The time in which a machine that was busy may have made it longer.
    pub(crate) fn around(self) -> Self {
        Self {
            from: self.from.saturating_sub(AROUND),
            to: self.to.saturating_add(AROUND),
        }
    }

    /// True where the two have a time in common.
    pub(crate) fn touches(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }

    /// True for a time in it.
    pub(crate) fn holds(self, t: Nanos) -> bool {
        self.from <= t && t <= self.to
    }

    fn middle(self) -> Nanos {
        self.from + self.length() / 2
    }

    /// True for a gap with its middle here: one that straddles two windows is the cost of one of them.
    fn owns(self, middle: Nanos) -> bool {
        self.from <= middle && middle < self.to
    }
}

/// What was measured of a gap, and when the gap was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gap {
    pub(crate) ms: f64,
    pub(crate) window: Window,
}

/// What one route was like in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// The longest gap.
    pub(crate) gap: Gap,
    /// What a gap has over the dial-all client's at the same time; absent where that client wanted no write.
    pub(crate) over_dial_all: Option<Gap>,
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
    /// Measures a window; absent when no write was wanted in it. What it has over another route's is not in it.
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
            gap: Gap {
                ms: milliseconds(gap.length()),
                window: gap,
            },
            over_dial_all: None,
            writes: writes.len(),
            failed: between(&self.failed, |t| *t, window).len(),
            slowest_ms: milliseconds(writes.iter().map(|(_, took)| *took).max().unwrap_or(0)),
        })
    }

    /// The longest that a gap of a window has over the gaps of another route at the same time; below zero where that
    /// one's are longer.
    pub(crate) fn over(&self, other: &Self, window: Window) -> Gap {
        let lists = [&self.answered, &self.scheduled];
        let gaps = lists
            .into_iter()
            .flat_map(|successes| gaps(successes, window, self.end()));
        let beside = other.usual().saturating_mul(2).min(BESIDE_MAX);
        let over = gaps.map(|gap| {
            let near = Window {
                from: gap.from.saturating_sub(beside),
                to: gap.to.saturating_add(beside),
            };
            (gap.length() - other.without(near), gap)
        });
        let most = over.max_by_key(|(over, _)| *over);
        let (over, window) = most.unwrap_or((0, none(window)));
        Gap {
            ms: milliseconds(over),
            window,
        }
    }

    /// The longest part of a window in which there was no success.
    fn without(&self, window: Window) -> Nanos {
        let answered = without(&self.answered, window, self.end());
        answered.max(without(&self.scheduled, window, self.end()))
    }

    /// The usual time from one write that the schedule wants to the next. An outage that this client shares with
    /// another one begins and ends for it so much sooner or later, and one write more may be under way.
    fn usual(&self) -> Nanos {
        let pairs = self.wanted.windows(2);
        let mut between: Vec<Nanos> = pairs
            .map(|pair| pair[1].0.saturating_sub(pair[0].0))
            .collect();
        between.sort_unstable();
        between.get(between.len() / 2).copied().unwrap_or(0)
    }

    /// The longest gap that belongs to none of these windows; the one that lasts until the end of the traffic, too.
    pub(crate) fn outside(&self, windows: &[Window]) -> Option<f64> {
        let belongs = |middle: Nanos| windows.iter().any(|window| window.owns(middle));
        let of = |successes: &[Nanos]| {
            let pairs = successes.windows(2).map(|pair| Window {
                from: pair[0],
                to: pair[1],
            });
            let between = pairs.map(|gap| (gap, gap.middle()));
            let last = successes.last().map(|last| self.end().gap(*last));
            let all = between.chain(last);
            let outside = all.filter(|(_, middle)| !belongs(*middle));
            outside.map(|(gap, _)| gap.length()).max()
        };
        let longest = of(&self.answered).max(of(&self.scheduled));
        longest.map(milliseconds)
    }

    /// First success answered after a time.
    pub(crate) fn success_after(&self, t: Nanos) -> Option<Nanos> {
        self.answered
            .get(self.answered.partition_point(|answered| *answered <= t))
            .copied()
    }

    /// The end of the traffic.
    fn end(&self) -> End {
        let (asked, took) = self.wanted.last().copied().unwrap_or_default();
        let over = asked.saturating_add(took);
        End { asked, over }
    }
}

/// The end of the traffic.
#[derive(Clone, Copy, Debug)]
struct End {
    /// When the last write was wanted.
    asked: Nanos,
    /// When it was over: later no client asked.
    over: Nanos,
}

impl End {
    /// The gap after the last success, and its middle. The time in which the last write was waited for is in it; the
    /// window that it belongs to ended with the last question.
    fn gap(self, last: Nanos) -> (Window, Nanos) {
        let whole = Window {
            from: last,
            to: self.over.max(last),
        };
        let asked = Window {
            from: last,
            to: self.asked.max(last),
        };
        (whole, asked.middle())
    }
}

/// Longest time between two successes that belongs to the window, whole.
fn longest(successes: &[Nanos], window: Window, end: End) -> Window {
    let gaps = gaps(successes, window, end).into_iter();
    gaps.max_by_key(|gap| gap.length())
        .unwrap_or_else(|| none(window))
}

/// No time at all, at the beginning of a window.
fn none(window: Window) -> Window {
    Window {
        from: window.from,
        to: window.from,
    }
}

/// Times between two successes that belong to the window, whole. The beginning of the window stands for a success when
/// there was none before, the end of the traffic when there was none after.
fn gaps(successes: &[Nanos], window: Window, end: End) -> Vec<Window> {
    let first = successes.partition_point(|t| *t < window.from);
    let before = first.checked_sub(1).and_then(|at| successes.get(at));
    let mut last = before.copied().unwrap_or(window.from);
    let mut gaps = Vec::new();
    for t in successes[first..].iter().copied() {
        let gap = Window { from: last, to: t };
        if window.owns(gap.middle()) {
            gaps.push(gap);
        }
        last = t;
        if t > window.to {
            return gaps;
        }
    }
    let (gap, middle) = end.gap(last);
    if window.owns(middle) {
        gaps.push(gap);
    }
    gaps
}

/// The longest part of a window without a success, up to the end of the traffic.
fn without(successes: &[Nanos], window: Window, end: End) -> Nanos {
    let first = successes.partition_point(|t| *t <= window.from);
    let next = successes.partition_point(|t| *t < window.to);
    let last = match successes.get(next) {
        Some(_) => window.to,
        None => window.to.min(end.over.max(window.from)),
    };
    let mut from = window.from;
    let mut most = 0;
    let inside = successes.get(first..next).unwrap_or_default();
    for t in inside.iter().copied().chain([last]) {
        most = most.max(t.saturating_sub(from));
        from = t;
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
        let end = |asked, over| End { asked, over };
        let gap = |of| longest(&successes, of, end(290, 300)).length();
        assert_eq!(gap(window(40, 100)), 90);
        assert_eq!(gap(window(50, 100)), 0);
        assert_eq!(gap(window(100, 250)), 110);
        // Nothing came after: until the end of the traffic.
        assert_eq!(gap(window(205, 300)), 90);
        // The last write waited for its deadline behind the last window.
        let gap = |of| longest(&successes, of, end(240, 400)).length();
        assert_eq!(gap(window(205, 240)), 190);
        assert_eq!(gap(window(205, 215)), 10);
        assert_eq!(longest(&[], window(100, 250), end(290, 300)).length(), 200);
    }

    #[test]
    fn an_outage_of_the_other_route_counts_where_it_is_shared() {
        let track = |without: &[(Nanos, Nanos)], step: usize| {
            let times = (0..10_000).step_by(step);
            let down = |t: &Nanos| without.iter().any(|(from, to)| from < t && t < to);
            let answered: Vec<Nanos> = times.clone().filter(|t| !down(t)).collect();
            Track {
                scheduled: answered.clone(),
                answered,
                wanted: times.map(|t| (t, 1)).collect(),
                failed: Vec::new(),
            }
        };
        let window = Window {
            from: 900,
            to: 10_000,
        };
        let over = |service, other| {
            let over = track(service, 10).over(&track(other, 50), window);
            (over.ms * 1e6).round()
        };
        assert_eq!(over(&[(1_000, 1_500)], &[(1_000, 1_300)]), 200.0);
        // Begun within the time between two of its writes, and over by then.
        assert_eq!(over(&[(1_040, 1_500)], &[(1_000, 1_300)]), 160.0);
        assert_eq!(over(&[(1_000, 1_300)], &[(1_000, 1_350)]), -40.0);
        // Another outage, of the service alone.
        let both = [(1_000, 2_000), (5_000, 6_500)];
        assert_eq!(over(&both, &[(1_000, 2_000)]), 1_450.0);
        assert_eq!(over(&[(5_000, 6_500)], &[(1_000, 2_000)]), 1_450.0);
        assert_eq!(over(&[], &[]), -40.0);
    }

    #[test]
    fn a_gap_until_the_end_of_the_traffic_is_one() {
        let track = |answered: &[Nanos]| Track {
            answered: answered.to_vec(),
            scheduled: answered.to_vec(),
            wanted: vec![(0, 10), (1_000, 1_000)],
            failed: Vec::new(),
        };
        let window = |from, to| Window { from, to };
        assert_eq!(track(&[0, 900]).outside(&[]), Some(milliseconds(1_100)));
        let in_it = track(&[0, 100]).outside(&[window(400, 1_000)]);
        assert_eq!(in_it, Some(milliseconds(100)));
        assert_eq!(track(&[]).outside(&[]), None);
    }
}
