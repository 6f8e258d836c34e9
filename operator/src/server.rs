//! /metrics, /healthz and /readyz on one port.
//!
//! Healthy while the process answers at all; ready once it has reached the API server, unless a watch is blind. Neither
//! depends on the lease: a replica without it still serves the role path.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use http_limits::Limits;

use crate::metrics::Metrics;

/// What the pages show.
#[derive(Clone, Default)]
pub(crate) struct Pages {
    /// Figures.
    pub metrics: Metrics,
    /// Set once the API server has answered.
    pub ready: Arc<AtomicBool>,
}

/// Serves the pages until `stop` is ready.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) async fn run(
    listen: SocketAddr,
    pages: Pages,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(pages);
    let listener = http_limits::listen(listen)?;
    tokio::select! {
        never = http_limits::serve(listener, router, Limits::default()) => match never {},
        () = stop => Ok(()),
    }
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let kind = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    match pages.metrics.text() {
        Ok(text) => (StatusCode::OK, kind, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string()),
    }
}

async fn ready(State(pages): State<Pages>) -> impl IntoResponse {
    let unready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why);
    if !pages.ready.load(Ordering::Relaxed) {
        return unready("the API server has not answered yet".to_owned());
    }
    match pages.metrics.watches.blind() {
        Some((kind, since)) => unready(format!(
            "no list of {kind} objects for {} s: see the metric etcd_operator_watch_errors_total and the log",
            since.as_secs()
        )),
        None => (StatusCode::OK, "ok".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watches::BLIND;

    #[tokio::test(start_paused = true)]
    async fn a_replica_with_a_blind_watch_is_not_ready() {
        let pages = Pages::default();
        pages.ready.store(true, Ordering::Relaxed);
        let watch = pages.metrics.watches.begin("Cluster");
        let code = || async { ready(State(pages.clone())).await.into_response().status() };
        assert_eq!(code().await, StatusCode::OK);
        tokio::time::advance(BLIND).await;
        assert_eq!(code().await, StatusCode::SERVICE_UNAVAILABLE);
        drop(watch);
        assert_eq!(code().await, StatusCode::OK);
    }
}
