//! IO: by which certificates the agents of a component are called: the CA that theirs must be of, and the one that the
//! operator shows. Read from the component's Secrets by name, kept in memory only, and for an hour. Nothing of a Secret
//! is logged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use etcd_operator_api::names::{CA_KEY, CERTIFICATE_KEY, PRIVATE_KEY, headless_domain};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::peer::{Issuer, Peer};
use crate::certificates::{self, Ca, Made, Material, Place, Subject};
use crate::token::is_ours;

/// How long certificates are used before the Secrets are read again.
const KEPT: Duration = Duration::from_secs(3600);
/// Pause before they are read again when a handshake has failed with them, or they could not be read.
const AGAIN: Duration = Duration::from_secs(5);
/// Components whose certificates are kept.
const MOST: usize = 4096;

/// Namespace and name of a component, and who issues its certificates.
type Key = (String, String, Issuer);

/// Certificates by component. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Trust(Arc<Shared>);

struct Shared {
    client: Client,
    cluster_domain: String,
    known: Mutex<BTreeMap<Key, Known>>,
}

#[derive(Clone)]
struct Known {
    read: Instant,
    failed: bool,
    config: Result<Arc<ClientConfig>, String>,
}

impl Known {
    /// Whether it does for another connection.
    fn does(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.read);
        let limit = if self.failed || self.config.is_err() {
            AGAIN
        } else {
            KEPT
        };
        age < limit
    }
}

impl Trust {
    /// Reads through this client.
    #[must_use]
    pub(crate) fn new(client: Client, cluster_domain: String) -> Self {
        Self(Arc::new(Shared {
            client,
            cluster_domain,
            known: Mutex::default(),
        }))
    }

    /// How to call `peer`, whose certificates `issuer` issues, and the name that its certificate must hold.
    pub(super) async fn of(
        &self,
        peer: &Peer,
        issuer: Issuer,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
        let domain = headless_domain(&peer.component, &peer.namespace, &self.0.cluster_domain);
        let name = ServerName::try_from(format!("{}.{domain}", peer.pod));
        let name = name.map_err(|error| error.to_string())?;
        let key = key(peer, issuer);
        let now = Instant::now();
        let known = self.known().get(&key).cloned();
        if let Some(known) = known.filter(|known| known.does(now)) {
            return known.config.map(|config| (config, name));
        }
        let config = self.read(peer, issuer).await;
        let known = Known {
            read: now,
            failed: false,
            config: config.clone(),
        };
        let mut all = self.known();
        if all.len() >= MOST {
            all.retain(|_, known| known.does(now));
        }
        if all.len() < MOST {
            all.insert(key, known);
        }
        config.map(|config| (config, name))
    }

    /// A handshake failed: the Secrets may hold other certificates by now.
    pub(super) fn failed(&self, peer: &Peer, issuer: Issuer) {
        if let Some(known) = self.known().get_mut(&key(peer, issuer)) {
            known.failed = true;
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, peer: &Peer, issuer: Issuer) -> Result<Arc<ClientConfig>, String> {
        let component = &peer.component;
        let name = match issuer {
            Issuer::Own => component.ca_secret(),
            Issuer::User => component.tls_secret(),
        };
        let secrets: Api<Secret> = Api::namespaced(self.0.client.clone(), &peer.namespace);
        let secret = secrets.get(&name).await;
        let secret = secret.map_err(|error| {
            format!(
                "failed to read Secret {name}: {}",
                crate::client::message(&error)
            )
        })?;
        if !is_ours(&secret, component) {
            return Err(format!(
                "Secret {name} was not made by the operator: it is not used"
            ));
        }
        let made = made(&name, &secret, issuer);
        let config = made.and_then(|made| config(&made));
        config.map_err(|error| format!("Secret {name}: {error}"))
    }
}

fn key(peer: &Peer, issuer: Issuer) -> Key {
    let component = peer.component.as_str().to_owned();
    (peer.namespace.clone(), component, issuer)
}

/// The operator's own certificate by the CA in the Secret, or the one that is there.
fn made(name: &str, secret: &Secret, issuer: Issuer) -> Result<Made, String> {
    let empty = certificates::Data::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    let part = |key: &str| {
        let part = data.get(key).map(|part| part.0.clone());
        let part = part.and_then(|part| String::from_utf8(part).ok());
        part.ok_or_else(|| format!("it has no {key}"))
    };
    if issuer == Issuer::User {
        let (ca, cert, key) = (part(CA_KEY)?, part(CERTIFICATE_KEY)?, part(PRIVATE_KEY)?);
        return Ok(Made { ca, cert, key });
    }
    let place = Place {
        secret: name.to_owned(),
        ca: CERTIFICATE_KEY.to_owned(),
        cert: CERTIFICATE_KEY.to_owned(),
        key: PRIVATE_KEY.to_owned(),
    };
    let now = Timestamp::now();
    let ca = certificates::read_ca(&place, data, now).map_err(|fault| fault.to_string())?;
    let material = Material {
        key: rcgen::KeyPair::generate().map_err(|error| error.to_string())?,
        serial: rand::random(),
    };
    let signs = Ca::new(&ca).map_err(|error| error.to_string())?;
    let names = certificates::operator_names();
    let made = certificates::sign(&signs, Subject::Operator, &names, &material, now);
    let mut made = made.map_err(|error| error.to_string())?;
    // While the CA is replaced members may have a certificate of either.
    let believed = String::from_utf8(certificates::rotate::bundle(data));
    made.ca = believed.map_err(|error| error.to_string())?;
    Ok(made)
}

fn config(made: &Made) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(made.ca.as_bytes()) {
        let root = root.map_err(|error| error.to_string())?;
        roots.add(root).map_err(|error| error.to_string())?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(made.cert.as_bytes()).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes());
    // The parser's words may quote what it has read.
    let key = key.map_err(|_| "it holds no private key in PEM".to_owned())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key);
    config.map(Arc::new).map_err(|error| error.to_string())
}
