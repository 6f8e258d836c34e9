//! Logs as one JSON document a line, level from `RUST_LOG` (default `info`).
//!
//! kube's client logs what it cannot parse, whole, at `warn`: specs, values of variables included. So only its errors.

use tracing_subscriber::EnvFilter;

/// Starts logging. Call once.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_runtime=warn,kube_client=error"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
