//! Services that a component gets or loses. Data and admission rules only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::rules;
use crate::service::ServiceType;

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
