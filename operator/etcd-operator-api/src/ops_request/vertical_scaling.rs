//! Other resources. Data and admission rules only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::rules;

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
