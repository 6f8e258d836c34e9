//! The exporter's two paths.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use http_limits::Limits;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use super::exposition::render;
use super::settings::Settings;
use super::sources;

/// Scrapers and probes. An answer is large and waits for its reader, so there are few.
const CONNECTIONS: usize = 24;
/// Of one address.
const PER_ADDRESS: usize = 6;

struct App {
    settings: Settings,
    /// One scrape at a time: etcd's text is large, and memory counts in every pod.
    scrape: Mutex<()>,
}

/// Serves until SIGTERM.
///
/// # Errors
/// When it cannot begin.
pub async fn serve(settings: Settings) -> io::Result<()> {
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
