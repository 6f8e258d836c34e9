//! A CA for tests.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

use crate::tls::FILES;

/// Signs members and clients.
pub(crate) struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a client shows.
pub(crate) struct Shown {
    ca: String,
    pub(crate) chain: String,
    key: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a CA").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// For this common name and for `localhost`, for both uses.
    pub(crate) fn client(&self, name: &str) -> Shown {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("signed");
        Shown {
            ca: self.pem.clone(),
            chain: made.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Shown {
    /// Into a folder, as Kubernetes mounts a Secret.
    pub(crate) fn write(&self, folder: &Path) {
        for (name, text) in FILES.iter().zip([&self.ca, &self.chain, &self.key]) {
            fs::write(folder.join(name), text).expect("written");
        }
    }
}
