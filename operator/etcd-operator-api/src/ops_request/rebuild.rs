//! Members that are rebuilt with an empty disk. Data and admission rules only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::rules;

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
    /// counts until the member votes, or has not started there within 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub target_node_name: Option<String>,
}

impl RebuildInstance {
    /// The node that is named; `None` when the name is absent or empty.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target_node_name
            .as_deref()
            .filter(|node| !node.is_empty())
    }
}
