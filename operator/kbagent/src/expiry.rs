//! Until when the mounted certificates are valid, read from the files of the moment: what etcd and agents use for their
//! next connection, whatever the operator believes.

use std::fs;
use std::path::Path;

use kbagent_protocol::CertificateReport;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::tls::FILES;

/// Most certificates of one file that are looked at.
const MOST: usize = 16;

/// The end of the member's certificate, and of the CA that lives longest; `None` without TLS, or while a file cannot be
/// read.
#[must_use]
pub(crate) fn read(directory: &Path) -> Option<CertificateReport> {
    let [ca, certificate, _] = FILES.map(|name| directory.join(name));
    Some(CertificateReport {
        // What is sent first is the member's own.
        certificate_ends: *ends(&certificate)?.first()?,
        // One of two is about to be dropped while the CA is replaced.
        ca_ends: *ends(&ca)?.iter().max()?,
    })
}

fn ends(path: &Path) -> Option<Vec<i64>> {
    let bytes = fs::read(path).ok()?;
    let all = CertificateDer::pem_slice_iter(&bytes).take(MOST);
    let end = |der: &CertificateDer<'_>| {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        Some(parsed.validity().not_after.timestamp())
    };
    all.map(|der| end(&der.ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> String {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 1, 1);
        params.self_signed(&key).expect("a certificate").pem()
    }

    #[test]
    fn the_member_s_own_end_and_the_last_of_its_cas_are_told() {
        let directory = tempfile::tempdir().expect("tempdir");
        let write = |file: usize, text: &str| {
            fs::write(directory.path().join(FILES[file]), text).expect("write");
        };
        assert_eq!(read(directory.path()), None);
        write(0, &(certificate(2040) + &certificate(2050)));
        write(1, &(certificate(2030) + &certificate(2040)));
        let at = |year: i32| date_time_ymd(year, 1, 1).unix_timestamp();
        let told = CertificateReport {
            certificate_ends: at(2030),
            ca_ends: at(2050),
        };
        assert_eq!(read(directory.path()), Some(told));
        write(1, "no certificate");
        assert_eq!(read(directory.path()), None);
    }
}
