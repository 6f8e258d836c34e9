//! How a new Cluster begins with the data of a backup. Data and admission rules only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup_policy::SecretKey;
use crate::rules;

/// Annotation of a Component and its InstanceSet: the backup that their data comes from, as a [`Seed`] in JSON. It is
/// written when they are created and never later: a running cluster is not restored in place.
pub const SEED: &str = "dataprotection.kubeblocks.io/seed";
/// Label of an InstanceSet that has the annotation [`SEED`].
pub const SEEDED_LABEL: &str = "dataprotection.kubeblocks.io/seeded";
/// Annotation of the claim of the first member: UID of the Backup that it was filled with.
pub const FILLED: &str = "dataprotection.kubeblocks.io/filled";
/// Annotation of that claim: why it is not filled.
pub const NOT_FILLED: &str = "dataprotection.kubeblocks.io/not-filled";
/// Annotation of that claim: why the last attempt to fill it has failed, while the next one is under way.
pub const FILLED_AGAIN: &str = "dataprotection.kubeblocks.io/filled-again";
/// Annotation of a Component: `"true"` when its data has come from the backup and the cluster has formed.
pub const RESTORE_DONE: &str = "kubeblocks.io/restore-done";
/// Annotation of a Cluster: `"true"` allows a restore from a backup that was never verified.
pub const ALLOW_UNVERIFIED: &str = "dataprotection.kubeblocks.io/allow-unverified";

/// A backup that a cluster begins with, as it was when the Cluster was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seed {
    /// Name of the Backup, in the Cluster's namespace.
    pub backup: String,
    /// Its UID.
    pub backup_uid: String,
    /// Name of its BackupRepo.
    pub repo: String,
    /// Its folder in the repository.
    pub path: String,
    /// SHA-256 of its snapshot, hexadecimal.
    pub sha256: String,
    /// etcd's revision that it holds.
    pub revision: i64,
    /// Length of its snapshot in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Where its pass phrase is, when it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<SecretKey>,
    /// The archive whose changes are applied after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<SeedArchive>,
}

/// An archive, and up to where its changes are applied: to a revision, to a time, or to its end where neither is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeedArchive {
    /// Its folder, in the repository of the backup.
    pub path: String,
    /// The revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Where its end is asked for: the revision that it had, so that an archive of fewer is not taken for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<i64>,
    /// Its pass phrase, when it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<SecretKey>,
}

/// From what a new Cluster begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule("!has(self.pitr) || !has(self.revision)", "pitr and revision: keep one"),
]))]
pub struct ClusterRestore {
    /// The backup.
    pub source: RestoreSource,
    /// Up to which time (RFC 3339: `2026-11-28T12:00:00Z`), when the source is a Backup of method `archive`; its end
    /// when neither this nor `revision` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub pitr: Option<String>,
    /// Up to which revision of etcd, when the source is a Backup of method `archive`. Not KubeBlocks'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub revision: Option<i64>,
    /// `dataprotection.kubeblocks.io/source-target-name`, the component that the backup is of, and
    /// `dataprotection.kubeblocks.io/volume-restore-policy`, which makes no difference: one volume is filled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub parameters: BTreeMap<String, String>,
}

/// A Backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "!has(self.apiGroup) || self.apiGroup == 'dataprotection.kubeblocks.io'",
        "apiGroup: dataprotection.kubeblocks.io"
    ),
    rules::rule("!has(self.kind) || self.kind == 'Backup'", "kind: Backup"),
]))]
pub struct RestoreSource {
    /// `dataprotection.kubeblocks.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub api_group: Option<String>,
    /// `Backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub kind: Option<String>,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace: the Cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}
