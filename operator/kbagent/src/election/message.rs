//! Tells the own member to campaign: `MsgTimeoutNow`, which raft's leader sends to the member that is to lead next, at
//! etcd's own peer endpoint (`POST /raft`).
//!
//! The term is what makes it safe to be late (`raft.Step` of go.etcd.io/raft/v3): a message of a lower term than the
//! member's is dropped, one of the same term is heeded by followers only, one of a higher term raises the member's
//! first. One without a term would be heeded at any time: none is ever sent. The term is the member's own, read just
//! before.

use std::time::Duration;

use hyper::{Method, StatusCode};
use kbagent_protocol::Id;
use prost::Message as _;

use super::plan::Order;
use crate::http::Call;
use crate::tls::Tls;

/// `raftpb.MessageType`.
const TIMEOUT_NOW: i32 = 14;
/// Deadline of the whole exchange.
const DEADLINE: Duration = Duration::from_millis(500);
/// Oldest version of cluster members that etcd 3.x accepts messages of (`version.MinClusterVersion` of 3.5 to 3.7).
const MIN_CLUSTER: &str = "3.0.0";

/// `raftpb.Message`, as far as it is needed.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Message {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
}

/// The receiver, besides its identifier.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `host:port` of its peer endpoint.
    pub address: &'a str,
    /// Its cluster.
    pub cluster: Id,
    /// How it is reached.
    pub tls: &'a Tls,
    /// Its version, e.g. `3.6.16`.
    pub version: &'a str,
}

/// The message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// No order has such a term.
    #[error("failed to tell the member to campaign: no term was read")]
    NoTerm,
    /// etcd did not answer.
    #[error("failed to tell the member to campaign: {0}")]
    Call(#[from] crate::http::HttpError),
    /// etcd answered with an error.
    #[error("failed to tell the member to campaign: its peer endpoint answered {status}: {body}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// etcd's answer.
        body: String,
    },
}

/// Tells the member of `order` to campaign. Whether it did is to be seen elsewhere: raft does not say.
///
/// # Errors
/// When etcd did not take the message.
pub async fn tell(order: Order, target: Target<'_>) -> Result<(), MessageError> {
    if order.term == 0 {
        return Err(MessageError::NoTerm);
    }
    let message = Message {
        kind: TIMEOUT_NOW,
        to: order.member.0,
        from: order.member.0,
        term: order.term,
    };
    let (member, cluster) = (order.member.to_string(), target.cluster.to_string());
    let headers = [
        ("content-type", "application/protobuf"),
        ("x-etcd-cluster-id", cluster.as_str()),
        ("x-raft-to", member.as_str()),
        ("x-server-from", member.as_str()),
        ("x-server-version", target.version),
        ("x-min-cluster-version", MIN_CLUSTER),
    ];
    let call = Call {
        method: Method::POST,
        headers: &headers,
        deadline: DEADLINE,
        tls: Some(target.tls),
        ..Call::get(target.address, "/raft")
    };
    let (status, body) = call.send(message.encode_to_vec()).await?;
    if status == StatusCode::NO_CONTENT {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&body).trim().to_owned();
    Err(MessageError::Refused { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_rafts() {
        let message = Message {
            kind: TIMEOUT_NOW,
            to: 300,
            from: 1,
            term: 5,
        };
        assert_eq!(message.encode_to_vec(), [8, 14, 16, 0xac, 2, 24, 1, 32, 5]);
    }

    #[tokio::test]
    async fn without_a_term_nothing_is_sent() {
        let order = Order {
            member: Id(1),
            term: 0,
        };
        let target = Target {
            address: "127.0.0.1:1",
            tls: &Tls::default(),
            cluster: Id(1),
            version: "3.6.16",
        };
        let error = tell(order, target).await.expect_err("no term");
        assert!(matches!(error, MessageError::NoTerm), "{error}");
    }
}
