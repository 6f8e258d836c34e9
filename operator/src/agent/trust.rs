//! IO: by which certificates the agents of a component are called: the CA that theirs must be of, and the one that the
//! operator shows. Read from the component's Secrets by name, kept in memory only, and for an hour. Nothing of a Secret
//! is logged.
//!
//! A failover must be seen whatever becomes of these Secrets. While they cannot be used, what was good before is. Where
//! there is nothing before, agents are called with the members' certificate: to that they tell what they see, and
//! refuse changes.

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
use tokio::time::timeout;

use super::peer::{Issuer, Peer};
use crate::certificates::{self, Ca, Made, Material, Place, Subject};
use crate::token::is_ours;

/// How long certificates are used before the Secrets are read again.
const KEPT: Duration = Duration::from_secs(3600);
/// Pause before they are read again when a handshake has failed with them, or they could not be read.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the API server is waited for where something is at hand that does.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a certificate of the operator's own is used when no other can be made: it lives a day.
const LONGEST: Duration = Duration::from_secs(20 * 3600);
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

/// How agents are called.
#[derive(Clone)]
struct Way {
    config: Arc<ClientConfig>,
    /// Whether it is the one that is wanted: agents do not refuse changes.
    full: bool,
    /// Until when it does where no other can be made.
    until: Option<Instant>,
}

#[derive(Clone)]
struct Known {
    read: Instant,
    failed: bool,
    /// Why it is not what the Secrets hold, or nothing is there.
    why: Option<String>,
    way: Result<Way, String>,
}

impl Known {
    /// Whether it does for another connection.
    fn does(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.read);
        let limit = if self.failed || self.why.is_some() {
            AGAIN
        } else {
            KEPT
        };
        age < limit
    }
}

/// What the Secrets hold: the way that is wanted, and the members' own.
struct Found {
    wanted: Result<Way, String>,
    members: Option<Way>,
}

impl Found {
    /// What is used: what is wanted, else that of before, else the members'. And why it is not the first.
    fn or(self, before: Option<Way>) -> (Result<Way, String>, Option<String>) {
        let why = match self.wanted {
            Ok(way) => return (Ok(way), None),
            Err(why) => why,
        };
        let full = before.clone().filter(|way| way.full);
        let way = full.or(self.members).or(before);
        (way.ok_or_else(|| why.clone()), Some(why))
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
        self.of_at(peer, issuer, Instant::now()).await
    }

    /// The same, at this time.
    pub(super) async fn of_at(
        &self,
        peer: &Peer,
        issuer: Issuer,
        now: Instant,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
        let domain = headless_domain(&peer.component, &peer.namespace, &self.0.cluster_domain);
        let name = ServerName::try_from(format!("{}.{domain}", peer.pod));
        let name = name.map_err(|error| error.to_string())?;
        let key = key(peer, issuer);
        let before = self.known().get(&key).cloned();
        let known = match before {
            Some(known) if known.does(now) => known,
            before => {
                let known = self.again(peer, issuer, before, now).await;
                self.keep(key, known.clone(), now);
                known
            }
        };
        known.way.map(|way| (way.config, name))
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

    fn keep(&self, key: Key, known: Known, now: Instant) {
        let mut all = self.known();
        if all.len() >= MOST {
            all.retain(|_, known| known.does(now));
        }
        if all.len() < MOST {
            all.insert(key, known);
        }
    }

    /// Reads the Secrets again.
    async fn again(
        &self,
        peer: &Peer,
        issuer: Issuer,
        before: Option<Known>,
        now: Instant,
    ) -> Known {
        let (told, before) = match before {
            Some(known) => (known.why, known.way.ok()),
            None => (None, None),
        };
        let before = before.filter(|way| way.until.is_none_or(|until| now < until));
        let reading = self.read(peer, issuer, now);
        let found = match &before {
            None => reading.await,
            Some(_) => timeout(PATIENCE, reading).await.unwrap_or_else(|_| Found {
                wanted: Err("the API server does not answer".to_owned()),
                members: None,
            }),
        };
        let (way, why) = found.or(before);
        if let (Ok(way), Some(why)) = (&way, &why)
            && told.as_ref() != Some(why)
        {
            let (namespace, component) = (&peer.namespace, peer.component.as_str());
            let full = way.full;
            tracing::warn!(
                namespace,
                component,
                why,
                full,
                "agents are called by another certificate than they should be"
            );
        }
        Known {
            read: now,
            failed: false,
            why,
            way,
        }
    }

    async fn read(&self, peer: &Peer, issuer: Issuer, now: Instant) -> Found {
        let (ca, tls) = (peer.component.ca_secret(), peer.component.tls_secret());
        if issuer == Issuer::User {
            let members = self.secret(peer, &tls).await;
            let made = members.and_then(|secret| members_made(&tls, &secret));
            return Found {
                wanted: made.and_then(|made| way(&tls, &made, true, None)),
                members: None,
            };
        }
        let (own, members) = futures::join!(self.secret(peer, &ca), self.secret(peer, &tls));
        let made = own.and_then(|secret| own_made(&ca, &secret, members.as_ref().ok()));
        let members = members.and_then(|secret| members_made(&tls, &secret));
        Found {
            wanted: made.and_then(|made| way(&ca, &made, true, now.checked_add(LONGEST))),
            members: members.and_then(|made| way(&tls, &made, false, None)).ok(),
        }
    }

    /// A Secret of the operator's own.
    async fn secret(&self, peer: &Peer, name: &str) -> Result<Secret, String> {
        let secrets: Api<Secret> = Api::namespaced(self.0.client.clone(), &peer.namespace);
        let secret = secrets.get(name).await;
        let secret = secret.map_err(|error| {
            format!(
                "failed to read Secret {name}: {}",
                crate::client::message(&error)
            )
        })?;
        if is_ours(&secret, &peer.component) {
            return Ok(secret);
        }
        Err(format!(
            "Secret {name} was not made by the operator: it is not used"
        ))
    }
}

fn key(peer: &Peer, issuer: Issuer) -> Key {
    let component = peer.component.as_str().to_owned();
    (peer.namespace.clone(), component, issuer)
}

fn way(name: &str, made: &Made, full: bool, until: Option<Instant>) -> Result<Way, String> {
    let config = config(made).map_err(|error| format!("Secret {name}: {error}"))?;
    Ok(Way {
        config,
        full,
        until,
    })
}

/// The certificate that is there.
fn members_made(name: &str, secret: &Secret) -> Result<Made, String> {
    let data = secret.data.as_ref();
    let part = |key: &str| {
        let part = data.and_then(|data| data.get(key));
        let part = part.and_then(|part| String::from_utf8(part.0.clone()).ok());
        part.ok_or_else(|| format!("Secret {name} has no {key}"))
    };
    Ok(Made {
        ca: part(CA_KEY)?,
        cert: part(CERTIFICATE_KEY)?,
        key: part(PRIVATE_KEY)?,
    })
}

/// The operator's own certificate by the CA in the Secret.
fn own_made(name: &str, secret: &Secret, members: Option<&Secret>) -> Result<Made, String> {
    let failed = |error: &dyn ToString| format!("Secret {name}: {}", error.to_string());
    let empty = certificates::Data::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    let now = Timestamp::now();
    let place = place(name, CERTIFICATE_KEY);
    let ca = certificates::read_ca(&place, data, now).map_err(|fault| fault.to_string())?;
    if !may_be_believed(&ca.der, members, now) {
        return Err(failed(&"it holds another CA than members believe"));
    }
    let material = Material {
        key: rcgen::KeyPair::generate().map_err(|error| failed(&error))?,
        serial: rand::random(),
    };
    let signs = Ca::new(&ca).map_err(|error| failed(&error))?;
    let names = certificates::operator_names();
    let made = certificates::sign(&signs, Subject::Operator, &names, &material, now);
    let mut made = made.map_err(|error| failed(&error))?;
    // While the CA is replaced members may have a certificate of either.
    let believed = String::from_utf8(certificates::rotate::bundle(data));
    made.ca = believed.map_err(|error| failed(&error))?;
    Ok(made)
}

/// Whether members may believe the CA. Their Secret denies it where it is sound and has others beside its certificate.
fn may_be_believed(ca: &[u8], members: Option<&Secret>, now: Timestamp) -> bool {
    let data = members.and_then(|secret| secret.data.as_ref());
    let place = place("", CA_KEY);
    let read = data.map(|data| certificates::read(&place, data, Subject::Member, &[], now));
    !matches!(read, Some(Ok(read)) if !read.authorities.contains(ca))
}

fn place(secret: &str, ca: &str) -> Place {
    Place {
        secret: secret.to_owned(),
        ca: ca.to_owned(),
        cert: CERTIFICATE_KEY.to_owned(),
        key: PRIVATE_KEY.to_owned(),
    }
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
