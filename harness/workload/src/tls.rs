//! TLS towards etcd. The files are looked at for every connection, since they are renewed while a run lasts; a set that
//! cannot be used leaves the one before in use.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// CA, certificate and key, as Kubernetes names them in a Secret.
pub(crate) const FILES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// What the files of a folder say.
#[derive(Debug)]
pub(crate) struct Tls {
    /// With the CA that the server must have a certificate of.
    trusts: PathBuf,
    /// With what is shown to the server; nothing is when absent.
    shows: Option<PathBuf>,
    /// False leaves the protocol open: then a server of HTTP speaks 1.1.
    grpc: bool,
    last: Mutex<Option<Loaded>>,
}

#[derive(Clone, Debug)]
struct Loaded {
    texts: Vec<Vec<u8>>,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// With CA, certificate and key of this folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self::showing(folder, Some(folder))
    }

    /// With the CA of one folder, and certificate and key of another, or none.
    pub(crate) fn showing(trusts: &Path, shows: Option<&Path>) -> Self {
        Self {
            trusts: trusts.to_owned(),
            shows: shows.map(Path::to_owned),
            grpc: true,
            last: Mutex::new(None),
        }
    }

    /// The same, for requests in HTTP/1.1.
    pub(crate) fn http(self) -> Self {
        Self {
            grpc: false,
            ..self
        }
    }

    /// The handshake on a connection to `host:port`.
    pub(crate) async fn shake(
        &self,
        address: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_end_matches('.').to_owned();
        let name = ServerName::try_from(host).map_err(invalid)?;
        TlsConnector::from(self.config()?)
            .connect(name, stream)
            .await
    }

    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = self.texts().and_then(|texts| match last.as_ref() {
            Some(known) if known.texts == texts => Ok(known.clone()),
            _ => config(&texts, self.grpc).map(|config| Loaded { texts, config }),
        });
        match (fresh, last.as_ref()) {
            (Ok(loaded), _) => {
                let config = Arc::clone(&loaded.config);
                *last = Some(loaded);
                Ok(config)
            }
            // A Secret is being replaced, file by file as it is read here.
            (Err(_), Some(before)) => Ok(Arc::clone(&before.config)),
            (Err(error), None) => Err(error),
        }
    }

    fn texts(&self) -> io::Result<Vec<Vec<u8>>> {
        let [ca, chain, key] = FILES;
        let mut paths = vec![self.trusts.join(ca)];
        if let Some(folder) = &self.shows {
            paths.extend([folder.join(chain), folder.join(key)]);
        }
        let text = |path: &PathBuf| {
            fs::read(path).map_err(|error| {
                let told = format!("failed to read {}: {error}", path.display());
                io::Error::new(error.kind(), told)
            })
        };
        paths.iter().map(text).collect()
    }
}

/// Of a CA and, when there are three texts, a certificate and its key.
fn config(texts: &[Vec<u8>], grpc: bool) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for root in texts.iter().take(1) {
        for root in CertificateDer::pem_slice_iter(root) {
            roots.add(root.map_err(invalid)?).map_err(invalid)?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(invalid)?
        .with_root_certificates(roots);
    let mut config = match texts {
        [_, chain, key] => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
            let key = PrivateKeyDer::from_pem_slice(key).map_err(invalid)?;
            let chain = chain.map_err(invalid)?;
            builder.with_client_auth_cert(chain, key).map_err(invalid)?
        }
        _ => builder.with_no_client_auth(),
    };
    if grpc {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    // Every connection shows its certificate, as those of etcd's own client do.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Ca;

    #[test]
    fn renewed_files_are_used_at_once_and_half_a_set_leaves_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let tls = Tls::of(folder.path());
        let error = tls.config().expect_err("nothing is there").to_string();
        assert!(error.contains("ca.crt"), "{error}");
        let ca = Ca::new();
        ca.client("one").write(folder.path());
        let first = tls.config().expect("a set");
        assert!(Arc::ptr_eq(&first, &tls.config().expect("the same")));
        let second = ca.client("two");
        fs::write(folder.path().join(FILES[1]), &second.chain).expect("written");
        assert!(
            Arc::ptr_eq(&first, &tls.config().expect("kept")),
            "the key does not fit the certificate"
        );
        second.write(folder.path());
        assert!(!Arc::ptr_eq(&first, &tls.config().expect("renewed")));
    }

    #[test]
    fn only_who_asks_for_it_shows_no_certificate() {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = Ca::new();
        fs::write(folder.path().join(FILES[0]), ca.pem()).expect("written");
        assert!(Tls::showing(folder.path(), None).config().is_ok());
        let error = Tls::of(folder.path()).config().expect_err("no certificate");
        assert!(error.to_string().contains("tls.crt"), "{error}");
    }
}
