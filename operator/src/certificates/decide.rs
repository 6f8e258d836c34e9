//! What must be issued: the CA once, certificates when they are missing, unsound, due or short of a name.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::fault::Fault;
use super::names::Names;
use super::read::Certificate;

/// A certificate that is issued early must live so much longer than the one before.
const GAIN: SignedDuration = SignedDuration::from_hours(1);

/// What is to be done about the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    /// It is there.
    Keep,
    /// There is none, and no member needs an earlier one.
    Make,
}

/// What is to be done about a certificate, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// It is sound.
    Keep,
    /// It must be issued.
    Issue(String),
}

/// What a certificate must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The names it must hold.
    pub names: &'a Names,
    /// The CA that must stand beside it, as it is encoded.
    pub ca: &'a [u8],
    /// The end of the CA's life.
    pub ca_ends: Timestamp,
}

/// Members believe the CA that they were started with: once they were made, another one would part them.
///
/// # Errors
/// When it was lost.
pub(crate) fn authority(there: bool, members_made: bool, secret: &str) -> Result<Authority, Fault> {
    match (there, members_made) {
        (true, _) => Ok(Authority::Keep),
        (false, false) => Ok(Authority::Make),
        (false, true) => Err(Fault::CaLost {
            secret: secret.to_owned(),
        }),
    }
}

/// Whether the CA may sign under members that run, where nothing is on record of what they believe: what stands beside
/// their certificates, `held`, of each Secret with one that can be read. None is no leave: then it is not known.
#[must_use]
pub(crate) fn may_sign(ca: &[u8], held: &[BTreeSet<Vec<u8>>]) -> bool {
    held.iter().any(|held| held.contains(ca))
}

/// When a certificate is renewed: when a third of its life is left.
#[must_use]
pub(crate) fn renewal(certificate: &Certificate) -> Timestamp {
    let life = certificate.not_after.duration_since(certificate.not_before);
    let third = life / 3;
    certificate
        .not_after
        .checked_sub(third)
        .unwrap_or(certificate.not_before)
}

/// From when on its owner is warned that a certificate ends: two weeks before, or when a twelfth of its life is left.
#[must_use]
pub(crate) fn urgent(certificate: &Certificate) -> Timestamp {
    let life = certificate.not_after.duration_since(certificate.not_before);
    let left = (life / 12).min(SignedDuration::from_hours(14 * 24));
    certificate
        .not_after
        .checked_sub(left)
        .unwrap_or(certificate.not_before)
}

/// Looks at a certificate of the operator's own.
#[must_use]
pub(crate) fn leaf(
    found: Option<&Result<Certificate, Fault>>,
    wanted: Wanted<'_>,
    now: Timestamp,
) -> Leaf {
    let certificate = match found {
        None => return Leaf::Issue("there is none".to_owned()),
        Some(Err(fault)) => return Leaf::Issue(fault.to_string()),
        Some(Ok(certificate)) => certificate,
    };
    if !certificate.authorities.contains(wanted.ca) {
        return Leaf::Issue("another CA stands beside it".to_owned());
    }
    let names = &certificate.names;
    let missing = wanted.names.dns.difference(&names.dns).next().cloned();
    let mut addresses = wanted.names.addresses.difference(&names.addresses);
    let missing = missing.or_else(|| addresses.next().map(ToString::to_string));
    if let Some(name) = missing {
        return Leaf::Issue(format!("it is not for {name}"));
    }
    // What the CA's end cuts short cannot be made longer.
    let longer = wanted.ca_ends.duration_since(certificate.not_after) > GAIN;
    if now >= renewal(certificate) && longer {
        let date = certificate.not_after;
        return Leaf::Issue(format!("it ends on {date}"));
    }
    Leaf::Keep
}
