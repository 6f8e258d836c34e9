//! Leadership that is moved. Data and admission rules only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

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
