//! Backup: one backup of a component. Data and admission rules only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup_policy::{EncryptionConfig, RetentionPolicy};
use crate::bounds;
use crate::rules;

/// One backup of a component.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "Backup",
    namespaced,
    status = "BackupStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "kubeblocks",
    doc = "One backup of a component.",
    printcolumn = r#"{"name":"POLICY","type":"string","jsonPath":".spec.backupPolicyName"}"#,
    printcolumn = r#"{"name":"METHOD","type":"string","jsonPath":".spec.backupMethod"}"#,
    printcolumn = r#"{"name":"REPO","type":"string","jsonPath":".status.backupRepoName"}"#,
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"VERIFIED","type":"boolean","jsonPath":".status.verified"}"#,
    printcolumn = r#"{"name":"TOTAL-SIZE","type":"string","jsonPath":".status.totalSize"}"#,
    printcolumn = r#"{"name":"DURATION","type":"string","jsonPath":".status.duration"}"#,
    printcolumn = r#"{"name":"STAGE","type":"string","jsonPath":".status.progress.stage","priority":1}"#,
    printcolumn = r#"{"name":"WRITTEN","type":"integer","jsonPath":".status.progress.writtenBytes","priority":1}"#,
    printcolumn = r#"{"name":"OF","type":"integer","jsonPath":".status.progress.totalBytes","priority":1}"#,
    printcolumn = r#"{"name":"DELETION-POLICY","type":"string","jsonPath":".spec.deletionPolicy"}"#,
    printcolumn = r#"{"name":"CREATION-TIME","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"COMPLETION-TIME","type":"date","jsonPath":".status.completionTimestamp"}"#,
    printcolumn = r#"{"name":"EXPIRATION-TIME","type":"string","jsonPath":".status.expiration"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule("self.backupPolicyName == oldSelf.backupPolicyName", "backupPolicyName cannot be changed: make another Backup"),
    rules::rule("self.backupMethod == oldSelf.backupMethod", "backupMethod cannot be changed: make another Backup"),
    rules::rule(
        "self.backupMethod in ['datafile', 'archive']",
        "backupMethod: datafile (a snapshot of etcd) or archive (every change, continuously)"
    ),
    rules::rule(
        "!has(self.retentionPeriod) || self.retentionPeriod.matches('[1-9]')",
        "retentionPeriod: more than nothing, e.g. 7d; leave it out to keep the backup for ever"
    ),
    rules::unsupported_text("parentBackupName"),
    rules::unsupported_entries("parameters"),
]), transform = bounds::fill)]
pub struct BackupSpec {
    /// The BackupPolicy, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub backup_policy_name: String,
    /// `datafile`, a snapshot of etcd, or `archive`, every change from the last snapshot on, continuously.
    #[schemars(length(min = 1, max = 63))]
    pub backup_method: String,
    /// Whether the data in the repository goes with this object.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How long it is kept after it was made, e.g. `7d`; for ever when absent. Of an archive: how far back it reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,6}[ymwdhs]){1,6}$"))]
    pub retention_period: Option<String>,
    /// Not supported: every backup is a full one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub parent_backup_name: Option<String>,
    /// Not supported: the method has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<BTreeMap<String, String>>,
}

/// Whether the data in the repository goes with its Backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// What became of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,
    /// Version of the format in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// When it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// How long it took, or takes so far, e.g. `12s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// How far its Job is, or was when it failed; gone when it is `Completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,
    /// Bytes in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<String>,
    /// Why it failed, or why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// The BackupRepo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_repo_name: Option<String>,
    /// Its folder in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The pod whose member it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<BackupStatusTarget>,
    /// Revision of etcd that it holds; of an archive the last one, written once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// etcd's hash of all keys at that revision, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// SHA-256 of the snapshot, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Version of etcd that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// True when etcd's authentication is on in it: it is restored into a Cluster with `systemAccounts` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<bool>,
    /// True when it was read back, restored, and its hash was that of the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// Whether it stays as the newest: as its BackupPolicy said when it began. Counts when that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<RetentionPolicy>,
    /// How it is encrypted: as its BackupPolicy said when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_config: Option<EncryptionConfig>,
    /// The times that an archive can be restored to, with the full backups that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_range: Option<TimeRange>,
    /// The last gap of an archive, until there is a full backup that is newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<ArchiveGap>,
    /// The Job that makes it; of an archive the Deployment that keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Characters of a UID.
const UID: usize = 36;

impl BackupStatus {
    /// Repository and folder in which the backups of the same component lie; `None` while the backup has no path. A
    /// Cluster that is made again under the same name has another folder.
    #[must_use]
    pub fn place(&self) -> Option<(&str, &str)> {
        let (folder, _) = self.path.as_deref()?.rsplit_once('/')?;
        Some((self.backup_repo_name.as_deref()?, folder))
    }

    /// Name and UID of the Cluster, read from the backup's path; `None` while it has none.
    #[must_use]
    pub fn cluster(&self) -> Option<(&str, &str)> {
        let folder = self.path.as_deref()?.rsplit('/').nth(2)?;
        let (name, uid) = folder.split_at_checked(folder.len().checked_sub(UID)?)?;
        Some((name.strip_suffix('-')?, uid))
    }
}

/// The times that an archive can be restored to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimeRange {
    /// The first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// The last, written once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
}

/// Revisions that an archive does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveGap {
    /// The last of them: what comes later is restored over a full backup of this revision or a later one.
    pub revision: i64,
    /// Which they are, and why.
    pub reason: String,
}

/// How far a backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
    /// What is being done.
    pub stage: BackupStage,
    /// Bytes of the snapshot that were sent to the repository.
    pub written_bytes: i64,
    /// Its bytes, when the member has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<i64>,
}

/// What is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupStage {
    /// The snapshot is written.
    #[default]
    Writing,
    /// It is read back, restored and compared.
    Verifying,
}

/// The pod whose member is backed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatusTarget {
    /// Its name.
    pub name: String,
}

/// State of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupPhase {
    /// It waits.
    New,
    /// Its Job runs; an archive is kept.
    Running,
    /// It is in the repository.
    Completed,
    /// It is not.
    Failed,
    /// It is being deleted.
    Deleting,
}

impl BackupPhase {
    /// True when the backup has ended, successfully or not.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, BackupPhase::Completed | BackupPhase::Failed)
    }
}
