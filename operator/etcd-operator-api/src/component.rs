//! Component: one part of a Cluster, made by the operator from its spec. Data and admission rules only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::SystemAccount;
use crate::quantity::Resources;
use crate::rules;
use crate::scheduling::SchedulingPolicy;
use crate::service::ComponentServiceOverride;
use crate::settings::ComponentConfig;
use crate::tls::TlsConfig;
use crate::update::{InstanceUpdateStrategy, PodUpdatePolicy};
use crate::volume::{RetentionPolicy, VolumeClaimTemplate};

/// The desired state of a component. Written by the Cluster controller.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.kubeblocks.io",
    version = "v1",
    kind = "Component",
    namespaced,
    status = "ComponentStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "cmp",
    category = "kubeblocks",
    doc = "One component of a Cluster, made by the operator.",
    printcolumn = r#"{"name":"DEFINITION","type":"string","jsonPath":".spec.compDef"}"#,
    printcolumn = r#"{"name":"SERVICE-VERSION","type":"string","jsonPath":".spec.serviceVersion"}"#,
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::zero_when_stopped(),
    rules::pod_update_policy(),
]))]
pub struct ComponentSpec {
    /// What deleting the Component does.
    #[serde(default)]
    pub termination_policy: TerminationPolicy,
    /// Name of the ComponentDefinition.
    #[schemars(length(min = 1, max = 64))]
    pub comp_def: String,
    /// Version of etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub service_version: Option<String>,
    /// Labels of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Environment of all containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Number of members: 1, 3, 5 or 7; 0 only when stopped.
    #[schemars(
        range(min = -2147483648_i64, max = 2147483647),
        extend("x-kubernetes-validations" = rules::odd_replicas())
    )]
    pub replicas: i32,
    /// Scheduling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<SchedulingPolicy>,
    /// RuntimeClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub runtime_class_name: Option<String>,
    /// Resources of the etcd container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Claims of each pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub volume_claim_templates: Vec<VolumeClaimTemplate>,
    /// How long claims live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_retention_policy: Option<RetentionPolicy>,
    /// Changes to services that the definition declares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub services: Vec<ComponentServiceOverride>,
    /// Settings of etcd: one entry, named `etcd`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub configs: Vec<ComponentConfig>,
    /// TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// Users of etcd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub system_accounts: Vec<SystemAccount>,
    /// ServiceAccount of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account_name: Option<String>,
    /// Whether a change recreates pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_update_policy: Option<PodUpdatePolicy>,
    /// How pods are updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_update_strategy: Option<InstanceUpdateStrategy>,
    /// Names of pods that must not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub offline_instances: Vec<String>,
    /// True leaves the scraping annotations off the headless service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_exporter: Option<bool>,
    /// True stops all members and keeps their claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<bool>,
}

/// What deleting a Cluster does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TerminationPolicy {
    /// Nothing: the Cluster stays until the policy is changed.
    DoNotTerminate,
    /// Pods and services go, and claims by their retention policy.
    #[default]
    Delete,
    /// As `Delete`, and claims go whatever their retention policy says. Backups stay.
    WipeOut,
}

/// What is known of a component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Generation of the spec that the rest describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions; docs/troubleshooting.md lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The state in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ComponentPhase>,
    /// What is wrong, by object (`Kind/name`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub message: BTreeMap<String, String>,
    /// Objects that Kubernetes refuses and would refuse again, with its words, by object (`Kind/name`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused_objects: BTreeMap<String, String>,
}

/// State of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum ComponentPhase {
    /// Members are made for the first time.
    Creating,
    /// The Component is being deleted.
    Deleting,
    /// Members are being changed.
    Updating,
    /// Members are being stopped.
    Stopping,
    /// Stopped members are coming back.
    Starting,
    /// All members are ready, up to date and have a role.
    Running,
    /// All members are stopped.
    Stopped,
    /// Something needs attention.
    Failed,
}
