//! The client of the API server: kube's own, but for the pool of connections and for answers nested too deeply.
//!
//! kube's default keeps every connection that a burst of requests has opened, for ever: 137 of them with ten clusters,
//! each with its TLS buffers (10 MiB here, and as much in the API server).

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

use crate::shallow;

/// Connections that are kept while nobody uses them. Watches are not among them.
const IDLE: usize = 8;
/// How long.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// A client for the cluster that this process runs in, or that the usual kubeconfig names.
///
/// # Errors
/// When neither is there, or its credentials cannot be used.
pub async fn client() -> anyhow::Result<Client> {
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
    let retry = RetryLayer::new(RetryPolicy::server_retry());
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
