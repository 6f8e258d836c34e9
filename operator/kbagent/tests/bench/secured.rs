//! Members that speak TLS, and the certificates of their clients.

use std::net::IpAddr;

use kbagent::tls::{FILES, Tls};
use rcgen::{DnType, SanType};

use super::Pod;
pub(crate) use super::ca::Ca;

/// The common name of members' certificates.
pub(crate) const MEMBER: &str = "etcd-member";

impl Ca {
    /// CA, certificate and key, for these addresses and both uses.
    pub(crate) fn signs(&self, name: &str, hosts: &[&str]) -> [String; 3] {
        let address = |host: &&str| SanType::IpAddress(host.parse::<IpAddr>().expect("an address"));
        let [certificate, key] = self.certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.subject_alt_names = hosts.iter().map(address).collect();
        });
        [self.pem.clone(), certificate, key]
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
