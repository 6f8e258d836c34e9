//! IO: the Secrets with certificates, read and written by name. What must be issued is decided in
//! [`crate::certificates`]; here are keys and serial numbers. Nothing of a Secret is logged.

use std::collections::{BTreeMap, BTreeSet};

use etcd_operator_api::names::{CA_KEY, CERTIFICATE_KEY, ComponentName, PRIVATE_KEY};
use etcd_operator_api::tls::TlsSecretRef;
use etcd_operator_api::{Component, labels};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, ResourceExt};

use super::manager;
use super::plan::Certificates;
use super::secrets::Secrets;
use super::tls::Tls;
use crate::certificates::rotate::{self, Facts, Move, Stage};
use crate::certificates::{
    self, Authority, Believed, Ca, Certificate, Data, Fault, IssueError, Leaf, Made, Material,
    Names, Place, Read, Subject, Wanted,
};
use crate::controller::ApplyError;

/// Type of our Secrets: the API server checks that certificate and key are there.
const SECRET_TYPE: &str = "kubernetes.io/tls";

/// What follows while the CA cannot be used: the operator keeps its own certificate in memory only.
const CHANGES: &str = "An operator that is started meanwhile reads the members by their own certificate, and agents \
                       refuse its changes";

/// Members have a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Certified {
    /// It is sound; until when, in words.
    Good(String),
    /// That of before stays, because of this.
    Kept(String),
}

/// What came of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certification {
    /// What members have.
    pub(super) certified: Certified,
    /// The CAs that they believe, where that is known.
    pub(super) believed: Option<Believed>,
    /// Which CAs they are to be started with.
    pub(super) trust: Option<String>,
}

impl Certification {
    /// What is put on record of it in the InstanceSet.
    pub(super) fn record(&self) -> impl Iterator<Item = (String, String)> {
        let believed = self.believed.as_ref().map(ToString::to_string);
        let all = [
            (labels::CAS_BELIEVED, believed),
            (labels::CA_TRUST, self.trust.clone()),
        ];
        let told = |(name, text): (&str, Option<String>)| Some((name.to_owned(), text?));
        all.into_iter().filter_map(told)
    }
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
) -> Result<Certification, CertificateError> {
    let round = Round {
        secrets: Secrets::of(client, component),
        name: ComponentName::existing(&component.name_any()),
        wanted,
        now,
    };
    match &wanted.tls {
        Tls::Own => Box::pin(round.issued()).await,
        Tls::User(secret) => {
            let asked = manager::ask(client, component, wanted.request.as_ref()).await?;
            Box::pin(round.copied(secret, asked)).await
        }
    }
}

/// The CA that signs, and what is believed.
struct Authorities {
    ca: Read,
    bundle: Vec<u8>,
    believed: Believed,
    stage: Stage,
    /// Which CAs members are to be started with.
    trust: Option<String>,
    /// What is wrong with what its owner says of its replacement.
    unread: Option<String>,
}

struct Round<'a> {
    secrets: Secrets<'a>,
    name: ComponentName,
    wanted: &'a Certificates,
    now: Timestamp,
}

impl Round<'_> {
    /// The operator is the issuer.
    async fn issued(&self) -> Result<Certification, CertificateError> {
        let member = self.secrets.ours(&self.name.tls_secret()).await?;
        let client = self.secrets.ours(&self.name.client_secret()).await?;
        let backup = if self.wanted.users {
            Some(self.secrets.ours(&self.name.backup_secret()).await?)
        } else {
            None
        };
        let mut found = vec![member.as_ref(), client.as_ref()];
        found.extend(backup.as_ref().map(Option::as_ref));
        let authority = match Box::pin(self.authority(&found)).await {
            // Members keep what they have: they run on, and a copy of the CA can be put back.
            Err(CertificateError::Fault(fault)) if member.is_some() => {
                let unread = self.unread().await?;
                let text = format!("{fault}. {CHANGES}");
                return Ok(Certification {
                    certified: Certified::Kept(with(text, unread.as_ref())),
                    believed: self.believed(&found),
                    trust: self.wanted.trust.clone(),
                });
            }
            authority => authority?,
        };
        let signs = Ca::new(&authority.ca)?;
        let members = (self.name.tls_secret(), Subject::Member, &self.wanted.names);
        let members = self.leaf(member.as_ref(), (&authority, &signs), members);
        let certificate = Box::pin(members).await?;
        let none = Names::default();
        let clients = (self.name.client_secret(), Subject::Client, &none);
        Box::pin(self.leaf(client.as_ref(), (&authority, &signs), clients)).await?;
        if let Some(backup) = &backup {
            let backups = (self.name.backup_secret(), Subject::Backup, &none);
            Box::pin(self.leaf(backup.as_ref(), (&authority, &signs), backups)).await?;
        }
        Ok(Certification {
            certified: self.told(&certificate, &authority),
            believed: Some(authority.believed),
            // A copy of its Secret may have been put back without annotations.
            trust: authority.trust.or_else(|| self.wanted.trust.clone()),
        })
    }

    fn told(&self, certificate: &Certificate, authority: &Authorities) -> Certified {
        let (until, renewed) = (certificate.not_after, certificates::renewal(certificate));
        let (ca, stage) = (authority.ca.not_after, authority.stage);
        if self.now >= renewed {
            let text = format!(
                "the CA in Secret {} ends on {ca}, and the members' certificate with it; its replacement is at {stage}: members \
                 must be restarted for it",
                self.name.ca_secret()
            );
            return Certified::Kept(with(text, authority.unread.as_ref()));
        }
        let text = format!(
            "the members' certificate is valid until {until} and is renewed from {renewed} on; the CA is valid until {ca}"
        );
        let text = match stage {
            Stage::Steady => text,
            stage => format!("{text}; it is being replaced ({stage})"),
        };
        Certified::Good(with(text, authority.unread.as_ref()))
    }

    /// What is wrong with what the CA's owner says of its replacement, whatever is wrong with the CA.
    async fn unread(&self) -> Result<Option<String>, CertificateError> {
        let live = self.secrets.ours(&self.name.ca_secret()).await?;
        Ok(live.and_then(|live| rotate::held(live.annotations()).1))
    }

    /// The CA that signs, made or replaced when it must be: one step a round.
    async fn authority(&self, found: &[Option<&Secret>]) -> Result<Authorities, CertificateError> {
        let place = self.ca_place();
        let live = self.secrets.ours(&place.secret).await?;
        let members_made = self.wanted.members_made;
        let live = match certificates::authority(live.is_some(), members_made, &place.secret)? {
            Authority::Keep => live.unwrap_or_default(),
            Authority::Make => {
                let data = ca_data(certificates::new_ca(
                    self.name.as_str(),
                    &material()?,
                    self.now,
                )?);
                let kind = (place.secret.as_str(), SECRET_TYPE);
                self.secrets.write(None, kind, data.clone()).await?;
                return self.read(&data, &BTreeMap::new());
            }
        };
        let data = live.data.clone().unwrap_or_default();
        let authority = self.read(&data, live.annotations())?;
        self.members_believe(&authority.ca, found)?;
        let facts = Facts {
            stage: authority.stage,
            wanted: rotate::wanted(live.annotations(), authority.ca.not_after, self.now),
            settled: found.iter().all(|leaf| self.is_settled(*leaf, &authority)),
            restarted: authority.trust.is_some() && self.wanted.started_with == authority.trust,
            held: rotate::held(live.annotations()).0,
            now: self.now,
        };
        let Some(step) = rotate::next(&facts) else {
            return Ok(authority);
        };
        let made = match step {
            Move::Begin => Some(certificates::new_ca(
                self.name.as_str(),
                &material()?,
                self.now,
            )?),
            _ => None,
        };
        let before = (&data, live.annotations());
        let (data, annotations) = rotate::after(step, before, made.as_ref(), self.now);
        let authority = self.read(&data, &annotations)?;
        let mut changed = live;
        changed.metadata.annotations = Some(annotations);
        let kind = (place.secret.as_str(), SECRET_TYPE);
        self.secrets.write(Some(&changed), kind, data).await?;
        let stage = authority.stage;
        tracing::info!(secret = place.secret, ?step, %stage, "the CA is being replaced");
        Ok(authority)
    }

    /// The CAs beside the certificates in these Secrets, of those that can be read. A CA that has not signed the
    /// certificate beside it was put there by hand.
    fn held(&self, found: &[Option<&Secret>]) -> Vec<BTreeSet<Vec<u8>>> {
        let place = own_place(self.name.tls_secret());
        let data = found.iter().flatten().filter_map(|leaf| leaf.data.as_ref());
        let fits = |data: &&Data| {
            let read = certificates::read(&place, data, Subject::Client, &[], self.now);
            !matches!(read, Err(Fault::NotSigned { .. }))
        };
        data.filter(fits)
            .filter_map(|data| certificates::authorities(&place, data).ok())
            .collect()
    }

    /// The CAs that members believe: those on record. Where an operator of before has put none there, those that all
    /// these Secrets have.
    fn believed(&self, found: &[Option<&Secret>]) -> Option<Believed> {
        let held = self.held(found);
        let same = || {
            let (first, rest) = held.split_first()?;
            rest.iter()
                .all(|other| other == first)
                .then(|| Believed::of(first))
        };
        self.wanted.believed.clone().or_else(same)
    }

    /// A CA that members do not believe was put there by hand: what it signs, they would refuse.
    fn members_believe(&self, ca: &Read, found: &[Option<&Secret>]) -> Result<(), Fault> {
        if !self.wanted.members_made {
            return Ok(());
        }
        let held = self.held(found);
        let believed = match &self.wanted.believed {
            Some(believed) if believed.has(&ca.der) => return Ok(()),
            Some(believed) => format!(
                "its SHA-256 fingerprint begins with {believed}, by the record in InstanceSet {}",
                self.name
            ),
            None if held.is_empty() => return Err(self.unknown()),
            None if certificates::may_sign(&ca.der, &held) => return Ok(()),
            None => format!("it is in Secret {}", self.name.tls_secret()),
        };
        Err(Fault::CaReplaced {
            secret: self.name.ca_secret(),
            field: CERTIFICATE_KEY.to_owned(),
            believed,
        })
    }

    fn unknown(&self) -> Fault {
        Fault::CaUnknown {
            secret: self.name.tls_secret(),
            field: CA_KEY.to_owned(),
            set: self.name.to_string(),
        }
    }

    fn ca_place(&self) -> Place {
        Place {
            ca: CERTIFICATE_KEY.to_owned(),
            ..own_place(self.name.ca_secret())
        }
    }

    fn read(
        &self,
        data: &Data,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Authorities, CertificateError> {
        let place = self.ca_place();
        let bundle = rotate::bundle(data);
        let all = Data::from([(place.ca.clone(), ByteString(bundle.clone()))]);
        let step = annotations.get(labels::CA_STEP);
        Ok(Authorities {
            ca: certificates::read_ca(&place, data, self.now)?,
            believed: Believed::of(&certificates::authorities(&place, &all)?),
            bundle,
            stage: Stage::read(step.map(String::as_str)),
            trust: annotations.get(labels::CA_TRUST).cloned(),
            unread: rotate::held(annotations).1,
        })
    }

    /// Whether a Secret holds the CAs to believe, and a certificate of the one that signs.
    fn is_settled(&self, leaf: Option<&Secret>, authority: &Authorities) -> bool {
        let Some(data) = leaf.and_then(|leaf| leaf.data.as_ref()) else {
            return false;
        };
        let place = own_place(String::new());
        let judged = beside(data, &authority.ca);
        let signed = certificates::read(&place, &judged, Subject::Client, &[], self.now);
        signed.is_ok() && believed(data) == Some(&authority.bundle)
    }

    /// One certificate of the operator's own, issued when it must be, with the CAs to believe beside it.
    async fn leaf(
        &self,
        live: Option<&Secret>,
        (authority, signs): (&Authorities, &Ca),
        (secret, subject, names): (String, Subject, &Names),
    ) -> Result<Certificate, CertificateError> {
        let place = own_place(secret);
        let ca = &authority.ca;
        let read =
            |data: &Data| certificates::read(&place, &beside(data, ca), subject, &[], self.now);
        let empty = Data::new();
        let held = live.map(|secret| secret.data.as_ref().unwrap_or(&empty));
        let found = held.map(read);
        let wanted = Wanted {
            names,
            ca: &ca.der,
            ca_ends: ca.not_after,
        };
        let kind = (place.secret.as_str(), SECRET_TYPE);
        let with_all = |mut data: Data| {
            data.insert(CA_KEY.to_owned(), ByteString(authority.bundle.clone()));
            data
        };
        let verdict = certificates::leaf(found.as_ref(), wanted, self.now);
        if let (Leaf::Keep, Some(Ok(certificate)), Some(held)) = (&verdict, found, held) {
            if believed(held) != Some(&authority.bundle) {
                let data = with_all(held.clone());
                self.secrets.write(live, kind, data).await?;
            }
            return Ok(certificate);
        }
        let made = certificates::sign(signs, subject, names, &material()?, self.now)?;
        let data = with_all(data(made));
        let certificate = read(&data)?;
        self.secrets.write(live, kind, data).await?;
        if let Leaf::Issue(why) = verdict {
            let (secret, until) = (&place.secret, certificate.not_after);
            tracing::info!(%secret, why, %until, "issued a certificate");
        }
        Ok(certificate)
    }

    /// What the condition says about a user's certificate that is sound.
    fn words(&self, certificate: &Certificate, secret: &str, asked: Option<String>) -> Certified {
        let until = certificate.not_after;
        let said = asked.map(|said| format!("cert-manager: {said}"));
        if self.now >= certificates::urgent(certificate) {
            let text = format!(
                "the certificate of Secret {secret} ends on {until}: put a new one there now, signed by the same CA"
            );
            return Certified::Kept(with(text, said.as_ref()));
        }
        let due = self.now >= certificates::renewal(certificate);
        let due = if due { ": renew it now" } else { "" };
        let text = format!("the certificate of Secret {secret} is valid until {until}{due}");
        Certified::Good(with(text, said.as_ref()))
    }

    /// A fault of a Secret that cert-manager writes, with what it says.
    fn asked(&self, fault: Fault, said: Option<&String>) -> Fault {
        match (&self.wanted.request, said) {
            (None, _) => fault,
            (Some(_), said) => Fault::Asked {
                fault: format!("{fault}."),
                certificate: self.name.to_string(),
                said: said.map_or("is ready", String::as_str).to_owned(),
            },
        }
    }

    /// A certificate by which etcd would not know the members is not taken, once it has users.
    fn known(&self, place: &Place, certificate: Certificate) -> Result<Certificate, Fault> {
        let known = self.wanted.member_user.as_ref();
        match known.filter(|known| certificate.common_name.as_ref() != Some(*known)) {
            None => Ok(certificate),
            Some(known) => Err(Fault::CommonNameChanged {
                secret: place.secret.clone(),
                field: place.cert.clone(),
                found: certificate.common_name.unwrap_or_default(),
                known: known.clone(),
            }),
        }
    }

    /// Members that run read their CA once: a certificate of another one is not for them.
    fn same_ca(
        &self,
        place: &Place,
        certificate: &Certificate,
        believed: Option<&Believed>,
    ) -> Result<(), Fault> {
        if !self.wanted.members_made {
            return Ok(());
        }
        match believed {
            None => Err(self.unknown()),
            Some(believed) if *believed == Believed::of(&certificate.authorities) => Ok(()),
            Some(_) => Err(Fault::CaChanged {
                secret: place.secret.clone(),
                field: place.ca.clone(),
            }),
        }
    }

    /// The user is the issuer: what he gives is copied when it is sound, so that pods do not depend on his Secret.
    async fn copied(
        &self,
        secret: &TlsSecretRef,
        asked: Option<String>,
    ) -> Result<Certification, CertificateError> {
        let place = Place {
            secret: secret.name.clone(),
            ca: secret.ca.clone(),
            cert: secret.cert.clone(),
            key: secret.key.clone(),
        };
        let own = own_place(self.name.tls_secret());
        let copy = self.secrets.ours(&own.secret).await?;
        let given = self.secrets.get(&place.secret).await?;
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
        let believed = self.believed(&[copy.as_ref()]);
        let checked = checked.and_then(|certificate| {
            self.same_ca(&place, &certificate, believed.as_ref())?;
            self.known(&place, certificate)
        });
        let checked = checked.map_err(|fault| self.asked(fault, asked.as_ref()));
        match (checked, kept) {
            (Ok(certificate), _) => {
                let given = given.unwrap_or_default();
                let part = |key: &String| given.get(key).cloned().unwrap_or_default();
                let parts = [&place.ca, &place.cert, &place.key].map(part);
                let data: Data = names().into_iter().zip(parts).collect();
                if kept != Some(&data) {
                    self.secrets
                        .write(copy.as_ref(), (&own.secret, SECRET_TYPE), data)
                        .await?;
                }
                Ok(Certification {
                    believed: Some(Believed::of(&certificate.authorities)),
                    certified: self.words(&certificate, &place.secret, asked),
                    trust: None,
                })
            }
            // A member that the others cannot call must not be made.
            (Err(fault), Some(kept)) => match read(&own, kept) {
                Err(Fault::NameMissing { .. }) => Err(fault.into()),
                Err(_) | Ok(_) => Ok(Certification {
                    certified: Certified::Kept(format!(
                        "{fault}. Members keep the certificate that they have"
                    )),
                    believed,
                    trust: None,
                }),
            },
            (Err(fault), None) => Err(fault.into()),
        }
    }
}

/// The user that etcd knows the members as: the common name of the certificate that their pods mount.
pub(super) async fn member_user(
    client: &Client,
    component: &Component,
    now: Timestamp,
) -> Result<String, CertificateError> {
    let name = ComponentName::existing(&component.name_any());
    let place = own_place(name.tls_secret());
    let copy = Secrets::of(client, component).ours(&place.secret).await?;
    let data = copy.and_then(|copy| copy.data).unwrap_or_default();
    let found = certificates::read(&place, &data, Subject::Client, &[], now)?;
    let missing = || Fault::NoCommonName {
        secret: place.secret.clone(),
        field: place.cert.clone(),
        component: name.to_string(),
    };
    Ok(found.common_name.ok_or_else(missing)?)
}

/// A text, and what else must be told.
fn with(text: String, unread: Option<&String>) -> String {
    let unread = unread.into_iter();
    unread.fold(text, |text, wrong| format!("{text}; {wrong}"))
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

/// A CA's Secret holds the certificate once.
fn ca_data(made: Made) -> Data {
    let mut data = data(made);
    data.remove(CA_KEY);
    data
}

/// The same, with this CA alone: whether that one has signed.
fn beside(data: &Data, ca: &Read) -> Data {
    let mut data = data.clone();
    let alone = ByteString(ca.cert.clone().into_bytes());
    data.insert(CA_KEY.to_owned(), alone);
    data
}

fn believed(data: &Data) -> Option<&Vec<u8>> {
    data.get(CA_KEY).map(|bundle| &bundle.0)
}

fn material() -> Result<Material, IssueError> {
    Ok(Material {
        key: rcgen::KeyPair::generate()?,
        serial: rand::random(),
    })
}
