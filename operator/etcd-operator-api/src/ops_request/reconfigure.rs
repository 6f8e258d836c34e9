//! Other settings of etcd. Data and admission rules only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings;

/// Other settings of etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reconfigure {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// The settings that change; docs/tasks.md lists them.
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
