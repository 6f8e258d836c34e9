//! The client of the API server: kube's own, but for the pool of connections and for answers nested too deeply.
//!
//! kube's default keeps every connection that a burst of requests has opened, for ever: 137 of them with ten clusters,
//! each with its TLS buffers (10 MiB here, and as much in the API server).

use std::time::Duration;

use hyper::{Request, Response};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use kube::client::ConfigExt;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use tower::retry::{Policy, RetryLayer};
use tower::{BoxError, ServiceBuilder};

use crate::shallow;

/// Idle connections that are kept. Watches are not among them.
const IDLE: usize = 8;
/// How long.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// What an error says to people: the API server's own words, without the object that kube appends to them.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// A client for the cluster that this process runs in, or that the usual kubeconfig names.
///
/// # Errors
/// When neither is there, or its credentials cannot be used.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let config = Config::infer().await?;
    let mut connector = TimeoutConnector::new(config.rustls_https_connector()?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE)
        .build(connector);
    let retry = RetryLayer::new(Retry(RetryPolicy::server_retry()));
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

/// kube's policy, but for evictions: 429 is the answer of a disruption budget, and whether a pod may be stopped is
/// decided from what is there then, not some seconds later from what was there before.
#[derive(Clone)]
struct Retry(RetryPolicy);

impl<R> Policy<Request<Body>, Response<R>, BoxError> for Retry {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        answer: &mut Result<Response<R>, BoxError>,
    ) -> Option<Self::Future> {
        self.0.retry(request, answer)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        // What is not cloned is not sent again.
        let once = request.uri().path().ends_with("/eviction");
        let policy = &mut self.0;
        let cloned = || Policy::<_, Response<R>, BoxError>::clone_request(policy, request);
        (!once).then(cloned).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_eviction_is_sent_once_and_everything_else_again() {
        for (path, sent) in [
            ("/api/v1/namespaces/ns/pods/db-1/eviction", 1),
            ("/api/v1/namespaces/ns/pods", 16),
        ] {
            let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let counted = std::sync::Arc::clone(&count);
            let busy = tower::service_fn(move |_: Request<Body>| {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let busy = Response::builder().status(429).body(());
                std::future::ready(busy.map_err(BoxError::from))
            });
            let retry = RetryLayer::new(Retry(RetryPolicy::server_retry()));
            let service = ServiceBuilder::new().layer(retry).service(busy);
            let request = Request::post(path)
                .body(Body::from(b"{}".to_vec()))
                .expect("a request");
            let answer = tower::ServiceExt::oneshot(service, request)
                .await
                .expect("an answer");
            assert_eq!(answer.status(), 429);
            assert_eq!(
                count.load(std::sync::atomic::Ordering::Relaxed),
                sent,
                "{path}"
            );
        }
    }
}
