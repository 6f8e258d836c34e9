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
        Request::Put { key, value, .. } => format!("put {} = {}", named(key), shown(value)),
        Request::Range {
            key,
            range_end,
            revision,
            ..
        } => {
            let keys = match range_end {
                None => format!("get {}", named(key)),
                Some(end) => format!("range [{}, {})", named(key), shown(end)),
            };
            match *revision {
                0 => keys,
                revision => format!("{keys} at revision {revision}"),
            }
        }
        Request::Delete {
            key,
            range_end: None,
        } => format!("delete {}", named(key)),
        Request::Delete {
            key,
            range_end: Some(end),
        } => format!("delete [{}, {})", named(key), shown(end)),
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

/// A key; one without a letter is seen, too.
fn named(key: &str) -> String {
    match key {
        "" => "\"\"".to_owned(),
        key => shown(key),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::test_support::{get_at, put};

    #[test]
    fn a_request_is_told_from_others_and_in_few_words_whatever_its_keys() {
        assert_eq!(request(&get_at("a", 7)), "get a at revision 7");
        assert_eq!(request(&put("", "1")), "put \"\" = 1");
        let range = Request::Range {
            key: "k/".repeat(100),
            range_end: Some("\0".to_owned()),
            limit: 0,
            serializable: false,
            revision: 7,
        };
        let cut = "k/".repeat(SHOWN_CHARS_MAX / 2);
        let told = format!("range [{cut}..., \\u{{0}}) at revision 7");
        assert_eq!(request(&range), told);
    }
}
