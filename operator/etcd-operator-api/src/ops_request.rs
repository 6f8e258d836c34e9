//! OpsRequest: one operation on a running Cluster, asked for by an object. Data and admission rules only.

mod status;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::opaque::Opaque;
use crate::rules;
use crate::service::ServiceType;
use crate::settings;

pub use status::{
    FormerSpec, LastComponentConfiguration, LastConfiguration, OpsComponentStatus, OpsPhase,
    OpsRequestStatus, ProgressDetail, ProgressStatus,
};

/// What is to be done, once. Everything but `cancel` is fixed when it is made.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "operations.kubeblocks.io",
    version = "v1alpha1",
    kind = "OpsRequest",
    namespaced,
    status = "OpsRequestStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "ops",
    category = "kubeblocks",
    category = "all",
    doc = "One operation on a Cluster.",
    printcolumn = r#"{"name":"TYPE","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"CLUSTER","type":"string","jsonPath":".spec.clusterName"}"#,
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"PROGRESS","type":"string","jsonPath":".status.progress"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::fixed("clusterName"),
    rules::fixed("type"),
    rules::fixed("force"),
    rules::fixed("enqueueOnForce"),
    rules::fixed("restart"),
    rules::fixed("stop"),
    rules::fixed("start"),
    rules::fixed("horizontalScaling"),
    rules::fixed("verticalScaling"),
    rules::fixed("switchover"),
    rules::fixed("upgrade"),
    rules::fixed("reconfigures"),
    rules::fixed("expose"),
    rules::fixed("rebuildFrom"),
    rules::fixed("recoverQuorum"),
    rules::fixed("volumeExpansion"),
    rules::rule(
        "!has(self.cancel) || !self.cancel || self.type in ['HorizontalScaling', 'VerticalScaling']",
        "cancel: only HorizontalScaling and VerticalScaling can be cancelled"
    ),
    rules::rule(
        "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
        "cancel cannot be taken back"
    ),
    rules::rule("!has(self.stop) || self.type == 'Stop'", "stop goes with type Stop, and with no other"),
    rules::rule("!has(self.start) || self.type == 'Start'", "start goes with type Start, and with no other"),
    rules::goes_with("Restart", "restart"),
    rules::goes_with("HorizontalScaling", "horizontalScaling"),
    rules::goes_with("VerticalScaling", "verticalScaling"),
    rules::goes_with("Switchover", "switchover"),
    rules::goes_with("Upgrade", "upgrade"),
    rules::goes_with("Reconfiguring", "reconfigures"),
    rules::goes_with("Expose", "expose"),
    rules::goes_with("RebuildInstance", "rebuildFrom"),
    rules::goes_with("RecoverQuorum", "recoverQuorum"),
    rules::goes_with("VolumeExpansion", "volumeExpansion"),
    rules::unsupported_field("backup"),
    rules::unsupported_field("restore"),
    rules::unsupported_field("custom"),
]), transform = bounds::fill)]
pub struct OpsRequestSpec {
    /// The Cluster, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
    /// What is to be done; its own field below says to what.
    #[serde(rename = "type")]
    pub kind: OpsType,
    /// True undoes a scaling that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// True does it whatever phase the Cluster is in, and without waiting for earlier requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// True waits for earlier requests although `force` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enqueue_on_force: Option<bool>,
    /// Seconds after success until the object is deleted; 0 or absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub ttl_seconds_after_succeed: Option<i32>,
    /// Seconds after any other end until the object is deleted; 0 or absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub ttl_seconds_after_unsuccessful_completion: Option<i32>,
    /// Seconds that the Cluster may take to reach a phase in which the operation may begin; 0 or absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub pre_condition_deadline_seconds: Option<i32>,
    /// Seconds that the operation, or its cancel, may run before it is given up; 0 or absent: 60 for a Switchover, 600
    /// for Stop, Start and Expose, 7200 for HorizontalScaling, 3600 for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub timeout_seconds: Option<i32>,
    /// Components whose pods are recreated one at a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub restart: Vec<ComponentOps>,
    /// Components to stop; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub stop: Vec<ComponentOps>,
    /// Components to start; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub start: Vec<ComponentOps>,
    /// Components that get more or fewer members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub horizontal_scaling: Vec<HorizontalScaling>,
    /// Components that get other resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub vertical_scaling: Vec<VerticalScaling>,
    /// Components whose leadership is moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub switchover: Vec<Switchover>,
    /// Components that get another version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// Components whose settings of etcd change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub reconfigures: Vec<Reconfigure>,
    /// Components that get or lose services of the Cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub expose: Vec<Expose>,
    /// Components whose members are rebuilt with an empty disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub rebuild_from: Vec<Rebuild>,
    /// Components whose quorum does not come back, and which continue with one member. Not KubeBlocks'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub recover_quorum: Vec<RecoverQuorum>,
    /// Components whose volumes grow while they are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub volume_expansion: Vec<VolumeExpansion>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Opaque>,
}

/// Kind of an operation. KubeBlocks' others are refused at admission.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum OpsType {
    /// Pods are recreated one at a time.
    #[default]
    Restart,
    /// Members are stopped; their data stays.
    Stop,
    /// Members are started again.
    Start,
    /// More or fewer members.
    HorizontalScaling,
    /// Other resources.
    VerticalScaling,
    /// Leadership is moved.
    Switchover,
    /// Another version.
    Upgrade,
    /// Other settings of etcd.
    Reconfiguring,
    /// Services come or go.
    Expose,
    /// Members are replaced by new ones of the same name, which fetch all data from the others.
    RebuildInstance,
    /// One member continues without the others, whose quorum does not come back. Not KubeBlocks'.
    RecoverQuorum,
    /// Volumes grow while they are used.
    VolumeExpansion,
}

/// A component of the Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentOps {
    /// Its name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
}

/// How many members a component gets or loses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_field("shards"),
    rules::rule(
        "has(self.scaleOut) != has(self.scaleIn)",
        "horizontalScaling: say either scaleOut or scaleIn"
    ),
]))]
pub struct HorizontalScaling {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// Not supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<i32>,
    /// More members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_out: Option<ScaleOut>,
    /// Fewer members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_in: Option<ScaleIn>,
}

/// More members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_entries("instances"),
    rules::unsupported_entries("newInstances"),
    rules::unsupported_field("fromBackup"),
    rules::rule(
        "has(self.replicaChanges) || (has(self.offlineInstancesToOnline) && size(self.offlineInstancesToOnline) > 0)",
        "scaleOut: say replicaChanges or offlineInstancesToOnline"
    ),
]))]
pub struct ScaleOut {
    /// How many members more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub replica_changes: Option<i32>,
    /// Names of pods in `offlineInstances` that are to be created again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub offline_instances_to_online: Vec<String>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub instances: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub new_instances: Vec<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_backup: Option<Opaque>,
}

/// Fewer members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_entries("instances"),
    rules::rule(
        "has(self.replicaChanges) || (has(self.onlineInstancesToOffline) && size(self.onlineInstancesToOffline) > 0)",
        "scaleIn: say replicaChanges or onlineInstancesToOffline"
    ),
]))]
pub struct ScaleIn {
    /// How many members fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub replica_changes: Option<i32>,
    /// Names of pods to remove. They are added to `offlineInstances`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub online_instances_to_offline: Vec<String>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub instances: Vec<Opaque>,
}

/// Other resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_entries("instances"),
    rules::rule(
        "(has(self.requests) && size(self.requests) > 0) || (has(self.limits) && size(self.limits) > 0)",
        "verticalScaling: say requests or limits"
    ),
]))]
pub struct VerticalScaling {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// Upper bounds by resource name. What is not named stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantity::quantities")]
    pub limits: BTreeMap<String, Quantity>,
    /// Reserved amounts by resource name. What is not named stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantity::quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub instances: Vec<Opaque>,
}

/// Larger volumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_entries("instances"),
]))]
pub struct VolumeExpansion {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// The claims that grow, in every pod. What is not named stays.
    #[schemars(length(min = 1, max = 16))]
    pub volume_claim_templates: Vec<LargerClaim>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub instances: Vec<Opaque>,
}

/// What a claim grows to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LargerClaim {
    /// Name of the claim template.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Its new size.
    #[schemars(schema_with = "crate::quantity::quantity")]
    pub storage: Quantity,
}

/// The pod that leadership moves away from, and the pod it moves to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_text("componentObjectName"),
    rules::rule("has(self.componentName) && self.componentName != ''", "switchover: componentName is needed"),
]))]
pub struct Switchover {
    /// The component's name within the Cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub component_name: Option<String>,
    /// Not supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub component_object_name: Option<String>,
    /// The current leader, which leadership moves away from.
    #[schemars(length(min = 1, max = 253))]
    pub instance_name: String,
    /// The pod to lead next; when absent, the follower with the newest log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub candidate_name: Option<String>,
}

/// Another version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// The components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 128))]
    pub components: Vec<UpgradeComponent>,
}

/// Another version of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "has(self.serviceVersion) || has(self.componentDefinitionName)",
        "upgrade: say serviceVersion or componentDefinitionName"
    ),
]))]
pub struct UpgradeComponent {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// Name, prefix or regular expression of the ComponentDefinition's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub component_definition_name: Option<String>,
    /// The version of etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub service_version: Option<String>,
}

/// Other settings of etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reconfigure {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// The settings that change, see [`crate::settings`].
    #[schemars(length(min = 1, max = 64))]
    pub parameters: Vec<Parameter>,
}

/// One setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = settings::rules_of_parameter()))]
pub struct Parameter {
    /// Its name: etcd's flag without dashes in front.
    #[schemars(length(min = 1, max = 64))]
    pub key: String,
    /// Its value; absent: what the definition says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub value: Option<String>,
}

/// Services that a component gets or loses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// Whether the services come or go.
    pub switch: ExposeSwitch,
    /// The services.
    #[schemars(length(min = 1, max = 64))]
    pub services: Vec<ExposeService>,
}

/// Whether services come or go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExposeSwitch {
    /// They come.
    #[default]
    Enable,
    /// They go.
    Disable,
}

/// A service, named `{cluster}-{component}-{name}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_field("podSelector"),
    rules::unsupported_entries("ipFamilies"),
]))]
pub struct ExposeService {
    /// Last part of its name.
    #[schemars(
        length(min = 1, max = 25),
        regex(pattern = r"^[a-z]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Its kind.
    #[serde(default)]
    pub service_type: ServiceType,
    /// Its ports, each a `ServicePort` of Kubernetes; 2379 when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub ports: Vec<Opaque>,
    /// Role of the members that it leads to; `leader` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub role_selector: Option<String>,
    /// Not supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<Opaque>,
    /// Not supported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub ip_families: Vec<String>,
}

/// Members that are rebuilt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_text("backupName"),
    rules::unsupported_text("sourceBackupTargetName"),
    rules::unsupported_entries("restoreEnv"),
    rules::rule(
        "has(self.inPlace) && self.inPlace",
        "rebuildFrom: say inPlace: true; targetNodeName places the new member on another node"
    ),
]))]
pub struct Rebuild {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// The members.
    #[schemars(length(min = 1, max = 7))]
    pub instances: Vec<RebuildInstance>,
    /// Must be true: the new member has the old one's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<bool>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub backup_name: Option<String>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub source_backup_target_name: Option<String>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub restore_env: Vec<Opaque>,
}

/// A member that is rebuilt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebuildInstance {
    /// Name of its pod.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Name of the node that the new member is placed on; absent: the scheduler chooses by `schedulingPolicy`. It
    /// counts until the member votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub target_node_name: Option<String>,
}

impl RebuildInstance {
    /// The node that is named; an empty name is none.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target_node_name
            .as_deref()
            .filter(|node| !node.is_empty())
    }
}

/// A component that continues with one member. What only the others know is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "(has(self.acceptDataLoss) && self.acceptDataLoss) != (has(self.dryRun) && self.dryRun)",
        "recoverQuorum: say either dryRun: true, to see what would be lost, or acceptDataLoss: true"
    ),
]))]
pub struct RecoverQuorum {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// Name of the pod whose member stays; absent or `furthest`: that of the highest committed index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub survivor: Option<String>,
    /// True when what only other members know may be lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_data_loss: bool,
    /// True to see what would be lost, and to change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl RecoverQuorum {
    /// The pod that is named, if any.
    #[must_use]
    pub fn named_survivor(&self) -> Option<&str> {
        let named = self.survivor.as_deref();
        named.filter(|pod| !pod.is_empty() && *pod != "furthest")
    }
}
