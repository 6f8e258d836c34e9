//! Certificates that open nothing: of another CA, and of the right one but over.

use etcd_operator_api::account::CLIENT;
use etcd_operator_api::names::{CA_KEY, CERTIFICATE_KEY, PRIVATE_KEY};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, date_time_ymd,
};
use serde_json::{Value, json};

/// A Secret with a certificate for applications that this CA has signed and that is over.
pub(super) fn expired(name: &str, (cert, key): (&str, &str)) -> Result<Value, Error> {
    let issuer = Issuer::from_ca_cert_pem(cert, KeyPair::from_pem(key)?)?;
    let mut params = application();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2020, 2, 1);
    signed(name, cert, params, &issuer)
}

/// A Secret with a certificate for applications of a CA that members do not know.
pub(super) fn foreign(name: &str) -> Result<Value, Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?.pem();
    signed(name, &cert, application(), &Issuer::new(params, key))
}

fn application() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, CLIENT);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn signed(
    name: &str,
    ca: &str,
    params: CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<Value, Error> {
    let key = KeyPair::generate()?;
    let made = params.signed_by(&key, issuer)?.pem();
    let data = json!({ CA_KEY: ca, CERTIFICATE_KEY: made, PRIVATE_KEY: key.serialize_pem() });
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
        "type": "kubernetes.io/tls", "stringData": data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_over_is_of_the_ca_that_members_know() {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).expect("a CA").pem();
        let made = expired("over", (&ca, &key.serialize_pem())).expect("a Secret");
        assert_eq!(made["stringData"][CA_KEY], ca);
        let other = foreign("foreign").expect("a Secret");
        assert_ne!(other["stringData"][CA_KEY], ca);
        assert!(expired("over", ("no certificate", "no key")).is_err());
    }
}
