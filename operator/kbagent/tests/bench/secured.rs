//! Members that speak TLS, and the certificates of their clients.

use std::net::IpAddr;

use kbagent::tls::{FILES, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::Pod;

/// The common name of members' certificates.
pub(crate) const MEMBER: &str = "etcd-member";

/// Signs members and clients.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "a CA");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a CA").pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// CA, certificate and key, for these addresses and both uses.
    pub(crate) fn signs(&self, name: &str, hosts: &[&str]) -> [String; 3] {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let address = |host: &&str| SanType::IpAddress(host.parse::<IpAddr>().expect("an address"));
        params.subject_alt_names = hosts.iter().map(address).collect();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("signed");
        [self.pem.clone(), made.pem(), key.serialize_pem()]
    }
}

/// Addresses of three members on one loopback network, and the one that agents use.
pub(crate) fn hosts(net: u8) -> Vec<String> {
    let own = |at: u8| (1..=3).map(move |n| format!("127.{at}.{net}.{n}"));
    let mut hosts: Vec<String> = own(77).chain(own(78)).collect();
    hosts.push("127.0.0.1".to_owned());
    hosts
}

/// Three members on one certificate, as the operator gives them.
pub(crate) fn secured(net: u8, ca: &Ca) -> Vec<Pod> {
    secured_with(net, ca, |_| {})
}

/// The same, each changed before it starts.
pub(crate) fn secured_with(net: u8, ca: &Ca, change: impl Fn(&mut Pod)) -> Vec<Pod> {
    secured_as(MEMBER, net, ca, change)
}

/// The same, with certificates of this common name, as a user's own CA may give them.
pub(crate) fn secured_as(name: &str, net: u8, ca: &Ca, change: impl Fn(&mut Pod)) -> Vec<Pod> {
    let hosts = hosts(net);
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let files = ca.signs(name, &hosts);
    let pod = |n: u8| {
        let mut pod = Pod::new(net, n, &[0, 1, 2]).bootstraps();
        pod.certificates(&files);
        pod.set("KB_TLS_PEER_NAME", name);
        change(&mut pod);
        pod.start()
    };
    (0..3).map(pod).collect()
}

/// A client's files in a directory, and how it connects with them.
pub(crate) fn with(files: &[String; 3]) -> (tempfile::TempDir, Tls) {
    let directory = tempfile::tempdir().expect("tempdir");
    for (name, text) in FILES.iter().zip(files) {
        std::fs::write(directory.path().join(name), text).expect("write");
    }
    let tls = Tls::new(Some(directory.path()));
    (directory, tls)
}
