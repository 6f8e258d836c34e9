//! Services of clusters and components. Data only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;

/// Kind of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reachable within the Kubernetes cluster.
    #[default]
    ClusterIP,
    /// On a port of every node.
    NodePort,
    /// Through a load balancer of the platform.
    LoadBalancer,
}

impl ServiceType {
    /// The kind as Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ServiceType::ClusterIP => "ClusterIP",
            ServiceType::NodePort => "NodePort",
            ServiceType::LoadBalancer => "LoadBalancer",
        }
    }
}

/// A service of a Cluster, named `{cluster}-{serviceName}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterService {
    /// Name within the Cluster.
    #[schemars(length(max = 25))]
    pub name: String,
    /// Last part of the service's name; when left out, `name`; when empty, the service is named `{cluster}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 25), regex(pattern = r"^$|^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub service_name: Option<String>,
    /// Annotations of the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// A `ServiceSpec` of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Opaque>,
    /// Only pods with this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub role_selector: Option<String>,
    /// Only pods of this component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub component_selector: Option<String>,
}

/// A component's change to a service that its definition declares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentServiceOverride {
    /// Name of the service in the definition.
    #[schemars(length(max = 25))]
    pub name: String,
    /// Kind of the service.
    #[serde(default)]
    pub service_type: ServiceType,
    /// Further annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// True for one service for each pod, named with the pod's ordinal at its end. Roles do not matter to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_service: Option<bool>,
}

/// A service that a ComponentDefinition declares, named `{cluster}-{comp}` or `{cluster}-{comp}-{serviceName}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentService {
    /// Name within the definition.
    #[schemars(length(max = 25))]
    pub name: String,
    /// Last part of the service's name; empty or left out for the component's main service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 25), regex(pattern = r"^$|^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub service_name: Option<String>,
    /// Annotations of the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// A `ServiceSpec` of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Opaque>,
    /// Only pods with this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub role_selector: Option<String>,
    /// True for one service for each pod, named with the pod's ordinal at its end. Roles do not matter to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_service: Option<bool>,
    /// Made only for components that name it in their `services`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_auto_provision: Option<bool>,
}
