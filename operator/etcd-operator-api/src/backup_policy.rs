//! BackupPolicy: what is backed up, how, and where to. One is made for each component. Data and admission rules only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::opaque::Opaque;
use crate::rules;

/// Name of the method that takes a snapshot of etcd.
pub const DATAFILE: &str = "datafile";
/// Name of the method that keeps every change, continuously.
pub const ARCHIVE: &str = "archive";

/// What is backed up, how, and where to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "BackupPolicy",
    plural = "backuppolicies",
    namespaced,
    status = "BackupPolicyStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "bp",
    category = "kubeblocks",
    doc = "What is backed up, how, and where to.",
    printcolumn = r#"{"name":"BACKUP-REPO","type":"string","jsonPath":".spec.backupRepoName"}"#,
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_true("useKopia"),
    rules::unsupported_entries("targets"),
    rules::rule(
        "self.backupMethods.all(m, m.name in ['datafile', 'archive'] && self.backupMethods.exists_one(n, n.name == m.name))",
        "backupMethods: there are two, datafile (a snapshot of etcd) and archive (every change, continuously)"
    ),
]), transform = bounds::fill)]
pub struct BackupPolicySpec {
    /// The BackupRepo; the default one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub backup_repo_name: Option<String>,
    /// Folder below the repository's own prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^(/?[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$")
    )]
    pub path_prefix: Option<String>,
    /// How often a Job that failed is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub backoff_limit: Option<i32>,
    /// Bytes a second at most that a full backup reads from its member, e.g. `50Mi`; an archive reads what is written.
    /// Not KubeBlocks'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<Quantity>,
    /// `retainLatestBackup`: the newest verified backup of the cluster stays although its time is over. `none` when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<RetentionPolicy>,
    /// What is backed up.
    pub target: BackupTarget,
    /// The methods: `datafile`, `archive`.
    #[schemars(length(min = 1, max = 2))]
    pub backup_methods: Vec<BackupMethod>,
    /// Not supported yet, except false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_kopia: Option<bool>,
    /// With what backups and archives that begin from now on are encrypted; not at all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_config: Option<EncryptionConfig>,
    /// Not supported: `target` is one component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Opaque>,
}

/// How a backup is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "!has(self.algorithm) || self.algorithm == 'AES-256-GCM'",
        "algorithm: AES-256-GCM, which sees what was changed; the CFB algorithms do not"
    ),
]))]
pub struct EncryptionConfig {
    /// `AES-256-GCM`, also when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub algorithm: Option<String>,
    /// The pass phrase: 12 bytes at least. Without it the backups are lost.
    pub pass_phrase_secret_key_ref: SecretKey,
}

/// A key of a Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_true("optional"),
]))]
pub struct SecretKey {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// Not supported, except false: what is to be encrypted is never written in plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// Whether the newest backup of a cluster expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetentionPolicy {
    /// It stays.
    #[serde(rename = "retainLatestBackup")]
    RetainLatestBackup,
    /// It expires as any other.
    #[serde(rename = "none")]
    None,
}

/// A component, by the labels of its pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_field("connectionCredential"),
    rules::unsupported_field("serviceAccountName"),
    rules::unsupported_field("containerPort"),
]))]
pub struct BackupTarget {
    /// Which pods.
    pub pod_selector: TargetSelector,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_credential: Option<Opaque>,
    /// Not supported: a backup's Job has no account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Not supported: it is etcd's client port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_port: Option<Opaque>,
}

/// Pods of a component; of these the operator picks a follower that is in sync.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "!has(self.matchLabels) ? false : 'app.kubernetes.io/instance' in self.matchLabels && 'apps.kubeblocks.io/component-name' in self.matchLabels && self.matchLabels.all(k, k in ['app.kubernetes.io/instance', 'app.kubernetes.io/managed-by', 'apps.kubeblocks.io/component-name'])",
        "matchLabels: name the Cluster (app.kubernetes.io/instance) and its component (apps.kubeblocks.io/component-name); which member, the operator decides"
    ),
    rules::rule("!has(self.strategy) || self.strategy == 'Any'", "strategy: Any; one member is backed up"),
    rules::unsupported_field("fallbackLabelSelector"),
]))]
pub struct TargetSelector {
    /// Labels of the Cluster and the component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// `Any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub strategy: Option<String>,
    /// Not supported: the operator decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_label_selector: Option<Opaque>,
}

/// How a backup is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_true("snapshotVolumes"),
    rules::unsupported_text("actionSetName"),
    rules::unsupported_field("targetVolumes"),
    rules::unsupported_entries("env"),
    rules::unsupported_field("runtimeSettings"),
]))]
pub struct BackupMethod {
    /// `datafile` or `archive`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Not supported yet, except false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_volumes: Option<bool>,
    /// Not supported: the operator's own Job makes the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub action_set_name: Option<String>,
    /// Not supported: no volume of a member is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_volumes: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<Opaque>,
}

/// What is known of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicyStatus {
    /// `Available`, or `Unavailable` while its component or its repository is missing or of no use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPolicyPhase>,
    /// Why it is not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Generation that this describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// State of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum BackupPolicyPhase {
    /// Backups may use it.
    Available,
    /// A Backup of it would wait or fail.
    Unavailable,
}
