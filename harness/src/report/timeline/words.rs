//! Requests and answers as short text, for a page and for people.

use std::fmt::Write as _;

use etcd_history::record::{Compare, KeyValue, Request, Response};

/// Longest text of one answer: a range of a thousand keys is in the history, not on the page.
const TEXT_MAX: usize = 600;

/// A request: `put k3 = 7.120`.
pub(crate) fn request(request: &Request) -> String {
    cut(request_text(request))
}

/// An answer: `k3 = 7.120 @812 v3`.
pub(crate) fn response(response: &Response) -> String {
    cut(response_text(response))
}

/// The word for what a request asks.
pub(crate) fn kind(request: &Request) -> &'static str {
    match request {
        Request::Put { .. } => "put",
        Request::Range { .. } => "range",
        Request::Delete { .. } => "delete",
        Request::Txn { .. } => "txn",
        Request::LeaseGrant { .. } => "lease_grant",
        Request::LeaseKeepAlive { .. } => "lease_keep_alive",
        Request::LeaseRevoke { .. } => "lease_revoke",
        Request::Compact { .. } => "compact",
    }
}

/// The key that a request is about: the first one it names.
pub(crate) fn key(request: &Request) -> Option<&str> {
    match request {
        Request::Put { key, .. } | Request::Range { key, .. } | Request::Delete { key, .. } => {
            Some(key)
        }
        Request::Txn {
            compare,
            then,
            otherwise,
        } => compare
            .iter()
            .map(|compare| match compare {
                Compare::ModRevision { key, .. }
                | Compare::Value { key, .. }
                | Compare::Version { key, .. } => key.as_str(),
            })
            .chain(then.iter().chain(otherwise).filter_map(key))
            .next(),
        _ => None,
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
        let rest = text.len() - end;
        text.truncate(end);
        // Writing to a string cannot fail.
        let _ = write!(text, " ... {rest} more bytes in history.jsonl");
    }
    text
}

fn keys(key: &str, range_end: Option<&String>) -> String {
    range_end.map_or_else(|| key.to_owned(), |end| format!("[{key}, {end})"))
}

fn request_text(asked: &Request) -> String {
    match asked {
        Request::Put { key, value, lease } if *lease == 0 => format!("put {key} = {value}"),
        Request::Put { key, value, lease } => format!("put {key} = {value} with lease {lease:x}"),
        Request::Range {
            key,
            range_end,
            limit,
            serializable,
            revision,
        } => {
            let mut text = format!("get {}", keys(key, range_end.as_ref()));
            if *limit != 0 {
                let _ = write!(text, " limit {limit}");
            }
            if *serializable {
                text.push_str(" serializable");
            }
            if *revision != 0 {
                let _ = write!(text, " at revision {revision}");
            }
            text
        }
        Request::Delete { key, range_end } => format!("delete {}", keys(key, range_end.as_ref())),
        Request::Txn {
            compare,
            then,
            otherwise,
        } => {
            let compares: Vec<_> = compare.iter().map(compare_text).collect();
            let mut text = format!(
                "if {} then {}",
                either(&compares, "true"),
                requests_text(then)
            );
            if !otherwise.is_empty() {
                let _ = write!(text, " else {}", requests_text(otherwise));
            }
            text
        }
        Request::LeaseGrant { id, ttl } => format!("grant lease {id:x} for {ttl} s"),
        Request::LeaseKeepAlive { id } => format!("keep lease {id:x} alive"),
        Request::LeaseRevoke { id } => format!("revoke lease {id:x}"),
        Request::Compact { revision } => format!("compact to {revision}"),
    }
}

fn requests_text(requests: &[Request]) -> String {
    either(
        &requests.iter().map(request_text).collect::<Vec<_>>(),
        "nothing",
    )
}

fn either(parts: &[String], nothing: &str) -> String {
    if parts.is_empty() {
        nothing.to_owned()
    } else {
        parts.join(" and ")
    }
}

fn compare_text(compare: &Compare) -> String {
    match compare {
        Compare::ModRevision { key, revision } => format!("{key} last written at {revision}"),
        Compare::Value { key, value } => format!("{key} is {value}"),
        Compare::Version { key, version } => format!("{key} has version {version}"),
    }
}

fn response_text(answer: &Response) -> String {
    match answer {
        Response::Put {} => "written".to_owned(),
        Response::Range { kvs, count, more } => {
            let mut text = match kvs.as_slice() {
                [] => format!("no keys (count {count})"),
                kvs => kvs.iter().map(key_value).collect::<Vec<_>>().join("; "),
            };
            if *more {
                let _ = write!(text, " (cut at the limit, count {count})");
            }
            text
        }
        Response::Delete { deleted } => format!("{deleted} deleted"),
        Response::Txn {
            succeeded,
            responses,
        } => {
            let answers: Vec<_> = responses.iter().map(response_text).collect();
            let branch = if *succeeded { "then" } else { "else" };
            format!("{branch}: {}", either(&answers, "nothing"))
        }
        Response::LeaseGrant { id, ttl } => format!("lease {id:x} for {ttl} s"),
        Response::LeaseKeepAlive { ttl: 0 } => "the lease is gone".to_owned(),
        Response::LeaseKeepAlive { ttl } => format!("{ttl} s left"),
        Response::LeaseRevoke {} => "revoked".to_owned(),
        Response::Compact {} => "compacted".to_owned(),
    }
}

fn key_value(kv: &KeyValue) -> String {
    format!(
        "{} = {} @{} v{}",
        kv.key, kv.value, kv.mod_revision, kv.version
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_read_as_sentences() {
        let put = Request::Put {
            key: "a".into(),
            value: "1".into(),
            lease: 0,
        };
        let txn = Request::Txn {
            compare: vec![Compare::Version {
                key: "a".into(),
                version: 0,
            }],
            then: vec![put],
            otherwise: vec![],
        };
        assert_eq!(request(&txn), "if a has version 0 then put a = 1");
        assert_eq!(key(&txn), Some("a"));
    }

    #[test]
    fn long_answers_are_cut_between_characters() {
        let value = "ü".repeat(5000);
        let put = Request::Put {
            key: "k".into(),
            value,
            lease: 0,
        };
        let text = request(&put);
        assert!(text.ends_with("more bytes in history.jsonl"), "{text}");
        assert!(text.chars().count() < TEXT_MAX + 60);
    }
}
