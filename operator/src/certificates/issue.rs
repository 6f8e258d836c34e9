//! Issues certificates. Keys are made by the caller, each for one certificate.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};

use super::names::Names;
use super::read::Read;
use super::subject::Subject;

/// Life of a CA: to be replaced by another one it takes two restarts of each member.
const CA_LIFE: SignedDuration = SignedDuration::from_hours(24 * 365 * 20);
/// Life of a certificate.
const LIFE: SignedDuration = SignedDuration::from_hours(24 * 365);
/// Life of the operator's own, which it keeps in memory and renews each hour.
const OPERATORS_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// Clocks of nodes may be behind the operator's by so much.
const BEHIND: SignedDuration = SignedDuration::from_hours(2);

/// A CA is valid from so long before: members are started with it and keep it, so one that was made while the clock was
/// ahead must do when that is set right. What it signs is issued again then.
const CA_BEHIND: SignedDuration = SignedDuration::from_hours(24 * 365 * 10);

/// What only randomness gives.
pub(crate) struct Material {
    /// A new key.
    pub key: KeyPair,
    /// A serial number.
    pub serial: [u8; 16],
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// The CA.
    pub ca: String,
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// What the operator signs with.
pub(crate) struct Ca {
    cert: String,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    /// Something in it cannot be encoded, or the key cannot sign.
    #[error("failed to issue a certificate: {0}")]
    Encode(#[from] rcgen::Error),
    /// A date outside of what a certificate can hold.
    #[error("failed to issue a certificate: {0}")]
    Date(#[from] jiff::Error),
}

/// A new CA, named after its component.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn new_ca(
    component: &str,
    material: &Material,
    now: Timestamp,
) -> Result<Made, IssueError> {
    let (from, until) = (now.checked_sub(CA_BEHIND)?, now.checked_add(CA_LIFE)?);
    let mut params = params(&format!("{component} CA"), from, until, material.serial);
    // It signs members and clients, and no further CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert = params.self_signed(&material.key)?.pem();
    Ok(Made {
        ca: cert.clone(),
        cert,
        key: material.key.serialize_pem(),
    })
}

impl Ca {
    /// The CA that was read.
    ///
    /// # Errors
    /// When its key cannot sign.
    pub(crate) fn new(read: &Read) -> Result<Self, IssueError> {
        let key = KeyPair::from_pem(&read.key)?;
        Ok(Self {
            cert: read.cert.clone(),
            not_after: read.not_after,
            issuer: Issuer::from_ca_cert_pem(&read.cert, key)?,
        })
    }
}

/// A certificate that the CA signs; it does not outlive the CA.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn sign(
    ca: &Ca,
    subject: Subject,
    names: &Names,
    material: &Material,
    now: Timestamp,
) -> Result<Made, IssueError> {
    let life = match subject {
        Subject::Member | Subject::Client | Subject::Backup => LIFE,
        Subject::Operator => OPERATORS_LIFE,
    };
    let until = now.checked_add(life)?.min(ca.not_after);
    let from = now.checked_sub(BEHIND)?;
    let mut params = params(subject.common_name(), from, until, material.serial);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // etcd's gateway is a client of its own server (N4).
    params.extended_key_usages = match subject {
        Subject::Member => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
        Subject::Client | Subject::Backup | Subject::Operator => {
            vec![ExtendedKeyUsagePurpose::ClientAuth]
        }
    };
    for name in &names.dns {
        let name = name.as_str().try_into()?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    let addresses = names.addresses.iter().copied().map(SanType::IpAddress);
    params.subject_alt_names.extend(addresses);
    let cert = params.signed_by(&material.key, &ca.issuer)?.pem();
    Ok(Made {
        ca: ca.cert.clone(),
        cert,
        key: material.key.serialize_pem(),
    })
}

fn params(
    common_name: &str,
    from: Timestamp,
    until: Timestamp,
    mut serial: [u8; 16],
) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = at(from).into();
    params.not_after = at(until).into();
    // A positive number of full length.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn at(moment: Timestamp) -> SystemTime {
    let seconds = u64::try_from(moment.as_second()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
