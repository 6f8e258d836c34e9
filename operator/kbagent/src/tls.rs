//! TLS towards etcd and among agents: the files are looked at for every connection, so that a renewed certificate
//! needs no restart. What cannot be read leaves the last good one in use: a Secret that disappears stops no agent.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// File names within the directory, as KubeBlocks' etcd images know them: CA, certificate, key.
pub const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];
/// Type of the record in which a handshake begins: no HTTP request begins with it.
const HANDSHAKE: u8 = 0x16;
/// Largest file that is read: a bundle of a few certificates.
const LARGEST: u64 = 1 << 20;

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is spoken within TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, which etcd speaks when nothing is negotiated.
    Http1,
    /// gRPC.
    Http2,
}

/// How etcd's members are reached. Cloning shares the files that were read.
#[derive(Clone, Default)]
pub struct Tls {
    files: Option<Arc<Files>>,
    name: Option<String>,
}

struct Files {
    directory: PathBuf,
    last: Mutex<Option<Loaded>>,
}

#[derive(Clone)]
struct Loaded {
    texts: [Vec<u8>; 3],
    plain: Arc<ClientConfig>,
    grpc: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    open: Arc<ServerConfig>,
}

/// Whether a caller is of the own pod: one of its containers, or `kubectl port-forward`.
pub(crate) fn is_own(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST
}

/// Whether a caller begins with a handshake. It is waited for.
pub(crate) async fn begins_handshake(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first == [HANDSHAKE])
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.files.as_ref().map(|files| &files.directory);
        f.debug_struct("Tls")
            .field("directory", &directory)
            .field("name", &self.name)
            .finish()
    }
}

impl Tls {
    /// With the files of `directory`; without one, plain TCP.
    #[must_use]
    pub fn new(directory: Option<&Path>) -> Self {
        let files = directory.map(|directory| {
            Arc::new(Files {
                directory: directory.to_owned(),
                last: Mutex::new(None),
            })
        });
        Self { files, name: None }
    }

    /// The same, but the server must have a certificate for `name`, whatever address it is reached at.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self {
            files: self.files.clone(),
            name: Some(name.to_owned()),
        }
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.files.as_ref().map(|files| files.directory.as_path())
    }

    /// The common name of the certificate of the moment, by which etcd knows who has it: the last one, as for etcd.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        let [_, certificate, _] = FILES;
        let bytes = fs::read(self.directory()?.join(certificate)).ok()?;
        // What is sent first is the member's own.
        let der = CertificateDer::pem_slice_iter(&bytes).next()?.ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        let name = parsed.subject().iter_common_name().last()?;
        name.as_str().ok().map(str::to_owned)
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.files.is_some()
    }

    /// The scheme of etcd's URLs.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When no process listens, the files were never readable, or either side refuses the other's certificate.
    pub async fn connect(&self, address: &str, speaks: Speaks) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(files) = &self.files else {
            return Ok(Box::new(stream));
        };
        let loaded = files.load()?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = self.name.as_deref().unwrap_or(host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(invalid)?;
        let config = match speaks {
            Speaks::Http1 => loaded.plain,
            Speaks::Http2 => loaded.grpc,
        };
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Box::new(stream))
    }
}

impl Tls {
    /// Answers a handshake, for who has a certificate of the same CA; that certificate.
    ///
    /// # Errors
    /// When there is no TLS, the files were never readable, or either side refuses the other's certificate.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(Box<dyn Stream>, CertificateDer<'static>)> {
        let files = self.files.as_ref();
        let files = files.ok_or_else(|| io::Error::other("there is no TLS here"))?;
        let acceptor = TlsAcceptor::from(files.load()?.server);
        let stream = acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown.and_then(|chain| chain.first().cloned());
        let shown = shown.ok_or_else(|| io::Error::other("no certificate was shown"))?;
        Ok((Box::new(stream), shown.into_owned()))
    }
}

impl Tls {
    /// Answers a handshake, and asks for no certificate.
    ///
    /// # Errors
    /// When there is no TLS, the files were never readable, or the caller refuses the certificate.
    pub async fn accept_any(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let files = self.files.as_ref();
        let files = files.ok_or_else(|| io::Error::other("there is no TLS here"))?;
        let acceptor = TlsAcceptor::from(files.load()?.open);
        Ok(Box::new(acceptor.accept(stream).await?))
    }
}

impl Files {
    /// What the files hold now; what they held last, when that is no usable set.
    fn load(&self) -> io::Result<Loaded> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = FILES.map(|name| read(&self.directory.join(name)));
        let fresh = match texts {
            [Ok(ca), Ok(cert), Ok(key)] => {
                let texts = [ca, cert, key];
                if let Some(known) = last.as_ref().filter(|known| known.texts == texts) {
                    return Ok(known.clone());
                }
                usable(texts)
            }
            [ca, cert, key] => Err(ca.and(cert).and(key).err().unwrap_or_else(|| {
                io::Error::other("failed to read the certificates: no file says why")
            })),
        };
        match (fresh, last.as_ref()) {
            (Ok(fresh), before) => {
                if before.is_some() {
                    tracing::info!("the certificates have changed and are in use");
                }
                *last = Some(fresh.clone());
                Ok(fresh)
            }
            (Err(error), Some(before)) => {
                let directory = self.directory.display();
                tracing::warn!(%error, %directory, "failed to read the certificates: those of before stay in use");
                Ok(before.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| {
        let text = format!("failed to read {}: {error}", path.display());
        io::Error::new(error.kind(), text)
    };
    let size = fs::metadata(path).map_err(named)?.len();
    if size > LARGEST {
        let text = format!("it has {size} bytes, {LARGEST} are read at most");
        return Err(named(io::Error::other(text)));
    }
    fs::read(path).map_err(named)
}

fn usable(texts: [Vec<u8>; 3]) -> io::Result<Loaded> {
    let [ca, cert, key] = &texts;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca) {
        roots.add(root.map_err(invalid)?).map_err(invalid)?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(invalid)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(invalid)?;
    let provider = Arc::new(ring::default_provider());
    let roots = Arc::new(roots);
    let plain = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(invalid)?
        .with_root_certificates(Arc::clone(&roots))
        .with_client_auth_cert(chain.clone(), key.clone_key())
        .map_err(invalid)?;
    let mut grpc = plain.clone();
    grpc.alpn_protocols = vec![b"h2".to_vec()];
    let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let versions = || {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        builder
            .with_safe_default_protocol_versions()
            .map_err(invalid)
    };
    let mut server = versions()?
        .with_client_cert_verifier(clients.build().map_err(invalid)?)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(invalid)?;
    let open = versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(invalid)?;
    // Every connection shows a certificate that is good now: none is taken up again.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Loaded {
        texts,
        plain: Arc::new(plain),
        grpc: Arc::new(grpc),
        server: Arc::new(server),
        open: Arc::new(open),
    })
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn write(directory: &Path, file: usize, text: &str) {
        fs::write(directory.join(FILES[file]), text).expect("write");
    }

    fn certificate() -> [String; 3] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let made = params.self_signed(&key).expect("a certificate");
        [made.pem(), made.pem(), key.serialize_pem()]
    }

    #[test]
    fn new_files_are_used_at_once_and_a_bad_set_leaves_the_last() {
        let directory = tempfile::tempdir().expect("tempdir");
        let tls = Tls::new(Some(directory.path()));
        let files = tls.files.as_ref().expect("files");
        let error = files.load().err().expect("nothing is there");
        assert!(error.to_string().contains("ca.pem"), "{error}");
        let first = certificate();
        for (file, text) in first.iter().enumerate() {
            write(directory.path(), file, text);
        }
        let load = || files.load().expect("loaded").texts[1].clone();
        assert_eq!(load(), first[1].as_bytes());
        // A key that does not fit yet: the certificate of before stays.
        let second = certificate();
        write(directory.path(), 1, &second[1]);
        assert_eq!(load(), first[1].as_bytes());
        write(directory.path(), 2, &second[2]);
        assert_eq!(load(), second[1].as_bytes());
        for file in FILES {
            fs::remove_file(directory.path().join(file)).expect("remove");
            assert_eq!(load(), second[1].as_bytes(), "without {file}");
        }
        write(directory.path(), 0, "no certificate");
        assert_eq!(load(), second[1].as_bytes());
    }

    #[test]
    fn without_a_directory_there_is_no_tls() {
        assert_eq!(Tls::new(None).scheme(), "http");
        assert_eq!(Tls::new(Some(Path::new("/x"))).scheme(), "https");
    }
}
