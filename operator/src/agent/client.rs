//! One request, one connection, one time limit. Used for actions and rare reads; the role path streams.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kbagent_protocol::{
    ActionAnswer, ActionRequest, ArchiveReport, ErrorAnswer, HandoffAnswer, MemberList,
    PATH_ACTION, PATH_ARCHIVE, PATH_GETROLE, PATH_HANDOFF, PATH_MEMBERS, RoleAnswer,
};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time to open a connection to an agent. Pods of one cluster answer in a millisecond; a pod that does not
/// is gone or cut off, and the next one is asked instead.
const CONNECT: Duration = Duration::from_millis(300);
/// Time for a read that etcd answers through its leader.
const READ: Duration = Duration::from_secs(3);
/// Time for an action; kbagent's own limit is shorter.
const ACT: Duration = Duration::from_secs(8);
/// Largest answer that is read, in bytes: a member list of seven is about 2 KiB.
const LARGEST_ANSWER: usize = 256 * 1024;

/// Why an agent returned nothing usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("failed to connect to the agent at {address}: {reason}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The connection broke or the time was up. An action may have happened (M6).
    #[error("failed to hear from the agent at {address}: {reason}")]
    Exchange {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The agent answered with an error of its own.
    #[error("failed to get an answer of the agent at {address} ({code}): {message}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// The agent's word for it.
        code: String,
        /// The agent's explanation.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("failed to read the answer of the agent at {address}: {reason}")]
    Answer {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// True when the agent or its etcd said "not now" and has done nothing: it says otherwise by itself before long.
    #[must_use]
    pub fn is_not_now(&self) -> bool {
        matches!(self, Error::Refused { code, .. } if matches!(code.as_str(), "preconditionFailed" | "busy"))
    }

    /// True when the requested action has begun and is in progress.
    #[must_use]
    pub fn is_in_progress(&self) -> bool {
        matches!(self, Error::Refused { code, .. } if code == "inProgress")
    }
}

/// Speaks to agents. Holds no connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct AgentClient;

impl AgentClient {
    /// The member list, linearizable.
    ///
    /// # Errors
    /// When there is no such answer: the list is unknown then, not empty (M5).
    pub async fn members(&self, address: SocketAddr) -> Result<MemberList, Error> {
        self.read(address, PATH_MEMBERS).await
    }

    /// The role of the agent's own member.
    ///
    /// # Errors
    /// When the agent or its etcd does not answer.
    pub async fn role(&self, address: SocketAddr) -> Result<RoleAnswer, Error> {
        self.read(address, PATH_GETROLE).await
    }

    /// Where an archive stands.
    ///
    /// # Errors
    /// When its writer does not answer.
    pub async fn archive(&self, address: SocketAddr) -> Result<ArchiveReport, Error> {
        self.read(address, PATH_ARCHIVE).await
    }

    /// Runs an action with the bearer `token`.
    ///
    /// # Errors
    /// When the action failed, or when it is not known whether it happened (M6): compare before trying again.
    pub async fn act(
        &self,
        address: SocketAddr,
        token: &str,
        action: &ActionRequest,
    ) -> Result<ActionAnswer, Error> {
        let body = serde_json::to_vec(action).map_err(|error| Error::Answer {
            address,
            reason: error.to_string(),
        })?;
        let request = request(address, Method::POST, PATH_ACTION)
            .header("content-type", "application/json")
            .header("authorization", bearer(token))
            .body(Full::new(Bytes::from(body)));
        let answer: ActionAnswer = exchange(address, ACT, request).await?;
        match answer.error {
            None => Ok(answer),
            Some(code) => Err(Error::Refused {
                address,
                code,
                message: answer.message.unwrap_or_default(),
            }),
        }
    }

    /// Asks the agent to transfer leadership, with the bearer `token`. The agent continues when this call is dropped.
    ///
    /// # Errors
    /// When the agent cannot be asked, or does not tell in time what came of it.
    pub async fn hand_over(
        &self,
        address: SocketAddr,
        token: &str,
    ) -> Result<HandoffAnswer, Error> {
        let request = request(address, Method::POST, PATH_HANDOFF)
            .header("authorization", bearer(token))
            .body(Full::default());
        exchange(address, ACT, request).await
    }

    async fn read<T: DeserializeOwned>(&self, address: SocketAddr, path: &str) -> Result<T, Error> {
        exchange(
            address,
            READ,
            request(address, Method::GET, path).body(Full::default()),
        )
        .await
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Begins a request to `path` of the agent at `address`.
pub(super) fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
) -> hyper::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
}

/// Opens a connection and sends the request; the connection lives until the body is read.
pub(super) async fn open(
    address: SocketAddr,
    request: hyper::http::Result<Request<Full<Bytes>>>,
) -> Result<Response<Incoming>, Error> {
    let connect = |reason: String| Error::Connect { address, reason };
    let failed = |reason: String| Error::Exchange { address, reason };
    let request = request.map_err(|error| failed(error.to_string()))?;
    let socket = timeout(CONNECT, TcpStream::connect(address))
        .await
        .map_err(|_| connect(format!("no answer in {} ms", CONNECT.as_millis())))?
        .map_err(|error| connect(error.to_string()))?;
    socket
        .set_nodelay(true)
        .map_err(|error| connect(error.to_string()))?;
    // The smallest buffer that hyper allows: there is one such connection for every pod.
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(8 * 1024)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|error| connect(error.to_string()))?;
    tokio::spawn(async move {
        // An error of the connection also ends the body, where it is reported.
        let _ended = connection.await;
    });
    sender
        .send_request(request)
        .await
        .map_err(|error| failed(error.to_string()))
}

async fn exchange<T: DeserializeOwned>(
    address: SocketAddr,
    limit: Duration,
    request: hyper::http::Result<Request<Full<Bytes>>>,
) -> Result<T, Error> {
    let failed = |reason: String| Error::Exchange { address, reason };
    let whole = async {
        let response = open(address, request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| failed(error.to_string()))?
            .to_bytes();
        Ok((status, body))
    };
    let (status, body) = timeout(limit, whole)
        .await
        .map_err(|_| failed(format!("no answer in {} ms", limit.as_millis())))??;
    decode(address, status, &body)
}

fn decode<T: DeserializeOwned>(
    address: SocketAddr,
    status: StatusCode,
    body: &[u8],
) -> Result<T, Error> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| Error::Answer {
            address,
            reason: error.to_string(),
        });
    }
    let ErrorAnswer {
        error_code,
        message,
    } = serde_json::from_slice(body).unwrap_or_else(|_| ErrorAnswer {
        error_code: status.as_str().to_owned(),
        message: String::from_utf8_lossy(body).chars().take(200).collect(),
    });
    Err(Error::Refused {
        address,
        code: error_code,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        ([127, 0, 0, 1], 5001).into()
    }

    #[test]
    fn an_error_of_the_agent_keeps_its_code_and_message() {
        let body = br#"{"errorCode":"ERR_OPERATION_FAILED","message":"no quorum"}"#;
        let error = decode::<MemberList>(address(), StatusCode::SERVICE_UNAVAILABLE, body)
            .expect_err("503 is no list");
        assert!(
            matches!(&error, Error::Refused { code, message, .. }
            if code == "ERR_OPERATION_FAILED" && message == "no quorum"),
            "{error}"
        );
    }

    #[test]
    fn a_body_that_is_no_list_is_an_error_and_not_an_empty_list() {
        let error = decode::<MemberList>(address(), StatusCode::OK, b"{}").expect_err("no list");
        assert!(matches!(error, Error::Answer { .. }), "{error}");
    }
}
