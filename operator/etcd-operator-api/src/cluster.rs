//! Cluster: what a user writes. Data and admission rules only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::SystemAccount;
use crate::bounds;
use crate::component::{ComponentPhase, TerminationPolicy};
use crate::opaque::Opaque;
use crate::quantity::Resources;
use crate::restore::ClusterRestore;
use crate::rules;
use crate::scheduling::SchedulingPolicy;
use crate::service::{ClusterService, ComponentServiceOverride};
use crate::settings::ComponentConfig;
use crate::tls::Issuer;
use crate::update::{InstanceUpdateStrategy, PodUpdatePolicy};
use crate::volume::{RetentionPolicy, VolumeClaimTemplate};

/// What a user wants of a cluster.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.kubeblocks.io",
    version = "v1",
    kind = "Cluster",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "kubeblocks",
    category = "all",
    doc = "An etcd cluster as its user wants it.",
    validation = Rule::new("self.metadata.name.size() <= 63").message(
        "metadata.name: use at most 63 characters, it becomes a label of pods and services"
    ),
    printcolumn = r#"{"name":"CLUSTER-DEFINITION","type":"string","jsonPath":".spec.clusterDef"}"#,
    printcolumn = r#"{"name":"TERMINATION-POLICY","type":"string","jsonPath":".spec.terminationPolicy"}"#,
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_text("clusterDef"),
    rules::unsupported_text("topology"),
    rules::unsupported_entries("shardings"),
    rules::rule(
        "has(self.restore) == has(oldSelf.restore) && (!has(self.restore) || self.restore == oldSelf.restore)",
        "restore cannot be changed: a Cluster that exists is not restored in place; make another one with this field"
    ),
    rules::unsupported("backup", "!has(self.backup) || !has(self.backup.enabled) || !self.backup.enabled"),
    rules::rule(
        "oldSelf.componentSpecs.all(o, self.componentSpecs.exists(n, n.name == o.name))",
        "componentSpecs: a component cannot be renamed or removed, its members would go with it; delete the Cluster instead"
    ),
]), transform = bounds::fill)]
pub struct ClusterSpec {
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub cluster_def: Option<String>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub topology: Option<String>,
    /// What deleting the Cluster does.
    pub termination_policy: TerminationPolicy,
    /// The components; for etcd usually one, named `etcd`.
    #[schemars(
        length(min = 1, max = 128),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub component_specs: Vec<ClusterComponentSpec>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub shardings: Vec<Opaque>,
    /// RuntimeClass of all pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub runtime_class_name: Option<String>,
    /// Scheduling of components that do not say their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<SchedulingPolicy>,
    /// Services beyond those of the components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub services: Vec<ClusterService>,
    /// Not supported yet, except `enabled: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<ClusterBackup>,
    /// The backup that this Cluster begins with. Set when it is made, and never later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<ClusterRestore>,
}

/// Backup settings of KubeBlocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ClusterBackup {
    /// Whether scheduled backups are made; must be false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// One component of a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_entries("serviceRefs"),
    rules::unsupported_entries("volumes"),
    rules::unsupported_entries("instances"),
    rules::rule(
        "(has(self.tls) && self.tls) == has(self.issuer)",
        "tls: true needs an issuer, e.g. issuer: {name: KubeBlocks}, and an issuer needs tls: true"
    ),
    rules::rule(
        "!has(self.systemAccounts) || size(self.systemAccounts) == 0 || (has(self.tls) && self.tls)",
        "systemAccounts need tls: true, e.g. with issuer: {name: KubeBlocks}: passwords would travel in clear"
    ),
    rules::unsupported_field("parallelPodManagementConcurrency"),
    rules::pod_update_policy(),
    rules::unsupported("podUpgradePolicy other than ReCreate", "!has(self.podUpgradePolicy) || self.podUpgradePolicy == 'ReCreate'"),
]))]
pub struct ClusterComponentSpec {
    /// Name within the Cluster.
    #[schemars(length(max = 22), regex(pattern = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Name, prefix or regular expression of the ComponentDefinition's name; status has the resolved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub component_def: Option<String>,
    /// Version of etcd. When left out, that of the definition; from then on what runs, until another is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub service_version: Option<String>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub service_refs: Vec<Opaque>,
    /// Labels of pods, claims and services. Keys of the operator are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods. Keys of the operator are refused, except `kubeblocks.io/restart`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Environment of all containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Number of members: 1, 3, 5 or 7.
    #[schemars(
        range(min = -2147483648_i64, max = 2147483647),
        extend("x-kubernetes-validations" = rules::odd_replicas_not_zero())
    )]
    pub replicas: i32,
    /// Scheduling; instead of the Cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<SchedulingPolicy>,
    /// Resources of the etcd container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Claims of each pod, by volume name (`data`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub volume_claim_templates: Vec<VolumeClaimTemplate>,
    /// How long claims live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_retention_policy: Option<RetentionPolicy>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub volumes: Vec<Opaque>,
    /// Changes to services that the definition declares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub services: Vec<ComponentServiceOverride>,
    /// Users of etcd. With the first one etcd's authentication is switched on, and stays on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub system_accounts: Vec<SystemAccount>,
    /// Settings of etcd: one entry, named `etcd`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub configs: Vec<ComponentConfig>,
    /// Whether members and clients speak TLS. Fixed when the members are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// Who issues the certificates. Fixed when the members are made, but for the name of a user's Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    /// ServiceAccount of the pods; instead of the one the operator makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account_name: Option<String>,
    /// Not supported: members are made as fast as their order allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::update::int_or_percent")]
    pub parallel_pod_management_concurrency:
        Option<k8s_openapi::apimachinery::pkg::util::intstr::IntOrString>,
    /// Whether a change recreates pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_update_policy: Option<PodUpdatePolicy>,
    /// A new version always recreates pods: `ReCreate`, or leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_upgrade_policy: Option<PodUpdatePolicy>,
    /// How pods are updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_update_strategy: Option<InstanceUpdateStrategy>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub instances: Vec<Opaque>,
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

/// What is known of a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Generation of the spec that the rest describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClusterPhase>,
    /// What is being waited for, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The components by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ClusterComponentStatus>,
    /// Objects that Kubernetes refuses and would refuse again, with its words, by object (`Kind/name`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused_objects: BTreeMap<String, String>,
    /// Conditions; docs/troubleshooting.md lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// State of a Cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum ClusterPhase {
    /// All components are being made.
    Creating,
    /// All components run.
    Running,
    /// At least one component is changing.
    Updating,
    /// At least one component is being stopped.
    Stopping,
    /// All components are stopped.
    Stopped,
    /// The Cluster is being deleted.
    Deleting,
    /// All components failed.
    Failed,
    /// Some components failed.
    Abnormal,
}

/// What is known of one component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterComponentStatus {
    /// Name of the ComponentDefinition that its `componentDef` was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_def: Option<String>,
    /// Version of etcd to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_version: Option<String>,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ComponentPhase>,
    /// What is wrong, by object (`Kind/name`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub message: BTreeMap<String, String>,
    /// Objects that Kubernetes refuses and would refuse again, with its words, by object (`Kind/name`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused_objects: BTreeMap<String, String>,
    /// Generation of the Cluster that the component reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// True when the component reflects the newest generation of the Cluster.
    #[serde(default)]
    pub up_to_date: bool,
}
