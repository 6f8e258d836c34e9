//! A request of the history, sent over one connection, and its answer as an outcome. No retry, no second thought.

use std::{error::Error as _, iter::repeat_n};

use etcd_client::{
    Client, CompareOp, DeleteOptions, Error, GetOptions, GetResponse, LeaseGrantOptions,
    PutOptions, ResponseHeader, Txn, TxnOp, TxnOpResponse,
};
use etcd_history::{
    Outcome, Request, Response,
    record::{Compare, KeyValue},
};

use tonic::Code;

use crate::{
    classify::{BeforeSend, Meaning, classify},
    connection::Closed,
};

/// Most bytes in one answer: the whole key space of a long run.
pub(crate) const ANSWER_LIMIT: usize = 256 << 20;

/// Sends the request, each compare so many times, and waits for the answer, for ever; the caller holds the deadline.
pub(crate) async fn send(client: &mut Client, request: &Request, compares: u32) -> Outcome {
    match answer(client, request, compares).await {
        Ok((Some(header), response)) => Outcome::Ok {
            revision: header.revision(),
            term: header.raft_term(),
            member: format!("{:x}", header.member_id()),
            response,
        },
        Ok((None, _)) => Meaning::Unknown("unclassified").outcome("an answer without a header"),
        Err(error) => failure(&error),
    }
}

/// hyper's words for a request that no connection has taken out of its queue (`Error::is_canceled`: "a pending item was
/// dropped before ever being processed").
const NEVER_TAKEN: &str = "operation was canceled: connection closed";
/// How the error of a request ends that was beyond the last stream of the other end's GOAWAY, or was still to be sent
/// when that came: none of it was processed (RFC 9113, 6.8). A stream below it ends with a broken pipe instead.
const BEYOND_GOAWAY: &str = "connection error received: not a result of an error";

/// What an error of the client library means.
pub(crate) fn failure(error: &Error) -> Outcome {
    match error {
        Error::GRpcStatus(status) => {
            let mut source = status.source();
            while let Some(cause) = source {
                if cause.is::<Closed>() {
                    return BeforeSend::Closed.meaning().outcome(cause.to_string());
                }
                source = cause.source();
            }
            let told = describe(status);
            if never_processed(status.code(), &told) {
                return BeforeSend::Closed.meaning().outcome(told);
            }
            classify(status.code(), status.message()).outcome(told)
        }
        // The library's word for a keep-alive that was answered with a time to live of 0.
        Error::LeaseKeepAliveError(message) if message == "lease not found" => {
            Meaning::Definite("lease_not_found").outcome(message.as_str())
        }
        other => Meaning::Unknown("unclassified").outcome(other.to_string()),
    }
}

/// The message and, for what the transport says, its causes.
fn describe(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

type Answer = (Option<ResponseHeader>, Response);

async fn answer(client: &mut Client, request: &Request, compares: u32) -> Result<Answer, Error> {
    match request {
        Request::Put { key, value, lease } => {
            let options = PutOptions::new().with_lease(*lease);
            let mut answer = client
                .put(key.as_str(), value.as_str(), Some(options))
                .await?;
            Ok((answer.take_header(), Response::Put {}))
        }
        Request::Range {
            key,
            range_end,
            limit,
            serializable,
            revision,
        } => {
            let options = get_options(range_end.as_deref(), *limit, *serializable, *revision);
            let mut kv = client.kv_client().max_decoding_message_size(ANSWER_LIMIT);
            let mut answer = kv.get(key.as_str(), Some(options)).await?;
            Ok((answer.take_header(), range(&answer)))
        }
        Request::Delete { key, range_end } => {
            let options = delete_options(range_end.as_deref());
            let mut answer = client.delete(key.as_str(), Some(options)).await?;
            Ok((
                answer.take_header(),
                Response::Delete {
                    deleted: answer.deleted(),
                },
            ))
        }
        Request::Txn { .. } => {
            let mut answer = client.txn(txn(request, compares)).await?;
            let responses = answer.op_responses().iter().map(inner).collect();
            let response = Response::Txn {
                succeeded: answer.succeeded(),
                responses,
            };
            Ok((answer.take_header(), response))
        }
        Request::Compact { revision } => {
            let mut answer = client.compact(*revision, None).await?;
            Ok((answer.take_header(), Response::Compact {}))
        }
        Request::LeaseGrant { .. }
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseRevoke { .. } => lease(client, request).await,
    }
}

async fn lease(client: &mut Client, request: &Request) -> Result<Answer, Error> {
    match request {
        Request::LeaseGrant { id, ttl } => {
            let options = LeaseGrantOptions::new().with_id(*id);
            let mut answer = client.lease_grant(*ttl, Some(options)).await?;
            let response = Response::LeaseGrant {
                id: answer.id(),
                ttl: answer.ttl(),
            };
            Ok((answer.take_header(), response))
        }
        Request::LeaseKeepAlive { id } => {
            // The library keeps the first answer to itself, so the lease is renewed a second time for one with a
            // header; both renewals are inside this operation.
            let (mut keeper, mut stream) = client.lease_keep_alive(*id).await?;
            keeper.keep_alive().await?;
            match stream.message().await? {
                Some(mut answer) => {
                    let response = Response::LeaseKeepAlive { ttl: answer.ttl() };
                    Ok((answer.take_header(), response))
                }
                None => Err(Error::LeaseKeepAliveError("the stream ended".to_owned())),
            }
        }
        Request::LeaseRevoke { id } => {
            let mut answer = client.lease_revoke(*id).await?;
            Ok((answer.take_header(), Response::LeaseRevoke {}))
        }
        other => Err(Error::InvalidArgs(format!(
            "not a lease request: {other:?}"
        ))),
    }
}

fn get_options(end: Option<&str>, limit: i64, serializable: bool, revision: i64) -> GetOptions {
    let mut options = GetOptions::new().with_limit(limit).with_revision(revision);
    if let Some(end) = end {
        options = options.with_range(end);
    }
    if serializable {
        options = options.with_serializable();
    }
    options
}

fn delete_options(end: Option<&str>) -> DeleteOptions {
    match end {
        Some(end) => DeleteOptions::new().with_range(end),
        None => DeleteOptions::new(),
    }
}

/// The history's transactions are not nested; anything but a transaction gives an empty one.
fn txn(request: &Request, compares: u32) -> Txn {
    let Request::Txn {
        compare,
        then,
        otherwise,
    } = request
    else {
        return Txn::new();
    };
    let compares: Vec<_> = compare
        .iter()
        .flat_map(|compare| repeat_n(comparison(compare), compares as usize))
        .collect();
    let branch = |requests: &[Request]| requests.iter().filter_map(op).collect::<Vec<_>>();
    Txn::new()
        .when(compares)
        .and_then(branch(then))
        .or_else(branch(otherwise))
}

fn comparison(compare: &Compare) -> etcd_client::Compare {
    use etcd_client::Compare as Wire;
    match compare {
        Compare::ModRevision { key, revision } => {
            Wire::mod_revision(key.as_str(), CompareOp::Equal, *revision)
        }
        Compare::Value { key, value } => {
            Wire::value(key.as_str(), CompareOp::Equal, value.as_str())
        }
        Compare::Version { key, version } => {
            Wire::version(key.as_str(), CompareOp::Equal, *version)
        }
    }
}

fn op(request: &Request) -> Option<TxnOp> {
    match request {
        Request::Put { key, value, lease } => Some(TxnOp::put(
            key.as_str(),
            value.as_str(),
            Some(PutOptions::new().with_lease(*lease)),
        )),
        Request::Range {
            key,
            range_end,
            limit,
            serializable,
            revision,
        } => Some(TxnOp::get(
            key.as_str(),
            Some(get_options(
                range_end.as_deref(),
                *limit,
                *serializable,
                *revision,
            )),
        )),
        Request::Delete { key, range_end } => Some(TxnOp::delete(
            key.as_str(),
            Some(delete_options(range_end.as_deref())),
        )),
        _ => None,
    }
}

fn inner(response: &TxnOpResponse) -> Response {
    match response {
        TxnOpResponse::Put(_) => Response::Put {},
        TxnOpResponse::Get(answer) => range(answer),
        TxnOpResponse::Delete(answer) => Response::Delete {
            deleted: answer.deleted(),
        },
        TxnOpResponse::Txn(answer) => Response::Txn {
            succeeded: answer.succeeded(),
            responses: answer.op_responses().iter().map(inner).collect(),
        },
    }
}

fn range(answer: &GetResponse) -> Response {
    Response::Range {
        kvs: answer.kvs().iter().map(key_value).collect(),
        count: answer.count(),
        more: answer.more(),
    }
}

/// A key as the history writes it.
pub(crate) fn key_value(kv: &etcd_client::KeyValue) -> KeyValue {
    KeyValue {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: String::from_utf8_lossy(kv.value()).into_owned(),
        create_revision: kv.create_revision(),
        mod_revision: kv.mod_revision(),
        version: kv.version(),
        lease: kv.lease(),
    }
}

/// True when etcd has seen nothing of a request.
fn never_processed(code: Code, told: &str) -> bool {
    (code == Code::Cancelled && told.ends_with(NEVER_TAKEN)) || told.ends_with(BEYOND_GOAWAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_compare_is_sent_as_often_as_it_is_asked_for() {
        let request = Request::Txn {
            compare: vec![Compare::Version {
                key: "t/own/1".into(),
                version: 7,
            }],
            then: Vec::new(),
            otherwise: Vec::new(),
        };
        let sent = |compares| format!("{:?}", txn(&request, compares));
        let count = |compares| sent(compares).matches("Version(7)").count();
        assert_eq!([1, 3].map(count), [1, 3], "{}", sent(1));
    }

    #[test]
    fn what_a_stopping_member_has_not_processed_is_known() {
        let lost = "h2 protocol error: http2 error: transport error: http2 error: ";
        let of = |end: &str| never_processed(Code::Internal, &format!("{lost}{end}"));
        assert!(of("connection error received: not a result of an error"));
        assert!(!of("stream closed because of a broken pipe"));
        assert!(!of("connection error received: unexpected internal error"));
    }
}
