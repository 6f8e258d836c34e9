//! What a backup's Job says while it works, and when it ends, in its container's termination message. Data only.

use serde::{Deserialize, Serialize};

/// Kubernetes keeps this much of a termination message, in bytes.
pub const LARGEST_REPORT: usize = 4096;
/// Longest text in it in characters, so that a report stays below that.
const TEXT: usize = 900;

/// `GET` at [`ARCHIVE_PORT`](crate::ARCHIVE_PORT) of a Job that makes a backup: a [`BackupProgress`].
pub const PATH_PROGRESS: &str = "/v1.0/backup";

/// How far a backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
    /// What is being done.
    pub stage: BackupStage,
    /// Bytes of the snapshot that were sent to the repository.
    pub written: u64,
    /// Its bytes, when the member has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// What is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupStage {
    /// The snapshot is written.
    #[default]
    Writing,
    /// It is read back, restored and compared.
    Verifying,
}

/// What a Job says when it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// Why it failed; absent after success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The backup, when one was made or read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSummary>,
    /// Earlier backups beside it whose data is not there any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// The newest earlier backup that is encrypted, where the pass phrase of this one does not open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<String>,
}

/// A backup in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSummary {
    /// Bytes in the repository.
    pub bytes: u64,
    /// Revision of the snapshot.
    pub revision: i64,
    /// Hexadecimal SHA-256 of the snapshot.
    pub sha256: String,
    /// Hash of the key space at the revision, hexadecimal; empty when it was not compared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash_kv: String,
    /// Version of etcd.
    pub etcd_version: String,
    /// True when etcd's authentication is on in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub authentication: bool,
    /// True when it was restored and compared.
    pub verified: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl BackupReport {
    /// Of a failure.
    #[must_use]
    pub fn failed(text: &str) -> Self {
        BackupReport {
            failure: Some(short(text)),
            ..BackupReport::default()
        }
    }

    /// Of a backup that is there.
    #[must_use]
    pub fn of(summary: BackupSummary) -> Self {
        let reason = summary.reason.as_deref().map(short);
        BackupReport {
            backup: Some(BackupSummary { reason, ..summary }),
            ..BackupReport::default()
        }
    }

    /// With the name of an earlier backup that its pass phrase does not open.
    #[must_use]
    pub fn with_locked(self, locked: Option<String>) -> Self {
        BackupReport { locked, ..self }
    }

    /// With the names of earlier backups that are lost, as many as fit.
    #[must_use]
    pub fn without(self, lost: Vec<String>) -> Self {
        let mut room = TEXT;
        let fits = |name: &String| {
            let left = room.checked_sub(name.len() + 3);
            room = left.unwrap_or(0);
            left.is_some()
        };
        BackupReport {
            lost: lost.into_iter().take_while(fits).collect(),
            ..self
        }
    }

    /// Reads one; `None` for anything else, such as a message that was cut.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The beginning of a text, without control characters, which JSON would make six times as long.
fn short(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_whatever_the_error_says() {
        for text in ["\u{1}".repeat(9000), "ü".repeat(9000), "\"\\".repeat(9000)] {
            let report = BackupReport::failed(&text);
            let json = serde_json::to_string(&report).expect("json");
            assert!(json.len() < LARGEST_REPORT, "{} bytes", json.len());
            assert_eq!(BackupReport::read(&json), Some(report));
        }
        assert_eq!(BackupReport::read("half of {"), None);
    }

    #[test]
    fn a_report_fits_however_many_earlier_backups_are_lost() {
        let summary = BackupSummary {
            reason: Some("ü".repeat(9000)),
            sha256: "0".repeat(64),
            ..BackupSummary::default()
        };
        let names = (0..99).map(|number| format!("{}-{number}", "n".repeat(60)));
        let report = BackupReport::of(summary).without(names.collect());
        let report = report.with_locked(Some("n".repeat(253)));
        assert!((10..20).contains(&report.lost.len()), "{report:?}");
        let json = serde_json::to_string(&report).expect("json");
        assert!(json.len() < LARGEST_REPORT, "{} bytes", json.len());
        assert_eq!(BackupReport::read(&json), Some(report));
    }
}
