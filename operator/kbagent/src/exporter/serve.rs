//! The exporter's two paths.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::get;
use http_limits::Limits;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use super::entrance::{Entrance, PROBE, guard};
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
    let listener = http_limits::listen(settings.listen)?;
    tracing::info!(listen = %settings.listen, scheme = settings.tls.scheme(), "the exporter serves");
    tokio::select! {
        never = answer(listener, settings) => match never {},
        _ = terminate.recv() => tracing::info!("the exporter stops"),
    }
    Ok(())
}

async fn answer(listener: TcpListener, settings: Settings) -> Infallible {
    let entrance = Entrance(settings.tls.clone());
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route(PROBE, get(async || "ok\n"))
        .with_state(Arc::new(App {
            settings,
            scrape: Mutex::new(()),
        }))
        .layer(from_fn(guard));
    let limits = Limits {
        connections: CONNECTIONS,
        per_address: PER_ADDRESS,
        ..Limits::default()
    };
    http_limits::serve_behind(listener, entrance, router, limits).await
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let _alone = app.scrape.lock().await;
    let text = render(&sources::read(&app.settings).await);
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpSocket, TcpStream};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::tls::{FILES, Tls};

    /// Serves with sources that do not answer.
    async fn serves(tls: Tls) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        // A port on which no process listens any more.
        let nothing = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let nothing = nothing.local_addr().expect("an address").to_string();
        let settings = Settings {
            listen: address,
            etcd_metrics: nothing.clone(),
            agent: nothing,
            volume: "/".into(),
            tls,
        };
        tokio::spawn(answer(listener, settings));
        address
    }

    async fn from(caller: &str, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        let caller = format!("{caller}:0").parse().expect("an address");
        socket.bind(caller).expect("bound");
        socket.connect(to).await.expect("connected")
    }

    async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        // An end without TLS's own word for it is no matter here.
        let _end = stream.read_to_string(&mut answer).await;
        answer
    }

    /// Another certificate, which is its own CA.
    fn renew(directory: &Path) -> rcgen::Certificate {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let made = params.self_signed(&key).expect("a certificate");
        let texts = [made.pem(), made.pem(), key.serialize_pem()];
        for (name, text) in FILES.iter().zip(texts) {
            std::fs::write(directory.join(name), text).expect("written");
        }
        made
    }

    /// The figures, for a scraper that believes this certificate and has none.
    async fn scraped(to: SocketAddr, believed: &rcgen::Certificate) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(believed.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = from("127.0.0.2", to).await;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        Ok(get(stream, "/metrics").await)
    }

    #[tokio::test]
    async fn with_a_certificate_figures_are_for_tls_only_and_a_renewed_one_is_used_at_once() {
        let directory = tempfile::tempdir().expect("a folder");
        let first = renew(directory.path());
        let to = serves(Tls::new(Some(directory.path()))).await;
        let text = scraped(to, &first).await.expect("figures");
        assert!(text.contains("kb_etcd_up 0"), "{text}");
        let text = get(from("127.0.0.2", to).await, "/metrics").await;
        assert!(
            text.starts_with("HTTP/1.1 403") && text.contains("https"),
            "{text}"
        );
        let text = get(from("127.0.0.2", to).await, PROBE).await;
        assert!(text.ends_with("ok\n"), "{text}");
        let text = get(from("127.0.0.1", to).await, "/metrics").await;
        assert!(text.contains("kb_etcd_up 0"), "within the pod: {text}");
        let second = renew(directory.path());
        scraped(to, &first).await.expect_err("that of before");
        let text = scraped(to, &second).await.expect("figures");
        assert!(text.contains("kb_etcd_up 0"), "{text}");
    }

    #[tokio::test]
    async fn without_a_certificate_figures_are_in_plain_text() {
        let to = serves(Tls::new(None)).await;
        let text = get(from("127.0.0.2", to).await, "/metrics").await;
        assert!(text.contains("kb_etcd_up 0"), "{text}");
    }
}
