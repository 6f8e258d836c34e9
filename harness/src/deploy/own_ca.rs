//! A user's own CA: the Secrets that a Cluster with issuer UserProvided and its clients are given.

use etcd_operator_api::names::{
    CA_KEY, CERTIFICATE_KEY, ComponentName, PRIVATE_KEY, headless_domain, service_domain,
};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DynamicObject};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use serde_json::{Value, json};

use crate::deploy::{DeployError, apply};

/// Secret of the members: CA, certificate and key.
pub(super) const MEMBERS: &str = "own-ca-members";
/// Secret of applications.
pub(super) const CLIENTS: &str = "own-ca-clients";
/// Common name of the members' certificate: the user that etcd knows them as.
const MEMBERS_NAME: &str = "members.example";
/// That of applications: no user of etcd has it, so who does not log in may do nothing.
const CLIENTS_NAME: &str = "application.example";
/// As kubeadm and kind have it.
const DOMAIN: &str = "cluster.local";
/// Clusters of one run that share it: the first, and those that are restored from its backups.
const RESTORED: &str = "restored";
const MOST_RESTORED: usize = 10;

/// Makes the Secrets where there are none.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn prepare(
    kube: &Client,
    namespace: &str,
    cluster: &str,
) -> Result<(), DeployError> {
    let what = || format!("Secret {namespace}/{MEMBERS}");
    let secrets: Api<Secret> = Api::namespaced(kube.clone(), namespace);
    let there = secrets.get_opt(MEMBERS).await;
    if there
        .map_err(|error| DeployError::call("read", what(), error))?
        .is_some()
    {
        return Ok(());
    }
    let made =
        made(namespace, cluster).map_err(|error| DeployError::call("make", what(), error))?;
    let objects: Result<Vec<DynamicObject>, _> =
        made.into_iter().map(serde_json::from_value).collect();
    let objects = objects.map_err(|error| DeployError::call("make", what(), error))?;
    apply(kube, namespace, &objects).await.map(drop)
}

/// A new CA's Secrets.
fn made(namespace: &str, cluster: &str) -> Result<[Value; 2], Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let ca = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let mut members = CertificateParams::new(names(namespace, cluster))?;
    members
        .distinguished_name
        .push(DnType::CommonName, MEMBERS_NAME);
    members.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let mut clients = CertificateParams::default();
    clients
        .distinguished_name
        .push(DnType::CommonName, CLIENTS_NAME);
    clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let secret = |name: &str, params: CertificateParams| {
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &issuer)?.pem();
        let data = json!({ CA_KEY: ca, CERTIFICATE_KEY: cert, PRIVATE_KEY: key.serialize_pem() });
        Ok::<_, Error>(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
            "type": "kubernetes.io/tls", "stringData": data,
        }))
    };
    Ok([secret(MEMBERS, members)?, secret(CLIENTS, clients)?])
}

/// Every name that the members of these clusters are called by.
fn names(namespace: &str, cluster: &str) -> Vec<String> {
    let restored = (0..MOST_RESTORED).map(|number| format!("{RESTORED}-{number}"));
    let clusters = [cluster, RESTORED].map(str::to_owned).into_iter();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    for cluster in clusters.chain(restored) {
        let component = ComponentName::existing(&format!("{cluster}-etcd"));
        let service = component.as_str();
        names.extend([
            service.to_owned(),
            format!("{service}.{namespace}.svc"),
            service_domain(service, namespace, DOMAIN),
            format!("*.{}.{namespace}.svc", component.headless()),
            format!("*.{}", headless_domain(&component, namespace, DOMAIN)),
        ]);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_certificates_are_of_one_ca_and_the_members_holds_their_names() {
        let [members, clients] = made("a-run", "quartz").expect("Secrets");
        let ca = &members["stringData"][CA_KEY];
        assert_eq!(ca, &clients["stringData"][CA_KEY]);
        assert_ne!(
            members["stringData"][PRIVATE_KEY],
            clients["stringData"][PRIVATE_KEY]
        );
        let names = names("a-run", "quartz");
        for name in [
            "*.quartz-etcd-headless.a-run.svc.cluster.local",
            "quartz-etcd.a-run.svc",
            "restored-etcd",
            "*.restored-9-etcd-headless.a-run.svc",
        ] {
            assert!(names.iter().any(|held| held == name), "{name}: {names:?}");
        }
    }
}
