//! Places each operation: the part, the revision and the values left behind that its answer implies.
//!
//! Judges nothing; the witness and the search build on it.

use std::collections::BTreeMap;

use super::keyspace::Keys;
use super::log::{self, Log};
use super::store::Store;
use crate::hash::{FastMap, FastSet};
use crate::index::{Index, Op};
use crate::record::{Compare, KeyValue, Nanos, Request, Response, WatchEvent};

/// How an acknowledged operation takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// It made its revision.
    Changes,
    /// It made its revision if there was something to delete.
    Revokes,
    /// It saw its revision.
    Reads,
}

/// How an acknowledged operation takes part; absent when its revision says nothing about its place.
pub(crate) fn part(request: &Request, response: &Response) -> Option<Part> {
    match (request, response) {
        (Request::Put { .. }, _) => Some(Part::Changes),
        (Request::Delete { .. }, Response::Delete { deleted }) if *deleted > 0 => {
            Some(Part::Changes)
        }
        (Request::Delete { .. }, _) => Some(Part::Reads),
        (Request::Range { serializable, .. }, _) => (!serializable).then_some(Part::Reads),
        (Request::Txn { .. }, Response::Txn { responses, .. }) if responses.iter().any(wrote) => {
            Some(Part::Changes)
        }
        (Request::Txn { .. }, _) => (!local(request)).then_some(Part::Reads),
        (Request::LeaseGrant { .. } | Request::Compact { .. }, _) => Some(Part::Reads),
        (Request::LeaseRevoke { .. }, _) => Some(Part::Revokes),
        // The header of a keep-alive is filled before the lease is touched, by a member that may be behind.
        (Request::LeaseKeepAlive { .. }, _) => None,
    }
}

/// True for a request that the member it reaches answers from its own store, however old that is.
pub(crate) fn local(request: &Request) -> bool {
    request.parts().all(|part| {
        matches!(
            part,
            Request::Range {
                serializable: true,
                ..
            }
        )
    })
}

/// True for a local read of whatever revision the member has.
pub(crate) fn serializable(request: &Request) -> bool {
    local(request) && !matches!(request, Request::Range { revision: 1.., .. })
}

fn wrote(response: &Response) -> bool {
    match response {
        Response::Put {} => true,
        Response::Delete { deleted } => *deleted > 0,
        _ => false,
    }
}

/// What reads of ranges before the first write show of an etcd that was used before; absent where no range was read.
pub(crate) fn read<'a>(index: &Index<'a>) -> Option<Store<'a>> {
    let early = Early::of(index)?;
    Some(match early.revision {
        // Nothing was ever written: what an answer shows is not what was there.
        ..=1 => Store::at(early.revision, &[]),
        revision => Store::with(revision, early.looks.into_values().flatten()),
    })
}

/// True where a range was read before the first write.
pub(crate) fn read_early(index: &Index<'_>) -> bool {
    Early::of(index).is_some()
}

/// Why it is not known what was there before the run, where a range was read: an etcd that was used before was not read
/// as far as the run uses it. One at its first revision holds nothing.
pub(crate) fn unread(index: &Index<'_>) -> Option<String> {
    let early = Early::of(index).filter(|early| early.revision > 1)?;
    let asked = index.ops.iter().filter(|op| !op.failed());
    let asked = asked.flat_map(|op| keys_of(&op.call.request));
    let told = index.watch.iter().filter_map(|record| match &record.event {
        WatchEvent::Events { events, .. } => Some(events),
        _ => None,
    });
    let told = told.flatten().map(|event| Keys::new(log::key(event), None));
    let unread = asked.chain(told).find(|keys| !early.shows(*keys))?;
    Some(format!(
        "the store was at revision {} when the run began, and not all of {} was read before the first write",
        early.revision, unread.key
    ))
}

/// Keys that a request reads, compares or writes.
pub(crate) fn keys_of(request: &Request) -> impl Iterator<Item = Keys<'_>> {
    let compared: &[Compare] = match request {
        Request::Txn { compare, .. } => compare,
        _ => &[],
    };
    let compared = compared.iter().map(|compare| match compare {
        Compare::ModRevision { key, .. }
        | Compare::Value { key, .. }
        | Compare::Version { key, .. } => Keys::new(key, None),
    });
    let used = request.parts().filter_map(|part| match part {
        Request::Put { key, .. } => Some(Keys::new(key, None)),
        Request::Range { key, range_end, .. } | Request::Delete { key, range_end } => {
            Some(Keys::new(key, range_end.as_deref()))
        }
        _ => None,
    });
    compared.chain(used)
}

/// What reads showed before the first write of the run, at the revision of the first one of a range.
struct Early<'a> {
    revision: i64,
    looks: BTreeMap<Keys<'a>, &'a [KeyValue]>,
}

impl<'a> Early<'a> {
    /// Absent where no range was read.
    fn of(index: &Index<'a>) -> Option<Self> {
        let first_write = index.ops.iter().find(|op| op.writes() && !op.failed());
        let until = first_write.map_or(Nanos::MAX, |op| op.call.t);
        let early = index.ops.iter().take_while(|op| op.call.t <= until);
        let whole = |op: &Op<'a>| match (&op.call.request, op.acked()?) {
            (
                Request::Range {
                    key,
                    range_end,
                    limit: 0,
                    revision: 0,
                    serializable: false,
                },
                acked,
            ) => match acked.response {
                Response::Range { kvs, .. } => {
                    let keys = Keys::new(key, range_end.as_deref());
                    Some((acked.revision, keys, kvs.as_slice()))
                }
                _ => None,
            },
            _ => None,
        };
        let early = early.filter(|op| op.certain_by() <= until);
        let looks: Vec<_> = early.filter_map(whole).collect();
        let (revision, ..) = *looks.iter().find(|(_, keys, _)| keys.is_range())?;
        let same = looks.into_iter().filter(|(of, ..)| *of == revision);
        let looks = same.map(|(_, keys, kvs)| (keys, kvs)).collect();
        Some(Self { revision, looks })
    }

    /// True when one of the reads showed all of these keys.
    fn shows(&self, keys: Keys<'_>) -> bool {
        let mut ranges = self.looks.keys().filter(|look| look.is_range());
        self.looks.contains_key(&keys) || ranges.any(|look| look.cover(keys))
    }
}

/// The revision before the lowest that was ever seen, and when that was. Reads that may be old are asked where nothing
/// else tells.
pub(crate) fn lowest(index: &Index<'_>, log: &Log<'_>) -> Option<(i64, Nanos)> {
    let placed = index.ops.iter().filter_map(|op| {
        let acked = op.acked()?;
        let part = part(&op.call.request, acked.response)?;
        let made = i64::from(part == Part::Changes);
        Some((acked.revision.saturating_sub(made), op.certain_by()))
    });
    let seen = log.entries().next();
    let seen = seen.map(|(revision, entry)| (revision.saturating_sub(1), entry.seen));
    let local = index.ops.iter().filter(|op| local(&op.call.request));
    let local = local.filter_map(|op| Some((op.acked()?.revision, op.certain_by())));
    placed.chain(seen).min().or_else(|| local.min())
}

/// An acknowledged operation at its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) revision: i64,
    pub(crate) part: Part,
    pub(crate) call: Nanos,
    pub(crate) op: u32,
}

/// A read whose place in time says nothing of its revision, to be compared when the replay is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'a> {
    pub(crate) revision: i64,
    pub(crate) serializable: bool,
    pub(crate) request: &'a Request,
    pub(crate) response: &'a Response,
    pub(crate) op: u32,
}

pub(crate) fn place<'a>(index: &Index<'a>) -> (Vec<Placed>, Vec<Past<'a>>) {
    let mut placed = Vec::with_capacity(index.ops.len());
    let mut past = Vec::new();
    for (position, op) in index.ops.iter().enumerate() {
        let Some(acked) = op.acked() else { continue };
        let op_number = u32::try_from(position).unwrap_or(u32::MAX);
        let request = &op.call.request;
        collect_past(request, acked.response, op_number, &mut past);
        if serializable(request) {
            past.push(Past {
                revision: acked.revision,
                serializable: true,
                request,
                response: acked.response,
                op: op_number,
            });
        }
        if let Some(part) = part(request, acked.response) {
            placed.push(Placed {
                revision: acked.revision,
                part,
                call: op.call.t,
                op: op_number,
            });
        }
    }
    placed.sort_by_key(|p| (p.revision, p.part != Part::Changes, p.call));
    past.sort_by_key(|p| p.revision);
    (placed, past)
}

fn collect_past<'a>(
    request: &'a Request,
    response: &'a Response,
    op: u32,
    past: &mut Vec<Past<'a>>,
) {
    for (request, response) in request.answered(response) {
        if let Request::Range {
            revision,
            serializable,
            ..
        } = request
            && *revision > 0
        {
            past.push(Past {
                revision: *revision,
                serializable: *serializable,
                request,
                response,
                op,
            });
        }
    }
}

/// Writes without an acknowledgement, by the unique values they would leave behind. What failed wrote nothing: where a
/// client has tried again, the value is that of the write of unknown outcome.
pub(crate) fn doubtful<'a>(index: &Index<'a>) -> FastMap<&'a str, u32> {
    let mut values = FastMap::default();
    for (position, op) in index.ops.iter().enumerate() {
        if op.acked().is_some() {
            continue;
        }
        let number = u32::try_from(position).unwrap_or(u32::MAX);
        for value in values_of(&op.call.request) {
            if op.unknown() || !values.contains_key(value) {
                values.insert(value, number);
            }
        }
    }
    values
}

/// Writes of unknown outcome that would leave the value of another one behind: which of them it shows is not known.
pub(crate) fn alike(index: &Index<'_>) -> FastSet<u32> {
    let mut writers: FastMap<&str, u32> = FastMap::default();
    let mut alike = FastSet::default();
    for number in unknown(index, |_| true) {
        for value in values_of(&index.ops[number as usize].call.request) {
            let other = writers.insert(value, number);
            if let Some(other) = other.filter(|other| *other != number) {
                alike.extend([other, number]);
            }
        }
    }
    alike
}

/// Deletes of unknown outcome that stand alone, in the order of their calls.
pub(crate) fn loose(index: &Index<'_>) -> Vec<u32> {
    unknown(index, |request| matches!(request, Request::Delete { .. }))
}

/// Operations of unknown outcome with such a request, in the order of their calls.
pub(crate) fn unknown(index: &Index<'_>, is: impl Fn(&Request) -> bool) -> Vec<u32> {
    let wanted = |op: &Op<'_>| op.unknown() && is(&op.call.request);
    let positions = index.ops.iter().enumerate().filter(|(_, op)| wanted(op));
    positions
        .filter_map(|(position, _)| u32::try_from(position).ok())
        .collect()
}

/// Keys that a request may attach to a lease: each may be the last of its lease, which then ends unseen.
pub(crate) fn leases_of(request: &Request) -> usize {
    let leased = |part: &&Request| matches!(part, Request::Put { lease, .. } if *lease != 0);
    request.parts().filter(leased).count()
}

/// Values that a request would write.
pub(crate) fn values_of(request: &Request) -> impl Iterator<Item = &str> {
    puts_of(request).map(|(_, value)| value)
}

/// Keys and values that it may write, whichever branch runs.
pub(crate) fn puts_of(request: &Request) -> impl Iterator<Item = (&str, &str)> {
    request.parts().filter_map(|request| match request {
        Request::Put { key, value, .. } => Some((key.as_str(), value.as_str())),
        _ => None,
    })
}
