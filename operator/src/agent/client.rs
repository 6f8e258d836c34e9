//! One request, one connection, one time limit. Used for actions and rare reads; the role path streams.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kbagent_protocol::{
    ActionAnswer, ActionRequest, ArchiveReport, Asked, Authorization, BackupProgress, Clock,
    ErrorAnswer, HandoffAnswer, HandoffRequest, Id, MemberList, Nonce, PATH_ACTION, PATH_ARCHIVE,
    PATH_CLOCK, PATH_GETROLE, PATH_HANDOFF, PATH_MEMBERS, PATH_PROGRESS, PATH_WATCH, RoleAnswer,
};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::Error;
use super::peer::Peer;
use super::trust::Trust;
use super::watch::Watch;

/// Time to open a connection to an agent. Pods of one cluster answer in a millisecond; a pod that does not
/// is gone or cut off, and the next one is asked instead.
const CONNECT: Duration = Duration::from_millis(300);
/// Time for a handshake on it: an agent that is short of processor time takes tens of milliseconds.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// Time for a read that etcd answers through its leader.
const READ: Duration = Duration::from_secs(3);
/// Time for an action; kbagent's own limit is shorter.
const ACT: Duration = Duration::from_secs(8);
/// Largest answer that is read, in bytes: a member list of seven is about 2 KiB.
const LARGEST_ANSWER: usize = 256 * 1024;

/// Speaks to agents. Holds no connection.
#[derive(Clone)]
pub(crate) struct AgentClient {
    trust: Trust,
    handshake: Duration,
}

impl AgentClient {
    /// Calls agents with TLS by these certificates.
    #[must_use]
    pub(crate) fn new(trust: Trust) -> Self {
        Self {
            trust,
            handshake: HANDSHAKE,
        }
    }

    /// The same with another time for a handshake: in tests both ends are on a machine that may stand still in its
    /// middle.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_handshake(self, handshake: Duration) -> Self {
        Self { handshake, ..self }
    }

    /// The member list, linearizable.
    ///
    /// # Errors
    /// When there is no such answer: the list is unknown then, not empty (M5).
    pub(crate) async fn members(&self, peer: &Peer) -> Result<MemberList, Error> {
        self.read(peer, PATH_MEMBERS).await
    }

    /// The role of the agent's own member.
    ///
    /// # Errors
    /// When the agent or its etcd does not answer.
    pub(crate) async fn role(&self, peer: &Peer) -> Result<RoleAnswer, Error> {
        self.read(peer, PATH_GETROLE).await
    }

    /// Where an archive stands, asked of the pod that writes it for the Backup with this UID. The pod is told the
    /// revision of the newest full backup that a restore can begin with.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn archive(
        &self,
        writer: &Peer,
        backup: &str,
        base: i64,
    ) -> Result<ArchiveReport, Error> {
        let path = format!("{PATH_ARCHIVE}?base={base}&backup={backup}");
        self.read(writer, &path).await
    }

    /// How far a backup is, asked of the pod that makes it.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn progress(&self, maker: &Peer) -> Result<BackupProgress, Error> {
        self.read(maker, PATH_PROGRESS).await
    }

    /// The stream of the agent's views.
    ///
    /// # Errors
    /// When the agent does not take the request.
    pub(crate) async fn watch(&self, peer: &Peer) -> Result<Watch, Error> {
        let address = peer.address;
        let mut connection = self.connect(peer).await?;
        let request = request(address, Method::GET, PATH_WATCH);
        let response = connection.send(request, Bytes::new()).await;
        let response = response.inspect_err(|error| self.note(peer, error))?;
        if !response.status().is_success() {
            let code = response.status().as_str().to_owned();
            return Err(Error::Refused {
                address,
                code,
                message: "no stream".to_owned(),
            });
        }
        Ok(Watch::new(address, response.into_body()))
    }

    /// Runs an action, with the authority of `token`.
    ///
    /// # Errors
    /// When the action failed, or when it is not known whether it happened (M6): compare before trying again.
    pub(crate) async fn act(
        &self,
        peer: &Peer,
        token: &str,
        action: &ActionRequest,
    ) -> Result<ActionAnswer, Error> {
        let address = peer.address;
        let body = serde_json::to_vec(action).map_err(|error| Error::Answer {
            address,
            reason: error.to_string(),
        })?;
        let answer: ActionAnswer = self.change(peer, token, PATH_ACTION, body.into()).await?;
        match answer.error {
            None => Ok(answer),
            Some(code) => Err(Error::Refused {
                address,
                code,
                message: answer.message.unwrap_or_default(),
            }),
        }
    }

    /// Asks the agent to transfer leadership, to the voter `to` where one is named, with the authority of `token`. The
    /// agent continues when this call is dropped.
    ///
    /// # Errors
    /// When the agent cannot be asked, or does not tell in time what came of it.
    pub(crate) async fn hand_over(
        &self,
        peer: &Peer,
        token: &str,
        to: Option<Id>,
    ) -> Result<HandoffAnswer, Error> {
        let body = serde_json::to_vec(&HandoffRequest { to }).map_err(|error| Error::Answer {
            address: peer.address,
            reason: error.to_string(),
        })?;
        self.change(peer, token, PATH_HANDOFF, body.into()).await
    }

    async fn read<T: DeserializeOwned>(&self, peer: &Peer, path: &str) -> Result<T, Error> {
        let address = peer.address;
        let request = request(address, Method::GET, path);
        let whole = async {
            let mut connection = self.connect(peer).await?;
            connection.whole(request, Bytes::new()).await
        };
        let answer = within(address, READ, whole).await;
        let (status, body) = answer.inspect_err(|error| self.note(peer, error))?;
        decode(address, status, &body)
    }

    /// Asks for a change.
    async fn change<T: DeserializeOwned>(
        &self,
        peer: &Peer,
        token: &str,
        path: &str,
        body: Bytes,
    ) -> Result<T, Error> {
        let address = peer.address;
        let whole = async {
            let mut connection = self.connect(peer).await?;
            let asked = Asked {
                method: Method::POST.as_str(),
                target: path,
                body: &body,
            };
            let authority = connection.authority(peer, token, &asked).await?;
            let request = request(address, Method::POST, path)
                .header("content-type", "application/json")
                .header("authorization", authority);
            connection.whole(request, body).await
        };
        let answer = within(address, ACT, whole).await;
        let (status, body) = answer.inspect_err(|error| self.note(peer, error))?;
        decode(address, status, &body)
    }

    /// In TLS 1.3 an agent refuses the operator's certificate after the handshake: it may be out of time.
    fn note(&self, peer: &Peer, error: &Error) {
        if let (Some(issuer), Error::Exchange { .. }) = (peer.tls, error) {
            self.trust.failed(peer, issuer);
        }
    }

    /// A connection, with TLS where the pod's specification says that its agent speaks it: whatever answers there.
    async fn connect(&self, peer: &Peer) -> Result<Connection, Error> {
        let address = peer.address;
        let connect = |reason: String| Error::Connect { address, reason };
        let secured = match peer.tls {
            Some(issuer) => Some((issuer, self.trust.of(peer, issuer).await.map_err(connect)?)),
            None => None,
        };
        let socket = timeout(CONNECT, TcpStream::connect(address))
            .await
            .map_err(|_| connect(format!("no answer in {} ms", CONNECT.as_millis())))?
            .map_err(|error| connect(error.to_string()))?;
        socket
            .set_nodelay(true)
            .map_err(|error| connect(error.to_string()))?;
        let Some((issuer, (config, name))) = secured else {
            return Connection::over(address, socket).await;
        };
        let handshake = TlsConnector::from(config).connect(name, socket);
        match timeout(self.handshake, handshake).await {
            Ok(Ok(stream)) => Connection::over(address, stream).await,
            Ok(Err(error)) => {
                self.trust.failed(peer, issuer);
                Err(connect(format!("no TLS: {error}")))
            }
            Err(_) => Err(connect(format!(
                "no TLS in {} ms",
                self.handshake.as_millis()
            ))),
        }
    }
}

async fn within<T>(
    address: SocketAddr,
    limit: Duration,
    whole: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, whole).await.map_err(|_| Error::Exchange {
        address,
        reason: format!("no answer in {} ms", limit.as_millis()),
    })?
}

/// Begins a request to `path` of the agent at `address`.
fn request(address: SocketAddr, method: Method, path: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
}

/// A connection to one agent; it lives until the last body is read.
struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn over(
        address: SocketAddr,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, Error> {
        // The smallest buffer that hyper allows: there is one such connection for every pod.
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(8 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::Connect {
                address,
                reason: error.to_string(),
            })?;
        tokio::spawn(async move {
            // An error of the connection also ends the body, where it is reported.
            let _ended = connection.await;
        });
        Ok(Self { address, sender })
    }

    /// Sends a request; its answer may be read while the connection is kept.
    async fn send(&mut self, request: Builder, body: Bytes) -> Result<Response<Incoming>, Error> {
        let address = self.address;
        let failed = |reason: String| Error::Exchange { address, reason };
        let request = request.body(Full::new(body));
        let request = request.map_err(|error| failed(error.to_string()))?;
        let sent = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        sent.await.map_err(|error| failed(error.to_string()))
    }

    async fn whole(&mut self, request: Builder, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let response = self.send(request, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect();
        let body = body.await.map_err(|error| Error::Exchange {
            address: self.address,
            reason: error.to_string(),
        })?;
        Ok((status, body.to_bytes()))
    }

    /// The header that lets a request in. Where the agent takes signed requests the token is never sent, whatever it
    /// answers.
    async fn authority(
        &mut self,
        peer: &Peer,
        token: &str,
        asked: &Asked<'_>,
    ) -> Result<String, Error> {
        if peer.takes == Authorization::Bearer {
            return Ok(format!("Bearer {token}"));
        }
        let address = self.address;
        let nonce = Nonce(rand::random());
        let path = format!("{PATH_CLOCK}?nonce={nonce}");
        let request = request(address, Method::GET, &path);
        let (status, body) = self.whole(request, Bytes::new()).await?;
        let clock: Clock = decode(address, status, &body)?;
        let known = clock.check(token, nonce, &peer.pod, Some(&peer.uid));
        known.map_err(|error| Error::Answer {
            address,
            reason: error.to_string(),
        })?;
        Ok(clock.sign(token, nonce, asked))
    }
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
