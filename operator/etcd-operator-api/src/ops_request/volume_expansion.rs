//! Larger volumes. Data and admission rules only.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::rules;

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
