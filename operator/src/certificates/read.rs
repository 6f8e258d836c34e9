//! Reads a Secret's certificate, and says what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, Error as Refused, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::fault::{Fault, Place, Remedy};
use super::names::Names;
use super::subject::Subject;

/// Certificates in a bundle that are read.
const MOST: usize = 16;

/// What a Secret holds.
pub(crate) type Data = BTreeMap<String, ByteString>;

/// A sound certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// What it is for.
    pub names: Names,
    /// Its one common name; `None` without one, or with several, of which readers take different ones.
    pub common_name: Option<String>,
    /// The CAs beside it, as they are encoded.
    pub authorities: BTreeSet<Vec<u8>>,
}

/// A CA of the operator's own: its certificate and key as PEM.
pub(crate) struct Read {
    /// The certificate.
    pub cert: String,
    /// The certificate as it is encoded.
    pub der: Vec<u8>,
    /// The key.
    pub key: String,
    /// Valid until.
    pub not_after: Timestamp,
}

/// Reads the CA that the operator signs with.
///
/// # Errors
/// When it cannot sign.
pub(crate) fn read_ca(place: &Place, data: &Data, now: Timestamp) -> Result<Read, Fault> {
    let cert = part(place, data, &place.cert)?;
    let key = part(place, data, &place.key)?;
    let bundle = bundle(place, &place.cert, cert)?;
    let own: Vec<_> = bundle.iter().take(1).cloned().collect();
    let [der] = own.as_slice() else {
        return Err(unreadable(place, &place.cert, "it holds no certificate"));
    };
    fits(place, &own, key)?;
    let parsed = parse(place, &place.cert, der)?;
    if !parsed.is_ca() {
        return Err(Fault::NoCa {
            secret: place.secret.clone(),
            field: place.cert.clone(),
        });
    }
    let (_, not_after) = in_time((place, &place.cert), &parsed, Remedy::OwnCa, now)?;
    Ok(Read {
        cert: text(place, &place.cert, cert)?,
        der: der.to_vec(),
        key: text(place, &place.key, key)?,
        not_after,
    })
}

/// Reads the certificate of a member or client; `needed` are names that it must be for.
///
/// # Errors
/// When it cannot be used.
pub(crate) fn read(
    place: &Place,
    data: &Data,
    subject: Subject,
    needed: &[String],
    now: Timestamp,
) -> Result<Certificate, Fault> {
    let ca = bundle(place, &place.ca, part(place, data, &place.ca)?)?;
    let chain = bundle(place, &place.cert, part(place, data, &place.cert)?)?;
    let key = part(place, data, &place.key)?;
    let Some((first, rest)) = chain.split_first() else {
        return Err(unreadable(place, &place.cert, "it holds no certificate"));
    };
    fits(place, &chain, key)?;
    let parsed = parse(place, &place.cert, first)?;
    let held = (place, place.cert.as_str());
    let (not_before, not_after) = in_time(held, &parsed, Remedy::Certificate, now)?;
    let wrong = |why: &Refused| unreadable(place, &place.cert, &why.to_string());
    let end = EndEntityCert::try_from(first).map_err(|why| wrong(&why))?;
    let anchors = anchors(place, &ca, now)?;
    signed(place, &end, rest, anchors, (subject, now))?;
    for name in needed {
        let server = ServerName::try_from(name.as_str());
        let server = server.map_err(|why| unreadable(place, &place.cert, &why.to_string()))?;
        if end.verify_is_valid_for_subject_name(&server).is_err() {
            return Err(Fault::NameMissing {
                secret: place.secret.clone(),
                field: place.cert.clone(),
                name: name.clone(),
            });
        }
    }
    Ok(Certificate {
        not_before,
        not_after,
        names: names(&parsed),
        common_name: common_name(&parsed),
        authorities: ca.iter().map(|ca| ca.to_vec()).collect(),
    })
}

/// The CAs in the Secret, as they are encoded.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn authorities(place: &Place, data: &Data) -> Result<BTreeSet<Vec<u8>>, Fault> {
    let read = bundle(place, &place.ca, part(place, data, &place.ca)?)?;
    Ok(read.iter().map(|ca| ca.to_vec()).collect())
}

/// CAs that may sign, and what is wrong with the last of the others.
type Anchors<'a> = (Vec<TrustAnchor<'a>>, Option<Fault>);

/// A CA that is out of time signs nothing, as etcd judges it.
fn anchors<'a>(
    place: &Place,
    ca: &'a [CertificateDer<'_>],
    now: Timestamp,
) -> Result<Anchors<'a>, Fault> {
    let (mut anchors, mut late) = (Vec::new(), None);
    for der in ca {
        let parsed = parse(place, &place.ca, der)?;
        match in_time((place, &place.ca), &parsed, Remedy::UserCa, now) {
            Err(fault) => late = Some(fault),
            Ok(_) if parsed.is_ca() => anchors.push(
                anchor_from_trusted_cert(der)
                    .map_err(|why| unreadable(place, &place.ca, &why.to_string()))?,
            ),
            Ok(_) => {
                return Err(Fault::NoCa {
                    secret: place.secret.clone(),
                    field: place.ca.clone(),
                });
            }
        }
    }
    Ok((anchors, late))
}

fn signed(
    place: &Place,
    end: &EndEntityCert<'_>,
    chain: &[CertificateDer<'_>],
    (anchors, late): Anchors<'_>,
    (subject, now): (Subject, Timestamp),
) -> Result<(), Fault> {
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let server = (subject == Subject::Member).then(|| ("serverAuth", KeyUsage::server_auth()));
    let client = ("clientAuth", KeyUsage::client_auth());
    for (name, usage) in server.into_iter().chain([client]) {
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let found = end.verify_for_usage(algorithms, &anchors, chain, time, usage, None, None);
        match found.map(|_| ()) {
            Ok(()) => {}
            Err(Refused::UnknownIssuer | Refused::InvalidSignatureForPublicKey) => {
                return Err(late.unwrap_or(Fault::NotSigned {
                    secret: place.secret.clone(),
                    cert: place.cert.clone(),
                    ca: place.ca.clone(),
                }));
            }
            Err(why) => {
                let why = match why {
                    Refused::RequiredEkuNotFoundContext(_) => format!("{name} is missing"),
                    other => other.to_string(),
                };
                return Err(Fault::Usage {
                    secret: place.secret.clone(),
                    field: place.cert.clone(),
                    why,
                });
            }
        }
    }
    Ok(())
}

fn part<'a>(place: &Place, data: &'a Data, field: &str) -> Result<&'a [u8], Fault> {
    let found = data.get(field).map(|bytes| bytes.0.as_slice());
    found
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| Fault::Missing {
            secret: place.secret.clone(),
            field: field.to_owned(),
        })
}

fn bundle(place: &Place, field: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes)
        .take(MOST + 1)
        .collect();
    let read = read.map_err(|why| unreadable(place, field, &why.to_string()))?;
    match read.len() {
        0 => Err(unreadable(place, field, "it holds no certificate in PEM")),
        found if found > MOST => Err(Fault::TooMany {
            secret: place.secret.clone(),
            field: field.to_owned(),
            found,
            most: MOST,
        }),
        _ => Ok(read),
    }
}

fn fits(place: &Place, chain: &[CertificateDer<'static>], key: &[u8]) -> Result<(), Fault> {
    // The parser's words may quote what it has read.
    let der = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| unreadable(place, &place.key, "it holds no private key in PEM"))?;
    match CertifiedKey::from_der(chain.to_vec(), der, &Arc::new(default_provider())) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Fault::KeyDoesNotFit {
            secret: place.secret.clone(),
            key: place.key.clone(),
            cert: place.cert.clone(),
        }),
        Err(why) => Err(unreadable(place, &place.key, &why.to_string())),
    }
}

fn parse<'a>(
    place: &Place,
    field: &str,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, Fault> {
    match x509_parser::parse_x509_certificate(der) {
        Ok((_, parsed)) => Ok(parsed),
        Err(why) => Err(unreadable(place, field, &why.to_string())),
    }
}

fn in_time(
    (place, field): (&Place, &str),
    parsed: &X509Certificate<'_>,
    remedy: Remedy,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Fault> {
    let at = |second: i64| {
        Timestamp::from_second(second).map_err(|why| unreadable(place, field, &why.to_string()))
    };
    let validity = parsed.validity();
    let from = at(validity.not_before.timestamp())?;
    let until = at(validity.not_after.timestamp())?;
    let (secret, field) = (place.secret.clone(), field.to_owned());
    if now > until {
        let date = until;
        return Err(Fault::Expired {
            secret,
            field,
            date,
            remedy,
        });
    }
    if now < from {
        let date = from;
        return Err(Fault::NotYetValid {
            secret,
            field,
            date,
            remedy,
        });
    }
    Ok((from, until))
}

fn names(parsed: &X509Certificate<'_>) -> Names {
    let mut names = Names::default();
    let Ok(Some(found)) = parsed.subject_alternative_name() else {
        return names;
    };
    for name in &found.value.general_names {
        match name {
            GeneralName::DNSName(name) => drop(names.dns.insert((*name).to_owned())),
            GeneralName::IPAddress(bytes) => {
                let address = match bytes.len() {
                    4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
                    _ => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
                };
                names.addresses.extend(address);
            }
            _ => {}
        }
    }
    names
}

fn common_name(parsed: &X509Certificate<'_>) -> Option<String> {
    let mut all = parsed.subject().iter_common_name();
    let (first, None) = (all.next()?.as_str().ok()?, all.next()) else {
        return None;
    };
    let plain = !first.is_empty() && !first.chars().any(char::is_control);
    plain.then(|| first.to_owned())
}

fn text(place: &Place, field: &str, bytes: &[u8]) -> Result<String, Fault> {
    let read = String::from_utf8(bytes.to_vec());
    read.map_err(|_| unreadable(place, field, "it is no text"))
}

fn unreadable(place: &Place, field: &str, why: &str) -> Fault {
    Fault::Unreadable {
        secret: place.secret.clone(),
        field: field.to_owned(),
        why: why.to_owned(),
    }
}
