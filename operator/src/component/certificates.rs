//! IO: the Secrets with certificates, read and written by name. What must be issued is decided in
//! [`crate::certificates`]; here are keys and serial numbers. Nothing of a Secret is logged.

use std::collections::BTreeMap;

use etcd_operator_api::names::{CA_KEY, CERTIFICATE_KEY, ComponentName, PRIVATE_KEY};
use etcd_operator_api::tls::TlsSecretRef;
use etcd_operator_api::{Component, labels};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};

use super::plan::Certificates;
use super::tls::Tls;
use crate::certificates::{
    self, Authority, Ca, Certificate, Data, Fault, IssueError, Leaf, Made, Material, Names, Place,
    Read, Subject, Wanted,
};
use crate::controller::{ApplyError, own, refuse_foreign};

/// Type of our Secrets: the API server checks that certificate and key are there.
const SECRET_TYPE: &str = "kubernetes.io/tls";

/// Members have a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Certified {
    /// It is sound; until when, in words.
    Good(String),
    /// That of before stays, because of this.
    Kept(String),
}

/// Members have none, or it could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    /// Nothing can be made from what there is.
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Sees to it that the members' Secret holds what it must.
pub(super) async fn certify(
    client: &Client,
    component: &Component,
    wanted: &Certificates,
    now: Timestamp,
) -> Result<Certified, CertificateError> {
    let namespace = component.namespace().unwrap_or_default();
    let round = Round {
        api: Api::namespaced(client.clone(), &namespace),
        component,
        name: ComponentName::existing(&component.name_any()),
        wanted,
        now,
    };
    match &wanted.tls {
        Tls::Own => Box::pin(round.issued()).await,
        Tls::User(secret) => Box::pin(round.copied(secret)).await,
    }
}

struct Round<'a> {
    api: Api<Secret>,
    component: &'a Component,
    name: ComponentName,
    wanted: &'a Certificates,
    now: Timestamp,
}

impl Round<'_> {
    /// The operator is the issuer.
    async fn issued(&self) -> Result<Certified, CertificateError> {
        let place = own_place(self.name.tls_secret());
        let member = self.ours(&place.secret).await?;
        let ca = match self.ca().await {
            // Members keep what they have: they run on, and a copy of the CA can be put back.
            Err(CertificateError::Fault(fault)) if member.is_some() => {
                return Ok(Certified::Kept(fault.to_string()));
            }
            ca => ca?,
        };
        let signs = Ca::new(&ca)?;
        let members = self.leaf(
            member.as_ref(),
            &place,
            (&ca, &signs),
            (Subject::Member, &self.wanted.names),
        );
        let certificate = Box::pin(members).await?;
        let place = own_place(self.name.client_secret());
        let client = self.ours(&place.secret).await?;
        let none = Names::default();
        let clients = self.leaf(
            client.as_ref(),
            &place,
            (&ca, &signs),
            (Subject::Client, &none),
        );
        Box::pin(clients).await?;
        let (until, renewed) = (certificate.not_after, certificates::renewal(&certificate));
        let ca = ca.not_after;
        if self.now >= renewed {
            return Ok(Certified::Kept(format!(
                "the CA in Secret {} ends on {ca}, and the members' certificate with it: make a new Cluster and copy the \
                 data before",
                self.name.ca_secret()
            )));
        }
        Ok(Certified::Good(format!(
            "the members' certificate is valid until {until} and is renewed from {renewed} on; the CA is valid until {ca}"
        )))
    }

    async fn ca(&self) -> Result<Read, CertificateError> {
        let place = Place {
            ca: CERTIFICATE_KEY.to_owned(),
            ..own_place(self.name.ca_secret())
        };
        let found = self.ours(&place.secret).await?;
        let members_made = self.wanted.members_made;
        let data = match certificates::authority(found.is_some(), members_made, &place.secret)? {
            Authority::Keep => found.and_then(|secret| secret.data).unwrap_or_default(),
            Authority::Make => {
                let made = certificates::new_ca(self.name.as_str(), &material()?, self.now)?;
                let mut data = data(made);
                data.remove(CA_KEY);
                self.write(None, &place.secret, data.clone()).await?;
                data
            }
        };
        Ok(certificates::read_ca(&place, &data, self.now)?)
    }

    /// One certificate of the operator's own, issued when it must be.
    async fn leaf(
        &self,
        live: Option<&Secret>,
        place: &Place,
        (ca, signs): (&Read, &Ca),
        (subject, names): (Subject, &Names),
    ) -> Result<Certificate, CertificateError> {
        let read = |data: &Data| certificates::read(place, data, subject, &[], self.now);
        let empty = Data::new();
        let found = live.map(|secret| read(secret.data.as_ref().unwrap_or(&empty)));
        let wanted = Wanted {
            names,
            ca: &ca.der,
            ca_ends: ca.not_after,
        };
        match (certificates::leaf(found.as_ref(), wanted, self.now), found) {
            (Leaf::Keep, Some(Ok(certificate))) => Ok(certificate),
            (verdict, _) => {
                let made = certificates::sign(signs, subject, names, &material()?, self.now)?;
                let data = data(made);
                let certificate = read(&data)?;
                self.write(live, &place.secret, data).await?;
                if let Leaf::Issue(why) = verdict {
                    let (secret, until) = (&place.secret, certificate.not_after);
                    tracing::info!(%secret, why, %until, "issued a certificate");
                }
                Ok(certificate)
            }
        }
    }

    /// The user is the issuer: what he gives is copied when it is sound, so that pods do not depend on his Secret.
    async fn copied(&self, secret: &TlsSecretRef) -> Result<Certified, CertificateError> {
        let place = Place {
            secret: secret.name.clone(),
            ca: secret.ca.clone(),
            cert: secret.cert.clone(),
            key: secret.key.clone(),
        };
        let own = own_place(self.name.tls_secret());
        let copy = self.ours(&own.secret).await?;
        let given = self.get(&place.secret).await?;
        let given = given.map(|given| given.data.unwrap_or_default());
        let needed = &self.wanted.needed;
        let read = |place: &Place, data: &Data| {
            certificates::read(place, data, Subject::Member, needed, self.now)
        };
        let checked = match &given {
            None => Err(Fault::NoSecret {
                secret: place.secret.clone(),
            }),
            Some(data) => read(&place, data),
        };
        let kept = copy.as_ref().and_then(|copy| copy.data.as_ref());
        let checked = checked.and_then(|certificate| {
            let before = kept.and_then(|data| certificates::authorities(&own, data).ok());
            match before.filter(|_| self.wanted.members_made) {
                Some(before) if before != certificate.authorities => Err(Fault::CaChanged {
                    secret: place.secret.clone(),
                    field: place.ca.clone(),
                }),
                _ => Ok(certificate),
            }
        });
        match (checked, kept) {
            (Ok(certificate), _) => {
                let given = given.unwrap_or_default();
                let part = |key: &String| given.get(key).cloned().unwrap_or_default();
                let parts = [&place.ca, &place.cert, &place.key].map(part);
                let data: Data = names().into_iter().zip(parts).collect();
                if kept != Some(&data) {
                    self.write(copy.as_ref(), &own.secret, data).await?;
                }
                let (until, secret) = (certificate.not_after, &place.secret);
                let due = self.now >= certificates::renewal(&certificate);
                let due = if due { ": renew it now" } else { "" };
                Ok(Certified::Good(format!(
                    "the certificate of Secret {secret} is valid until {until}{due}"
                )))
            }
            // A member that the others cannot call must not be made.
            (Err(fault), Some(kept)) => match read(&own, kept) {
                Err(Fault::NameMissing { .. }) => Err(fault.into()),
                Err(_) | Ok(_) => Ok(Certified::Kept(format!(
                    "{fault}. Members keep the certificate that they have"
                ))),
            },
            (Err(fault), None) => Err(fault.into()),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, ApplyError> {
        let found = self.api.get_opt(name).await;
        found.map_err(|source| ApplyError::Read {
            kind: "Secret".to_owned(),
            name: name.to_owned(),
            source,
        })
    }

    /// A Secret of the operator's own; one that another made is an error.
    async fn ours(&self, name: &str) -> Result<Option<Secret>, ApplyError> {
        let found = self.get(name).await?;
        if let Some(live) = &found {
            refuse_foreign(&self.empty(name), live)?;
        }
        Ok(found)
    }

    fn empty(&self, name: &str) -> Secret {
        let own_labels = self.component.labels();
        let three = [labels::MANAGED_BY, labels::INSTANCE, labels::COMPONENT_NAME];
        let copied = three.iter().filter_map(|l| own_labels.get_key_value(*l));
        let copied: BTreeMap<_, _> = copied.map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: self.component.namespace(),
                labels: Some(copied),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            ..Secret::default()
        };
        own(&mut secret, self.component);
        secret
    }

    /// Makes the Secret, or writes into exactly the one that was read.
    async fn write(&self, live: Option<&Secret>, name: &str, data: Data) -> Result<(), ApplyError> {
        let parameters = PostParams::default();
        let mut secret = live.cloned().unwrap_or_else(|| self.empty(name));
        secret.data = Some(data);
        let written = match live {
            Some(_) => self.api.replace(name, &parameters, &secret).await,
            None => self.api.create(&parameters, &secret).await,
        };
        match written {
            Ok(_) => {
                tracing::info!(kind = "Secret", name, "written");
                Ok(())
            }
            Err(source) => Err(ApplyError::Write {
                kind: "Secret".to_owned(),
                name: name.to_owned(),
                source,
            }),
        }
    }
}

fn own_place(secret: String) -> Place {
    let [ca, cert, key] = names();
    Place {
        secret,
        ca,
        cert,
        key,
    }
}

fn names() -> [String; 3] {
    [CA_KEY, CERTIFICATE_KEY, PRIVATE_KEY].map(str::to_owned)
}

fn data(made: Made) -> Data {
    let parts = [made.ca, made.cert, made.key];
    let parts = parts.map(|part| ByteString(part.into_bytes()));
    names().into_iter().zip(parts).collect()
}

fn material() -> Result<Material, IssueError> {
    Ok(Material {
        key: rcgen::KeyPair::generate()?,
        serial: rand::random(),
    })
}
