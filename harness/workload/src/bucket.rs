//! An S3 server over a folder, for the repositories of runs: real requests, signatures and TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Most connections at a time.
const CONNECTIONS: usize = 64;
/// Longest time for a handshake.
const SHAKE: Duration = Duration::from_secs(10);

/// What is served.
#[derive(Debug, clap::Args)]
pub(crate) struct Bucket {
    /// Folder that holds the bucket.
    #[arg(long)]
    root: PathBuf,
    /// Its name.
    #[arg(long)]
    name: String,
    /// Port that it is served on.
    #[arg(long)]
    port: u16,
    /// Folder with accessKeyId and secretAccessKey.
    #[arg(long)]
    credentials: PathBuf,
    /// Folder with tls.crt and tls.key.
    #[arg(long)]
    tls: PathBuf,
}

/// Serves until it is dropped.
pub(crate) async fn run(bucket: &Bucket) -> anyhow::Result<()> {
    let folder = bucket.root.join(&bucket.name);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    let service = service(bucket)?;
    let tls = TlsAcceptor::from(Arc::new(shown(&bucket.tls)?));
    let listener = TcpListener::bind(("0.0.0.0", bucket.port))
        .await
        .with_context(|| format!("failed to listen on port {}", bucket.port))?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (stream, _) = listener.accept().await.context("failed to accept")?;
        let (service, tls) = (service.clone(), tls.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(stream, tls, service).await {
                eprintln!("a connection ended: {error}");
            }
            drop(place);
        });
    }
}

fn service(bucket: &Bucket) -> anyhow::Result<S3Service> {
    let files = s3s_fs::FileSystem::new(&bucket.root);
    let files = files.map_err(|error| anyhow::anyhow!("failed to serve a folder: {error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    let key = text(&bucket.credentials.join("accessKeyId"))?;
    let secret = text(&bucket.credentials.join("secretAccessKey"))?;
    builder.set_auth(SimpleAuth::from_single(key, secret));
    Ok(builder.build())
}

async fn serve(
    stream: TcpStream,
    tls: TlsAcceptor,
    service: S3Service,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let shaken = timeout(SHAKE, tls.accept(stream)).await;
    let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let builder = Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), service);
    served.await
}

fn shown(folder: &Path) -> anyhow::Result<ServerConfig> {
    let (chain, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&chain)
        .and_then(Iterator::collect)
        .with_context(|| format!("failed to read {}", chain.display()))?;
    let key = PrivateKeyDer::from_pem_file(&key)
        .with_context(|| format!("failed to read {}", key.display()))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .context("failed to use the certificate")
}

fn text(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("failed to read {}", path.display()))?;
    Ok(text.trim().to_owned())
}
