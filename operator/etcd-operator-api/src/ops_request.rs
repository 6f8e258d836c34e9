//! OpsRequest: one operation on a running Cluster, asked for by an object. Data and admission rules only.
//!
//! What an operation is done to is in one file for each field of it; this one has the object and the types of
//! operations.

mod custom;
mod expose;
mod horizontal_scaling;
mod rebuild;
mod reconfigure;
mod recover_quorum;
mod status;
mod switchover;
mod upgrade;
mod vertical_scaling;
mod volume_expansion;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::{bounds, rules};

pub use custom::{CustomOps, CustomOpsComponent, CustomParameter};
pub use expose::{Expose, ExposeService, ExposeSwitch};
pub use horizontal_scaling::{HorizontalScaling, ScaleIn, ScaleOut};
pub use rebuild::{Rebuild, RebuildInstance};
pub use reconfigure::{Parameter, Reconfigure};
pub use recover_quorum::RecoverQuorum;
pub use status::{
    FormerSpec, LastComponentConfiguration, LastConfiguration, OpsComponentStatus, OpsPhase,
    OpsRequestStatus, ProgressDetail, ProgressStatus,
};
pub use switchover::Switchover;
pub use upgrade::{Upgrade, UpgradeComponent};
pub use vertical_scaling::VerticalScaling;
pub use volume_expansion::{LargerClaim, VolumeExpansion};

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
    rules::fixed("custom"),
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
    rules::goes_with("Custom", "custom"),
    rules::unsupported_field("backup"),
    rules::unsupported_field("restore"),
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
    /// An operation of KubeBlocks' add-on for etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomOps>,
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
    /// An operation of KubeBlocks' add-on for etcd: members are defragmented.
    Custom,
}

/// A component of the Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentOps {
    /// Its name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
}
