//! Operations in words, for people who read a verdict.

use crate::index::{Index, Op};
use crate::record::{Outcome, Request};

/// Most characters of a key or value that are shown.
const SHOWN_CHARS_MAX: usize = 48;

/// One operation with its client, key, revision and seconds since the start.
pub(crate) fn op(index: &Index<'_>, op: &Op<'_>) -> String {
    let from = index.seconds(op.call.t);
    let end = match op.end {
        None => "never returned".to_owned(),
        Some(end) => {
            let at = index.seconds(end.t);
            match &end.outcome {
                Outcome::Ok { revision, .. } => {
                    format!("acknowledged at revision {revision} at {at:.6} s")
                }
                Outcome::Failed { class, .. } => format!("failed ({class}) at {at:.6} s"),
                Outcome::Unknown { class, .. } => format!("unknown ({class}) at {at:.6} s"),
            }
        }
    };
    let Op { call, .. } = op;
    format!(
        "op {} ({} by client {}, called at {from:.6} s, {end})",
        call.op,
        request(&call.request),
        call.client
    )
}

/// Why a write of unknown outcome proves nothing where its value was seen.
pub(crate) fn alike(index: &Index<'_>, op: &Op<'_>) -> String {
    let told = self::op(index, op);
    format!(
        "another operation of unknown outcome writes the value of {told}, which of them was seen is not known"
    )
}

/// A request in a few words.
pub(crate) fn request(request: &Request) -> String {
    match request {
        Request::Put { key, value, .. } => format!("put {key} = {}", shown(value)),
        Request::Range {
            key,
            range_end: None,
            revision: 0,
            ..
        } => format!("get {key}"),
        Request::Range {
            key,
            range_end: None,
            revision,
            ..
        } => format!("get {key} at revision {revision}"),
        Request::Range {
            key,
            range_end: Some(end),
            ..
        } => format!("range [{key}, {})", shown(end)),
        Request::Delete {
            key,
            range_end: None,
        } => format!("delete {key}"),
        Request::Delete {
            key,
            range_end: Some(end),
        } => format!("delete [{key}, {})", shown(end)),
        Request::Txn {
            compare,
            then,
            otherwise,
        } => {
            let first = then
                .first()
                .or(otherwise.first())
                .map(self::request)
                .unwrap_or_default();
            format!(
                "txn of {} compares and {} + {} operations, first: {first}",
                compare.len(),
                then.len(),
                otherwise.len()
            )
        }
        Request::LeaseGrant { id, ttl } => format!("grant lease {id:x} for {ttl} s"),
        Request::LeaseKeepAlive { id } => format!("keep lease {id:x} alive"),
        Request::LeaseRevoke { id } => format!("revoke lease {id:x}"),
        Request::Compact { revision } => format!("compact to revision {revision}"),
    }
}

/// Text cut to a readable length.
pub(crate) fn shown(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text.escape_default().to_string();
    }
    let head: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{}...", head.escape_default())
}
