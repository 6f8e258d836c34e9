//! Settings of the exporter, and its two paths.

use std::io;
use std::net::{AddrParseError, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use http_limits::Limits;
use kbagent_protocol::{EXPORTER_PORT, PORT};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use super::exposition::render;
use super::sources;

/// Scrapers and probes. An answer is large and waits for its reader, so there are few.
const CONNECTIONS: usize = 24;
/// Of one address.
const PER_ADDRESS: usize = 6;

/// Where things are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `KB_EXPORTER_LISTEN`.
    pub listen: SocketAddr,
    /// `KB_ETCD_METRICS`: `host:port` of etcd's own metrics.
    pub etcd_metrics: String,
    /// `KB_AGENT`: `host:port` of kbagent.
    pub agent: String,
    /// `KB_VOLUME`: where the data volume is mounted.
    pub volume: PathBuf,
}

/// Why the exporter does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// `KB_EXPORTER_LISTEN` is no address.
    #[error("failed to read KB_EXPORTER_LISTEN")]
    Address(#[from] AddrParseError),
    /// The port is taken, or signals cannot be received.
    #[error("failed to listen")]
    Listen(#[from] io::Error),
}

impl Settings {
    /// From the process's environment, with the pod's defaults.
    ///
    /// # Errors
    /// When a variable is unreadable.
    pub fn from_env() -> Result<Self, ExporterError> {
        let given = |name: &str, default: String| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty())
                .unwrap_or(default)
        };
        Ok(Self {
            listen: given("KB_EXPORTER_LISTEN", format!("0.0.0.0:{EXPORTER_PORT}")).parse()?,
            etcd_metrics: given("KB_ETCD_METRICS", "127.0.0.1:2381".into()),
            agent: given("KB_AGENT", format!("127.0.0.1:{PORT}")),
            volume: given("KB_VOLUME", "/var/lib/etcd/data".into()).into(),
        })
    }
}

struct App {
    settings: Settings,
    /// One scrape at a time: etcd's text is large, and memory counts in every pod.
    scrape: Mutex<()>,
}

/// Serves until SIGTERM.
///
/// # Errors
/// When it cannot begin.
pub async fn serve(settings: Settings) -> Result<(), ExporterError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(settings.listen).await?;
    tracing::info!(listen = %settings.listen, "the exporter serves");
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .with_state(Arc::new(App {
            settings,
            scrape: Mutex::new(()),
        }));
    let limits = Limits {
        connections: CONNECTIONS,
        per_address: PER_ADDRESS,
        ..Limits::default()
    };
    tokio::select! {
        never = http_limits::serve(listener, router, limits) => match never {},
        _ = terminate.recv() => tracing::info!("the exporter stops"),
    }
    Ok(())
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let _alone = app.scrape.lock().await;
    let text = render(&sources::read(&app.settings).await);
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}
