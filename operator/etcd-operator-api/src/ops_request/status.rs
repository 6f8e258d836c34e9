//! What became of an operation. Data only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Resources;
use crate::service::ClusterService;

/// What became of an operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpsRequestStatus {
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<OpsPhase>,
    /// Instances that are done, of those that the operation is about: `1/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(\d+|\-)/(\d+|\-)$"))]
    pub progress: Option<String>,
    /// Generation of the Cluster that holds the operation's edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_generation: Option<i64>,
    /// What the edit has changed, as it was before.
    #[serde(default, skip_serializing_if = "LastConfiguration::is_empty")]
    pub last_configuration: LastConfiguration,
    /// Progress by component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, OpsComponentStatus>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Conditions with KubeBlocks' types and reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// State of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum OpsPhase {
    /// It waits for earlier ones, or for the Cluster.
    Pending,
    /// It is about to begin.
    Creating,
    /// It is in progress.
    Running,
    /// It is being undone.
    Cancelling,
    /// It was undone.
    Cancelled,
    /// It was given up.
    Aborted,
    /// It was refused, or has failed.
    Failed,
    /// Its effect was seen.
    Succeed,
}

impl OpsPhase {
    /// True when the operation has ended, successfully or not.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(
            self,
            OpsPhase::Cancelled | OpsPhase::Aborted | OpsPhase::Failed | OpsPhase::Succeed
        )
    }
}

/// What an operation has changed, as it was before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastConfiguration {
    /// By component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, LastComponentConfiguration>,
    /// Services of the Cluster that it changes or removes, by their names within the Cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, ClusterService>,
}

impl LastConfiguration {
    /// True when nothing is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.components.is_empty() && self.services.is_empty()
    }
}

/// What an operation has changed of a component, as it was before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastComponentConfiguration {
    /// Number of members.
    pub replicas: i32,
    /// Pods that held a member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
    /// Pods that were there: their UIDs by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pods: BTreeMap<String, String>,
    /// Pods that must not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offline_instances: Vec<String>,
    /// Resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_version: Option<String>,
    /// Definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_definition_name: Option<String>,
    /// Objects of the services that come or go, by the services' names within the Cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_objects: BTreeMap<String, String>,
    /// Settings of etcd.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// Fields as the Cluster's spec had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerSpec>,
    /// Members that are rebuilt: their identifiers (hexadecimal) by pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rebuilt_members: BTreeMap<String, String>,
    /// Token of the recovery of its quorum, as it is on record in the InstanceSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<String>,
    /// Token of the defragmentation of its members, as it is on record in the InstanceSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defragmentation: Option<String>,
    /// Sizes of its claim templates, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantity::quantities")]
    pub storage: BTreeMap<String, Quantity>,
    /// Claims of those members: their UIDs by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rebuilt_claims: BTreeMap<String, String>,
    /// Nodes that their new members are placed on, by claim, where the request names some.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rebuilt_nodes: BTreeMap<String, String>,
}

/// Fields of a component as the Cluster's spec had them; absent where it had none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerSpec {
    /// Whether it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<bool>,
    /// When its pods were last recreated on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_version: Option<String>,
    /// Definition: its name, a prefix or a regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_def: Option<String>,
}

/// Progress of a component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpsComponentStatus {
    /// The component's own phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<crate::component::ComponentPhase>,
    /// Progress by object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress_details: Vec<ProgressDetail>,
    /// What is being waited for, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is being waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Progress of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressDetail {
    /// The object, as `Kind/name`.
    pub object_key: String,
    /// Where it stands.
    pub status: ProgressStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where an object stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum ProgressStatus {
    /// Not begun.
    #[default]
    Pending,
    /// Under way.
    Processing,
    /// Failed.
    Failed,
    /// Done.
    Succeed,
}
