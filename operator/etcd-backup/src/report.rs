//! Pure: a manifest in short, for the operator.

use kbagent_protocol::{BackupReport, BackupSummary};

use crate::manifest::Manifest;

/// The report of a backup that is there.
pub fn report(manifest: &Manifest) -> BackupReport {
    let verification = &manifest.verification;
    BackupReport::of(BackupSummary {
        bytes: manifest.bytes,
        revision: manifest.revision.unwrap_or(manifest.revision_before),
        sha256: manifest.sha256.clone(),
        hash_kv: verification.hash_kv.clone().unwrap_or_default(),
        etcd_version: manifest.etcd_version.clone(),
        authentication: manifest.authentication == Some(true),
        verified: verification.verified,
        reason: verification.reason.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::manifest;

    #[test]
    fn a_report_carries_what_the_status_shows() {
        let summary = report(&manifest()).backup.expect("a backup");
        assert_eq!(
            (summary.bytes, summary.revision, summary.verified),
            (7, 2, true)
        );
        assert_eq!(summary.hash_kv, "d");
        assert!(summary.authentication);
    }
}
