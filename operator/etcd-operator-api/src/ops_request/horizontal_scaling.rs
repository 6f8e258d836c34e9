//! More or fewer members. Data and admission rules only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::rules;

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
