//! A small HTTP client for this pod's own neighbours and other agents: one request, one connection. No
//! redirects; TLS where the caller has it.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;

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
