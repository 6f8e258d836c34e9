//! A watch on a healthy member goes on: what is committed comes, at the latest after some seconds.
//!
//! A stream that ends says so, and its watcher opens another one. One that says nothing at all while what it was asked
//! for is there is dead, whatever else it is right about.

use super::Case;
use super::gaps::Window;
use super::keyspace::Keys;
use super::log;
use super::verdict::Findings;
use crate::hash::FastMap;
use crate::record::{Nanos, WatchEvent};

/// How long a stream may lack what is there, while nothing is done to the cluster: a client that hears nothing asks for
/// the progress after a second, and gives the stream up after four.
const PATIENCE_NS: Nanos = 5_000_000_000;

/// One stream.
struct Tail<'a> {
    name: String,
    keys: Keys<'a>,
    opened: Nanos,
    /// All up to this revision has come, or was not asked for.
    upto: i64,
    /// When it was over; absent when it never was.
    ended: Option<Nanos>,
}

/// Judges the ends of all streams.
pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let mut tails: FastMap<(u32, u32), Tail<'_>> = FastMap::default();
    let mut order: Vec<(u32, u32)> = Vec::new();
    for record in &case.index.watch {
        let stream = (record.watcher, record.stream);
        match &record.event {
            WatchEvent::Opened {
                key,
                range_end,
                start_revision,
            } => {
                let tail = Tail {
                    name: format!(
                        "watcher {} on {} (stream {})",
                        record.watcher, record.target, record.stream
                    ),
                    keys: Keys::new(key, Some(range_end)),
                    opened: record.t,
                    upto: start_revision.saturating_sub(1),
                    ended: None,
                };
                // One that begins with whatever is next has no revision that it must have.
                if *start_revision > 0 && tails.insert(stream, tail).is_none() {
                    order.push(stream);
                }
            }
            WatchEvent::Events { events, .. } => {
                let last = events.iter().map(log::revision).max();
                if let (Some(tail), Some(last)) = (tails.get_mut(&stream), last) {
                    tail.upto = tail.upto.max(last);
                }
            }
            WatchEvent::Progress { revision } => {
                if let Some(tail) = tails.get_mut(&stream) {
                    tail.upto = tail.upto.max(*revision);
                }
            }
            WatchEvent::Cancelled { .. } | WatchEvent::Broken { .. } => {
                if let Some(tail) = tails.get_mut(&stream) {
                    tail.ended.get_or_insert(record.t);
                }
            }
        }
    }
    for tail in order.iter().filter_map(|stream| tails.get(stream)) {
        judge(case, tail, findings);
    }
}

fn judge(case: &Case<'_>, tail: &Tail<'_>, findings: &mut Findings) {
    let made = &case.replayed.made;
    let from = tail.upto.max(made.base()).saturating_add(1);
    let missing = (from..=made.last()).find_map(|revision| {
        let keys = made.keys(revision)?.iter();
        Some((
            revision,
            *keys.copied().find(|key| tail.keys.hold(key)).as_ref()?,
        ))
    });
    let Some((revision, key)) = missing else {
        return;
    };
    let end = tail.ended.unwrap_or(case.index.end);
    let settle = Nanos::try_from(case.expectations.settle_ms).unwrap_or(0);
    let settle = settle.saturating_mul(1_000_000);
    let quiet = case
        .index
        .faults
        .iter()
        .filter(|fault| fault.from <= end)
        .map(|fault| fault.healed.map_or(end, |t| t.saturating_add(settle)))
        .max()
        .unwrap_or(Nanos::MIN);
    let from = case.known.since(revision).max(tail.opened).max(quiet);
    if from >= end || end.saturating_sub(from) <= PATIENCE_NS {
        return;
    }
    let told = format!(
        "{} had not told of {key} at revision {revision} by {:.6} s, which was there at {:.6} s",
        tail.name,
        case.index.seconds(end),
        case.index.seconds(from),
    );
    match case.machine.slow(Window { from, to: end }) {
        Some(why) => findings.not_judged(told, &why),
        None => findings.violation(told, Vec::new()),
    }
}
