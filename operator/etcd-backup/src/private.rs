//! Certificates of a private etcd. Restored data may have users, and asks who calls: its only client is `root` by a
//! certificate, so no password is needed, whatever users there are, and no other process of the machine is let in.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};

use crate::error::Error;

/// The user without which etcd's authentication cannot be on: it has all rights.
const ROOT: &str = "root";

/// Writes `ca.crt`, `tls.crt` and `tls.key` into a folder, for server and client. The authority's own key is dropped.
pub(crate) fn certify(folder: &Path) -> Result<(), Error> {
    let [ca, cert, key] = issue().map_err(|error| {
        Error::Settings(format!(
            "no certificate can be made for a private etcd: {error}"
        ))
    })?;
    let written = || {
        let mut own = std::fs::DirBuilder::new();
        own.recursive(true).mode(0o700).create(folder)?;
        for (name, text) in [("ca.crt", ca), ("tls.crt", cert), ("tls.key", key)] {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options
                .open(folder.join(name))?
                .write_all(text.as_bytes())?;
        }
        Ok::<_, std::io::Error>(())
    };
    written().map_err(|source| Error::Disk {
        what: "write certificates to",
        path: folder.display().to_string(),
        needed: "the snapshot twice and 200 MiB",
        source,
    })
}

fn issue() -> Result<[String; 3], rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?.pem();
    let authority = Issuer::new(authority, authority_key);
    let mut leaf = CertificateParams::new(["127.0.0.1".to_owned()])?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, ROOT);
    leaf.distinguished_name = name;
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let cert = leaf.signed_by(&key, &authority)?.pem();
    Ok([ca, cert, key.serialize_pem()])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn its_key_is_read_by_its_user_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        certify(folder.path()).expect("written");
        let key = folder.path().join("tls.key");
        let mode = std::fs::metadata(key).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
