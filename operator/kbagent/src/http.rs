//! A small HTTP client for this pod's own neighbours and other agents: one request a connection, a [`Session`] of
//! several, or a stream of [`Lines`]. No redirects; TLS for one request, where the caller has it.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kbagent_protocol::{Asked, Authorization, Clock, LONGEST_CLOCK, Nonce, PATH_CLOCK};
use tokio::task::JoinHandle;

use crate::tls::{Speaks, Tls};

/// Largest answer that is read: etcd's own metrics are under 1 MB.
const LARGEST: usize = 8 << 20;
/// Largest answer that is read of another agent, whose lines are no longer either, and of who has as little to say.
pub(crate) const SHORT: usize = 64 << 10;

/// A request that got no usable answer.
#[derive(Debug, thiserror::Error)]
#[error("failed to call {address}{path}: {why}")]
pub struct HttpError {
    address: String,
    path: String,
    why: String,
}

/// What opens an agent for who knows the token.
#[derive(Clone, Copy)]
pub struct Opens<'a> {
    /// The token.
    pub token: &'a str,
    /// Whether the token itself is sent.
    pub sends: Authorization,
    /// The pod whose agent is meant: nothing is signed for another.
    pub pod: &'a str,
}

impl fmt::Debug for Opens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opens({}, {})", self.sends.as_str(), self.pod)
    }
}

/// One request.
#[derive(Debug)]
pub struct Call<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// Path.
    pub path: &'a str,
    /// Method.
    pub method: Method,
    /// What opens the agent that is called.
    pub opens: Option<Opens<'a>>,
    /// Other headers, the content's type among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// How a server with TLS is reached.
    pub tls: Option<&'a Tls>,
    /// Time for all of it.
    pub deadline: Duration,
    /// Bytes of an answer's body that are read at most.
    pub largest: usize,
}

impl<'a> Call<'a> {
    /// A plain `GET` within a second.
    #[must_use]
    pub fn get(address: &'a str, path: &'a str) -> Self {
        Self {
            address,
            path,
            method: Method::GET,
            opens: None,
            headers: &[("content-type", "application/json")],
            tls: None,
            deadline: Duration::from_secs(1),
            largest: LARGEST,
        }
    }

    /// Sends it with `body`; the answer's status and body.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(&self, body: impl Into<Bytes>) -> Result<(StatusCode, Bytes), HttpError> {
        let failed = |why: String| HttpError {
            address: self.address.to_owned(),
            path: self.path.to_owned(),
            why,
        };
        match tokio::time::timeout(self.deadline, self.exchange(body.into())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!(
                "no answer within {} ms",
                self.deadline.as_millis()
            ))),
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
        let plain = Tls::default();
        let tls = self.tls.unwrap_or(&plain);
        let mut session = Session::open(self.address, tls).await?;
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.path)
            .header(HOST, self.address);
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        if let Some(opens) = self.opens {
            let asked = Asked {
                method: self.method.as_str(),
                target: self.path,
                body: &body,
            };
            let authority = session.authority(self.address, opens, &asked).await?;
            request = request.header(AUTHORIZATION, authority);
        }
        session.whole(request, body, self.largest).await
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A connection that is kept.
pub(crate) struct Session {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(crate) async fn open(address: &str, tls: &Tls) -> Result<Self, Failure> {
        let stream = tls.connect(address, Speaks::Http1).await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Who asks next learns that it has ended.
            let _ended = connection.await;
        });
        Ok(Self { sender, driver })
    }

    async fn send(&mut self, request: Builder, body: Bytes) -> Result<Response<Incoming>, Failure> {
        self.sender.ready().await?;
        let request = request.body(Full::new(body))?;
        Ok(self.sender.send_request(request).await?)
    }

    async fn whole(
        &mut self,
        request: Builder,
        body: Bytes,
        largest: usize,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let answer = self.send(request, body).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), largest).collect().await?;
        Ok((status, body.to_bytes()))
    }

    /// The value of the header that lets the next request of this session in.
    async fn authority(
        &mut self,
        host: &str,
        opens: Opens<'_>,
        asked: &Asked<'_>,
    ) -> Result<String, Failure> {
        let Opens { token, sends, pod } = opens;
        if sends == Authorization::Bearer {
            return Ok(format!("Bearer {token}"));
        }
        let nonce = Nonce(rand::random());
        let request = Request::get(format!("{PATH_CLOCK}?nonce={nonce}")).header(HOST, host);
        let (status, body) = self.whole(request, Bytes::new(), LONGEST_CLOCK).await?;
        if !status.is_success() {
            return Err(format!("it gives no clock to sign by: {status}").into());
        }
        let clock: Clock = serde_json::from_slice(&body)?;
        clock.check(token, nonce, pod, None)?;
        Ok(clock.sign(token, nonce, asked))
    }

    /// One plain `GET` of the agent at `host`.
    pub(crate) async fn get(
        &mut self,
        host: &str,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let request = Request::get(path).header(HOST, host);
        self.whole(request, Bytes::new(), SHORT).await
    }

    /// One request; its answer is read and dropped.
    pub(crate) async fn ask(&mut self, request: Builder) -> Result<(), Failure> {
        let (status, _) = self.whole(request, Bytes::new(), SHORT).await?;
        if !status.is_success() {
            return Err(format!("the answer is {status}").into());
        }
        Ok(())
    }
}

/// The lines of an answer that does not end.
pub(crate) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    longest: usize,
    _session: Session,
}

impl Lines {
    /// Opens the stream, with authority if there is any.
    pub(crate) async fn open(
        (address, tls): (&str, &Tls),
        path: &str,
        opens: Option<Opens<'_>>,
        longest: usize,
    ) -> Result<Self, Failure> {
        let mut session = Session::open(address, tls).await?;
        let mut request = Request::get(path).header(HOST, address);
        if let Some(opens) = opens {
            let asked = Asked {
                method: Method::GET.as_str(),
                target: path,
                body: &[],
            };
            let authority = session.authority(address, opens, &asked).await?;
            request = request.header(AUTHORIZATION, authority);
        }
        let answer = session.send(request, Bytes::new()).await?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()).into());
        }
        Ok(Self {
            body: answer.into_body(),
            rest: vec![],
            longest,
            _session: session,
        })
    }

    /// The next line, its end included; `None` when the stream has ended or a line is too long.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(end + 1);
                return Some(std::mem::replace(&mut self.rest, rest));
            }
            if self.rest.len() > self.longest {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            self.rest
                .extend_from_slice(frame.data_ref().map_or(&[][..], AsRef::as_ref));
        }
    }
}
