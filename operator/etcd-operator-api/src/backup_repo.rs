//! BackupRepo: where backups are kept. Data and admission rules only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::rules;

/// Annotation of the BackupRepo that policies use which name none: `true`.
pub const DEFAULT: &str = "dataprotection.kubeblocks.io/is-default-repo";
/// Annotation of a BackupRepo: namespaces that may use it, with commas between them; without it all may.
pub const NAMESPACES: &str = "dataprotection.kubeblocks.io/namespaces";

/// Where backups are kept.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "BackupRepo",
    status = "BackupRepoStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "kubeblocks",
    doc = "Where backups are kept: a bucket, or a claim in each namespace.",
    validation = Rule::new("self.metadata.name.size() <= 63").message(
        "metadata.name: use at most 63 characters, names of claims are made of it"
    ),
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"STORAGEPROVIDER","type":"string","jsonPath":".spec.storageProviderRef"}"#,
    printcolumn = r#"{"name":"ACCESSMETHOD","type":"string","jsonPath":".spec.accessMethod"}"#,
    printcolumn = r#"{"name":"DEFAULT","type":"boolean","jsonPath":".status.isDefault"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "self.storageProviderRef in ['s3', 'minio', 'pvc']",
        "storageProviderRef: s3 or minio (a bucket), or pvc (a claim); other providers are not supported yet"
    ),
    rules::rule(
        "self.storageProviderRef == oldSelf.storageProviderRef",
        "storageProviderRef cannot be changed: make another BackupRepo"
    ),
    rules::rule(
        "self.storageProviderRef == 'pvc' ? !has(self.accessMethod) || self.accessMethod == 'Mount' : has(self.accessMethod) && self.accessMethod == 'Tool'",
        "accessMethod: Tool for a bucket, which is never mounted; Mount for a claim"
    ),
    rules::rule(
        "self.pvReclaimPolicy == 'Retain'",
        "pvReclaimPolicy must be Retain: the operator never deletes a repository; delete bucket or claims by hand"
    ),
    rules::rule(
        "self.storageProviderRef == 'pvc' || (has(self.config) && 'bucket' in self.config && self.config['bucket'] != '')",
        "config.bucket is missing: name the bucket"
    ),
    rules::rule(
        "self.storageProviderRef == 'pvc' || has(self.credential)",
        "credential is missing: name a Secret with accessKeyId and secretAccessKey"
    ),
    rules::rule(
        "self.storageProviderRef != 'pvc' || !has(self.credential)",
        "credential: a claim needs none"
    ),
    rules::rule(
        "self.storageProviderRef != 'pvc' || has(self.volumeCapacity)",
        "volumeCapacity is missing: how large the claim is, e.g. 100Gi"
    ),
]), transform = bounds::fill)]
pub struct BackupRepoSpec {
    /// What it is: `s3`, `minio` or `pvc`.
    #[schemars(length(max = 63))]
    pub storage_provider_ref: String,
    /// How it is reached: `Tool` for a bucket, `Mount` for a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_method: Option<AccessMethod>,
    /// Size of the claim; a bucket has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_capacity: Option<Quantity>,
    /// What becomes of the storage: always `Retain`.
    pub pv_reclaim_policy: PvReclaimPolicy,
    /// Settings of the provider. Of a bucket: `bucket`, `endpoint`, `region`, `pathStyle` (`true` unless `false`), and
    /// `mountOptions`, which has no effect since nothing is mounted. Of a claim: `storageClassName`, `accessMode`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Secret with `accessKeyId`, `secretAccessKey` and, for a server with a certificate authority of its own,
    /// `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretReference>,
    /// Folder in the repository below which everything lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^(/?[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$")
    )]
    pub path_prefix: Option<String>,
}

impl BackupRepo {
    /// Whether Backups and restored Clusters of a namespace may use it.
    #[must_use]
    pub fn serves(&self, namespace: &str) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        let named = annotations.and_then(|all| all.get(NAMESPACES));
        named.is_none_or(|named| named.split(',').any(|name| name.trim() == namespace))
    }
}

/// How a repository is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMethod {
    /// A claim is mounted.
    #[default]
    Mount,
    /// The Job speaks to it.
    Tool,
}

/// What becomes of the storage of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PvReclaimPolicy {
    /// It goes; not supported.
    Delete,
    /// It stays.
    #[default]
    Retain,
}

/// A Secret in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
}

/// What is known of a repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepoStatus {
    /// `Ready` when a small object was written to it, read back and deleted, or its claims can be made; `PreChecking`
    /// until that is known; else `Failed`, and the condition `Reachable` or `Validated` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupRepoPhase>,
    /// True for the one that policies use which name none.
    #[serde(default)]
    pub is_default: bool,
    /// Generation that this describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// State of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupRepoPhase {
    /// It is being tried.
    PreChecking,
    /// It cannot be used.
    Failed,
    /// It can be used.
    Ready,
}
