//! Places each operation: the part, the revision and the values left behind that its answer implies.
//!
//! Judges nothing; the witness and the search build on it.

use super::log::Log;
use super::store::Store;
use crate::hash::FastMap;
use crate::index::{Index, Op};
use crate::record::{Nanos, Request, Response};

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

/// Where the replay starts. An etcd that was used before shows itself in a read of a range before the first write; else
/// the store is taken to be empty, before the lowest revision that was ever seen (the watches begin at revision 1).
pub(crate) fn base<'a>(index: &Index<'a>, log: &Log<'a>) -> Store<'a> {
    let first_write = index.ops.iter().find(|op| op.writes() && !op.failed());
    let until = first_write.map_or(Nanos::MAX, |op| op.call.t);
    let early = index.ops.iter().take_while(|op| op.call.t <= until);
    let read = early.filter(|op| op.certain_by() <= until).find_map(|op| {
        match (&op.call.request, op.acked()?) {
            (
                Request::Range {
                    range_end: Some(_),
                    limit: 0,
                    revision: 0,
                    serializable: false,
                    ..
                },
                acked,
            ) => match acked.response {
                Response::Range { kvs, .. } => Some(Store::at(acked.revision, kvs)),
                _ => None,
            },
            _ => None,
        }
    });
    let lowest = || {
        let placed = index.ops.iter().filter_map(|op| {
            let acked = op.acked()?;
            let part = part(&op.call.request, acked.response)?;
            let made = i64::from(part == Part::Changes);
            Some(acked.revision.saturating_sub(made))
        });
        let seen = log
            .entries()
            .next()
            .map(|(revision, _)| revision.saturating_sub(1))?;
        Some(placed.chain([seen]).min().unwrap_or(seen).max(1))
    };
    read.unwrap_or_else(|| Store::at(lowest().unwrap_or(1), &[]))
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
        if let (
            Request::Range {
                revision,
                serializable,
                ..
            },
            Response::Range { .. },
        ) = (request, response)
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

/// Writes without an acknowledgement, by the unique values they would leave behind.
pub(crate) fn doubtful<'a>(index: &Index<'a>) -> FastMap<&'a str, u32> {
    let mut values = FastMap::default();
    for (position, op) in index.ops.iter().enumerate() {
        if op.acked().is_some() {
            continue;
        }
        let number = u32::try_from(position).unwrap_or(u32::MAX);
        for value in values_of(&op.call.request) {
            values.insert(value, number);
        }
    }
    values
}

pub(crate) fn loose(index: &Index<'_>) -> Vec<u32> {
    let lone = |op: &Op<'_>| op.unknown() && matches!(op.call.request, Request::Delete { .. });
    let positions = index.ops.iter().enumerate().filter(|(_, op)| lone(op));
    positions
        .filter_map(|(position, _)| u32::try_from(position).ok())
        .collect()
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
