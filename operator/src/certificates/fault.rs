//! What can be wrong with a Secret that holds a certificate. Each says which Secret, which key of it, and what to do.

use jiff::Timestamp;

/// A Secret, and under which keys it has what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its name.
    pub secret: String,
    /// Key of the CA.
    pub ca: String,
    /// Key of the certificate.
    pub cert: String,
    /// Key of the private key.
    pub key: String,
}

/// What is out of time, and what helps: members trust the CA that they were started with, and no other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// A certificate that a CA signed.
    Certificate,
    /// The operator's own CA.
    OwnCa,
    /// A user's CA.
    UserCa,
}

impl Remedy {
    fn expired(self) -> &'static str {
        match self {
            Remedy::Certificate => "replace it, and keep the CA that signs it",
            Remedy::OwnCa => {
                "members trust no other CA, so restore a backup into a new Cluster. Without members delete the Secret, and \
                 another CA is made"
            }
            Remedy::UserCa => {
                "members trust no other CA, so restore a backup into a new Cluster. Without members put another CA there, \
                 and what it signs"
            }
        }
    }

    fn early(self) -> &'static str {
        match self {
            Remedy::Certificate => {
                "Set the clocks of the nodes, or replace it, and keep the CA that signs it"
            }
            Remedy::OwnCa => {
                "Set the clocks of the nodes, or wait until then, as members trust no other CA. Without members delete the \
                 Secret, and another CA is made"
            }
            Remedy::UserCa => {
                "Set the clocks of the nodes, or wait until then, as members trust no other CA. Without members put another \
                 CA there, and what it signs"
            }
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The Secret is not there.
    #[error("Secret {secret} is not there: make it, with the CA, the certificate and its key")]
    NoSecret {
        /// The Secret.
        secret: String,
    },
    /// A part of it is missing.
    #[error("Secret {secret} has no key {field:?}, or it is empty")]
    Missing {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
    },
    /// It is no PEM, or no certificate or key in it.
    #[error("Secret {secret}, key {field:?} cannot be read: {why}")]
    Unreadable {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// The parser's words.
        why: String,
    },
    /// More certificates than are read.
    #[error("Secret {secret}, key {field:?} holds {found} certificates: {most} at most")]
    TooMany {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// How many.
        found: usize,
        /// How many may be.
        most: usize,
    },
    /// The key belongs to another certificate.
    #[error("Secret {secret}: key {key:?} is not the private key of the certificate in {cert:?}")]
    KeyDoesNotFit {
        /// The Secret.
        secret: String,
        /// The private key's key.
        key: String,
        /// The certificate's key.
        cert: String,
    },
    /// It is no CA.
    #[error("Secret {secret}, key {field:?} holds a certificate that is no CA")]
    NoCa {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
    },
    /// Too late.
    #[error("Secret {secret}, key {field:?}: the certificate expired on {date}: {}", .remedy.expired())]
    Expired {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// Since when.
        date: Timestamp,
        /// What helps.
        remedy: Remedy,
    },
    /// Too early.
    #[error(
        "Secret {secret}, key {field:?}: the certificate is not valid before {date}: a clock was ahead when it was issued, or \
         the operator's is behind. {}",
        .remedy.early()
    )]
    NotYetValid {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// From when on.
        date: Timestamp,
        /// What helps.
        remedy: Remedy,
    },
    /// Another CA signed it.
    #[error("Secret {secret}: the certificate in {cert:?} is not signed by the CA in {ca:?}")]
    NotSigned {
        /// The Secret.
        secret: String,
        /// The certificate's key.
        cert: String,
        /// The CA's key.
        ca: String,
    },
    /// A member is a server and a client.
    #[error(
        "Secret {secret}, key {field:?}: the certificate cannot be used here ({why}): its extended key usage must hold \
         serverAuth and clientAuth"
    )]
    Usage {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// The verifier's words.
        why: String,
    },
    /// A name that is needed.
    #[error(
        "Secret {secret}, key {field:?}: the certificate is not for {name}: its subject alternative names must hold it, or \
         a wildcard for it"
    )]
    NameMissing {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// The name.
        name: String,
    },
    /// The members that run believe the CA of before.
    #[error(
        "Secret {secret}, key {field:?} holds another CA than the members were made with, and etcd does not read it again: \
         put that CA back, or make a new Cluster"
    )]
    CaChanged {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
    },
    /// etcd knows members by it.
    #[error(
        "Secret {secret}, key {field:?}: the certificate has no common name, or several: with systemAccounts etcd knows the \
         members by it, as an administrator. Put one there that has one, e.g. {component}-member, which no application has"
    )]
    NoCommonName {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// The component.
        component: String,
    },
    /// etcd knows members by another one.
    #[error(
        "Secret {secret}, key {field:?}: the common name of the certificate is {found:?}, and etcd knows the members as its \
         user {known:?}: put a certificate with that common name there"
    )]
    CommonNameChanged {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// What it has.
        found: String,
        /// What etcd knows.
        known: String,
    },
    /// cert-manager was asked for it.
    #[error("{fault} It is asked of cert-manager: Certificate {certificate} {said}")]
    Asked {
        /// What is wrong with the Secret.
        fault: String,
        /// The Certificate.
        certificate: String,
        /// What cert-manager says.
        said: String,
    },
    /// The own CA was lost.
    #[error(
        "Secret {secret} with the CA is not there and members run with its certificates: put it back from a copy. Nothing \
         is renewed until then"
    )]
    CaLost {
        /// The Secret.
        secret: String,
    },
    /// The own CA is another one.
    #[error(
        "Secret {secret}, key {field:?} holds another CA than members believe ({believed}): put that one back from a copy, \
         with its key. Until then nothing is issued"
    )]
    CaReplaced {
        /// The Secret.
        secret: String,
        /// The key.
        field: String,
        /// How that one is known.
        believed: String,
    },
    /// Nothing tells which CA members were started with.
    #[error(
        "which CA members believe is not known: Secret {secret} is gone or its key {field:?} cannot be read, and nothing is \
         on record in InstanceSet {set}. Put that Secret back from a copy. Until then no certificate is written"
    )]
    CaUnknown {
        /// The Secret that members mount.
        secret: String,
        /// The CA's key.
        field: String,
        /// The InstanceSet.
        set: String,
    },
}
