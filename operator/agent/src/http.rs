//! A small HTTP client for this pod's own neighbours and other agents: one request a connection, a [`Session`] of
//! several, or a stream of [`Lines`]. No redirects; TLS for one request, where the caller has it.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::tls::{Speaks, Tls};

/// Largest answer that is read: etcd's own metrics are under 1 MB.
const LARGEST: usize = 8 << 20;

/// A request that got no usable answer.
#[derive(Debug, thiserror::Error)]
#[error("failed to call {address}{path}: {why}")]
pub struct HttpError {
    address: String,
    path: String,
    why: String,
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
    /// Bearer token.
    pub token: Option<&'a str>,
    /// Other headers, the content's type among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// How an etcd with TLS is reached; agents and metrics have none.
    pub tls: Option<&'a Tls>,
    /// Time for all of it.
    pub deadline: Duration,
}

impl<'a> Call<'a> {
    /// A plain `GET` within a second.
    #[must_use]
    pub fn get(address: &'a str, path: &'a str) -> Self {
        Self {
            address,
            path,
            method: Method::GET,
            token: None,
            headers: &[("content-type", "application/json")],
            tls: None,
            deadline: Duration::from_secs(1),
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

    async fn exchange(
        &self,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let plain = Tls::default();
        let tls = self.tls.unwrap_or(&plain);
        let stream = tls.connect(self.address, Speaks::Http1).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.path)
            .header(HOST, self.address);
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = sender.send_request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST)
            .collect()
            .await?
            .to_bytes();
        driver.abort();
        Ok((status, body))
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A connection that is kept.
pub(crate) struct Session {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(crate) async fn open(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Who asks next learns that it has ended.
            let _ended = connection.await;
        });
        Ok(Self { sender, driver })
    }

    async fn send(&mut self, request: Builder) -> Result<Incoming, Failure> {
        let answer = self
            .sender
            .send_request(request.body(Empty::new())?)
            .await?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()).into());
        }
        Ok(answer.into_body())
    }

    /// One request; its answer is read and dropped.
    pub(crate) async fn ask(&mut self, request: Builder) -> Result<(), Failure> {
        let body = self.send(request).await?;
        Limited::new(body, LARGEST).collect().await?;
        self.sender.ready().await?;
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
    /// Opens the stream with the token, if there is one.
    pub(crate) async fn open(
        address: &str,
        path: &str,
        token: Option<&str>,
        longest: usize,
    ) -> Result<Self, Failure> {
        let mut session = Session::open(address).await?;
        let mut request = Request::get(path).header(HOST, address);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        Ok(Self {
            body: session.send(request).await?,
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
