//! The client of the API server: kube's own, but for the pool of connections, for servers whose machine is gone, and
//! for answers nested too deeply.
//!
//! kube's default keeps every connection that a burst of requests has opened, for ever: 137 of them with ten clusters,
//! each with its TLS buffers (10 MiB here, and as much in the API server).

use std::time::Duration;

use hyper::header::DATE;
use hyper::{Request, Response};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822::DateTimeParser;
use kube::client::Body;
use kube::client::ConfigExt;
use kube::client::retry::{InvalidBackoff, RetryPolicy};
use kube::{Client, Config};
use tokio::time::Instant;
use tower::retry::{Policy, RetryLayer};
use tower::{BoxError, ServiceBuilder};

use crate::shallow;

/// Idle connections that are kept. Watches are not among them.
const IDLE: usize = 8;
/// How long.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// How often a silent connection is tried.
const ALIVE: Duration = Duration::from_secs(5);
/// A connection whose other end has acknowledged nothing for so long is closed.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// Longest that one request is repeated. What is busy for longer is its caller's to know: watches have a backoff of
/// their own, which is counted and makes the replica not ready.
const IN_ALL: Duration = Duration::from_secs(4);
/// Waits where the API server asks for none.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);
/// Longest for a call that nothing else limits, repetitions included.
pub(crate) const CALL: Duration = Duration::from_secs(5);

/// What an error says to people: the API server's own words, without the object that kube appends to them.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// The API server's time, as the header of an answer says; `None` where it has none.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn server_time(client: &Client) -> kube::Result<Option<Timestamp>> {
    let request = Request::get("/version").body(Body::from(Vec::<u8>::new()));
    let answer = client
        .send(request.map_err(kube::Error::HttpError)?)
        .await?;
    let date = answer.headers().get(DATE);
    let date = date.and_then(|date| date.to_str().ok());
    Ok(date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok()))
}

/// A client for the cluster that this process runs in, or that the usual kubeconfig names.
///
/// # Errors
/// When neither is there, or its credentials cannot be used.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let config = Config::infer().await?;
    let connector = config.rustls_https_connector_with_connector(attentive())?;
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE)
        .build(connector);
    let retry = RetryLayer::new(Retry::new()?);
    let service = ServiceBuilder::new()
        .map_response(shallow::cut)
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then_some(retry))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

/// Notices a server whose machine is gone. Otherwise its watches would be taken for quiet ones for five minutes, and
/// idle connections to it be used for requests.
fn attentive() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // TLS comes on top.
    connector.enforce_http(false);
    connector.set_keepalive(Some(ALIVE));
    connector.set_keepalive_interval(Some(ALIVE));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

/// kube's policy, but for evictions: 429 is the answer of a disruption budget, and whether a pod may be stopped is
/// decided from what is there then, not some seconds later from what was there before. One is copied for each request.
#[derive(Clone)]
struct Retry {
    policy: RetryPolicy,
    /// When it is over, once a request was refused.
    until: Option<Instant>,
}

impl Retry {
    fn new() -> Result<Self, InvalidBackoff> {
        Ok(Self {
            policy: RetryPolicy::new(SHORTEST, LONGEST, u32::MAX, true)?,
            until: None,
        })
    }
}

impl<R> Policy<Request<Body>, Response<R>, BoxError> for Retry {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        answer: &mut Result<Response<R>, BoxError>,
    ) -> Option<Self::Future> {
        let wait = self.policy.retry(request, answer)?;
        let until = *self.until.get_or_insert_with(|| Instant::now() + IN_ALL);
        (wait.deadline() <= until).then_some(wait)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        // What is not cloned is not sent again.
        let once = request.uri().path().ends_with("/eviction");
        let policy = &mut self.policy;
        let cloned = || Policy::<_, Response<R>, BoxError>::clone_request(policy, request);
        (!once).then(cloned).flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// How often a POST to this path is sent to a server that is busy, and for how long.
    async fn sent(path: &str, retry_after: Option<&'static str>) -> (usize, Duration) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let busy = tower::service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let busy = Response::builder().status(429);
            let busy = match retry_after {
                Some(wait) => busy.header("Retry-After", wait),
                None => busy,
            };
            std::future::ready(busy.body(()).map_err(BoxError::from))
        });
        let retry = RetryLayer::new(Retry::new().expect("a policy"));
        let service = ServiceBuilder::new().layer(retry).service(busy);
        let request = Request::post(path)
            .body(Body::from(b"{}".to_vec()))
            .expect("a request");
        let begin = Instant::now();
        let answer = tower::ServiceExt::oneshot(service, request)
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 429);
        (count.load(Ordering::Relaxed), begin.elapsed())
    }

    #[tokio::test]
    async fn a_silent_connection_is_tried_so_that_a_server_that_is_gone_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let uri = format!("http://127.0.0.1:{port}/");
        let uri: hyper::Uri = uri.parse().expect("a URI");
        let _connection = tower::ServiceExt::oneshot(attentive(), uri)
            .await
            .expect("a connection");
        let known = std::fs::read_to_string("/proc/self/net/tcp").expect("the connections");
        let server = format!("0100007F:{port:04X}");
        let mut rows = known
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let own = rows.find(|row| row.get(2) == Some(&server.as_str()));
        // The timer that runs: 02 is that of keepalive, 00 none.
        let own = own.expect("the connection");
        assert!(own[5].starts_with("02:"), "{own:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_eviction_is_sent_once_and_everything_else_again_for_some_seconds() {
        let (times, took) = sent("/api/v1/namespaces/ns/pods/db-1/eviction", None).await;
        assert_eq!((times, took), (1, Duration::ZERO));
        let (times, took) = sent("/api/v1/namespaces/ns/pods", None).await;
        assert!(times > 5, "{times}");
        assert!(took <= IN_ALL && took >= IN_ALL - 2 * LONGEST, "{took:?}");
        assert!(IN_ALL < CALL, "who gives up first knows why");
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_asked_when_it_says_and_not_at_all_when_that_is_late() {
        let (times, took) = sent("/api/v1/namespaces/ns/pods", Some("1")).await;
        assert!((4..=5).contains(&times), "{times}");
        assert!(took >= Duration::from_secs(3), "{took:?}");
        let (times, took) = sent("/api/v1/namespaces/ns/pods", Some("60")).await;
        assert_eq!((times, took), (1, Duration::ZERO));
    }
}
