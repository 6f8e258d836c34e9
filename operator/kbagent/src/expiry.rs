//! Until when the mounted certificates are valid, and when they are due to be renewed, read from the files of the
//! moment: what etcd and agents use for their next connection, whatever the operator believes.

use std::fs;
use std::path::Path;

use kbagent_protocol::CertificateReport;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::tls::FILES;

/// Most certificates of one file that are looked at.
const MOST: usize = 16;

/// Longest time before the end of a certificate that its renewal is due, in seconds.
const EARLIEST: i64 = 60 * 86_400;

/// When a certificate begins and ends, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Life {
    begins: i64,
    ends: i64,
}

impl Life {
    /// Who renews certificates (cert-manager, this operator) does so when a third of their life is left. Of a CA's the
    /// last third is years.
    fn due(self) -> i64 {
        let third = self.ends.saturating_sub(self.begins) / 3;
        self.ends.saturating_sub(third.clamp(0, EARLIEST))
    }
}

/// The end of the member's certificate, and of the CA that lives longest; `None` without TLS, or while a file cannot be
/// read.
#[must_use]
pub(crate) fn read(directory: &Path) -> Option<CertificateReport> {
    let [ca, certificate, _] = FILES.map(|name| directory.join(name));
    // What is sent first is the member's own.
    let certificate = *lives(&certificate)?.first()?;
    // One of two is about to be dropped while the CA is replaced.
    let ca = lives(&ca)?.into_iter().max_by_key(|life| life.ends)?;
    Some(CertificateReport {
        certificate_ends: certificate.ends,
        ca_ends: ca.ends,
        certificate_due: Some(certificate.due()),
        ca_due: Some(ca.due()),
    })
}

fn lives(path: &Path) -> Option<Vec<Life>> {
    let bytes = fs::read(path).ok()?;
    let all = CertificateDer::pem_slice_iter(&bytes).take(MOST);
    let life = |der: &CertificateDer<'_>| {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let validity = parsed.validity();
        Some(Life {
            begins: validity.not_before.timestamp(),
            ends: validity.not_after.timestamp(),
        })
    };
    all.map(|der| life(&der.ok()?)).collect()
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
    fn renewal_is_due_when_a_third_is_left_and_not_years_before() {
        let day = 86_400;
        let due = |begins: i64, ends: i64| {
            let life = Life {
                begins: begins * day,
                ends: ends * day,
            };
            life.due() / day
        };
        assert_eq!(due(100, 190), 160, "cert-manager's 90 days");
        assert_eq!(due(0, 3), 2);
        assert_eq!(due(0, 365), 305, "later than the operator renews its own");
        assert_eq!(due(0, 20 * 365), 20 * 365 - 60);
        assert_eq!(due(9, 3), 3, "no certificate ends before it begins");
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
            certificate_due: Some(at(2030) - EARLIEST),
            ca_due: Some(at(2050) - EARLIEST),
        };
        assert_eq!(read(directory.path()), Some(told));
        write(1, "no certificate");
        assert_eq!(read(directory.path()), None);
    }
}
