//! ComponentDefinition: how a component of one kind is run. Shipped as an object; users may copy it.
//! Data and admission rules only.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lifecycle::LifecycleActions;
use crate::opaque::Opaque;
use crate::rules;
use crate::service::ComponentService;
use crate::update::{MemberUpdateStrategy, PodManagementPolicy, PodUpdatePolicy};

/// How a component is run.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.kubeblocks.io",
    version = "v1",
    kind = "ComponentDefinition",
    status = "ComponentDefinitionStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "cmpd",
    category = "kubeblocks",
    doc = "How a component of one kind is run: containers, actions, roles and services.",
    printcolumn = r#"{"name":"SERVICE","type":"string","jsonPath":".spec.serviceKind"}"#,
    printcolumn = r#"{"name":"SERVICE-VERSION","type":"string","jsonPath":".spec.serviceVersion"}"#,
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_entries("vars"),
    rules::unsupported_entries("configs"),
    rules::unsupported_entries("scripts"),
    rules::unsupported_entries("logConfigs"),
    rules::unsupported_entries("systemAccounts"),
    rules::unsupported_entries("policyRules"),
    rules::unsupported_entries("serviceRefDeclarations"),
    rules::unsupported_field("hostNetwork"),
    rules::unsupported_field("tls"),
    rules::unsupported_field("available"),
    rules::unsupported_entries("sidecars"),
    rules::pod_update_policy(),
    rules::rule(
        "!has(self.podManagementPolicy) || self.podManagementPolicy == 'Parallel'",
        "podManagementPolicy must be Parallel: no member is ready before a quorum runs, OrderedReady would wait for ever",
    ),
]))]
pub struct ComponentDefinitionSpec {
    /// Who provides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub provider: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub description: Option<String>,
    /// What service it gives: `etcd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub service_kind: Option<String>,
    /// Version of the service that the images in `runtime` are; used where no ComponentVersion fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub service_version: Option<String>,
    /// Labels of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// A `PodSpec` of Kubernetes: the pods' containers, probes and volumes.
    pub runtime: Opaque,
    /// Volumes that must be claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub volumes: Vec<ComponentVolume>,
    /// Services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub services: Vec<ComponentService>,
    /// How many members there may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_limit: Option<ReplicasLimit>,
    /// The roles that members may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub roles: Vec<ReplicaRole>,
    /// Seconds that a pod must be ready to count as available.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,
    /// How many members may be updated at a time.
    #[serde(default)]
    pub update_strategy: MemberUpdateStrategy,
    /// In what order pods are made.
    #[serde(default)]
    pub pod_management_policy: PodManagementPolicy,
    /// Whether a change recreates pods.
    #[serde(default)]
    pub pod_update_policy: PodUpdatePolicy,
    /// Actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_actions: Option<LifecycleActions>,
    /// What Prometheus scrapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter: Option<Exporter>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub vars: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub configs: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub scripts: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub log_configs: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub system_accounts: Vec<Opaque>,
    /// Not supported: the pods need no rights in Kubernetes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub policy_rules: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub service_ref_declarations: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub sidecars: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_network: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Opaque>,
    /// Not supported: a component is available when it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<Opaque>,
}

/// A volume of the pods that must be claimed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::unsupported("highWatermark", "!has(self.highWatermark) || self.highWatermark == 0")]))]
pub struct ComponentVolume {
    /// Name of the volume.
    #[schemars(length(max = 40))]
    pub name: String,
    /// Whether backups need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need_snapshot: Option<bool>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub high_watermark: Option<i32>,
}

/// How many members there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule("self.minReplicas <= self.maxReplicas", "minReplicas must not be above maxReplicas"),
]))]
pub struct ReplicasLimit {
    /// Least count.
    #[schemars(range(min = 0, max = 16384))]
    pub min_replicas: i32,
    /// Greatest count.
    #[schemars(range(min = 0, max = 16384))]
    pub max_replicas: i32,
}

/// A role that members may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRole {
    /// Name, the value of the role label.
    #[schemars(length(max = 32))]
    pub name: String,
    /// Members with a greater number are updated later.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub update_priority: i32,
    /// Whether the member votes.
    #[serde(default)]
    pub participates_in_quorum: bool,
    /// Whether only one member may have the role at a time.
    #[serde(default)]
    pub is_exclusive: bool,
}

/// What Prometheus scrapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exporter {
    /// Container that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container_name: Option<String>,
    /// Path; `/metrics` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub scrape_path: Option<String>,
    /// Name or number of the container's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub scrape_port: Option<String>,
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub scrape_scheme: Option<String>,
}

/// What is known of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentDefinitionStatus {
    /// Generation of the spec that the rest describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether clusters may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DefinitionPhase>,
    /// Why they may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether clusters may use a definition or version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum DefinitionPhase {
    /// They may.
    Available,
    /// They may not; the message says why.
    Unavailable,
}
