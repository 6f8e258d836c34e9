//! An operation of KubeBlocks' add-on for etcd. Data and admission rules only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::rules;

/// An operation of KubeBlocks' add-on for etcd.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "self.opsDefinitionName == 'etcd-defragmentation'",
        "custom.opsDefinitionName must be etcd-defragmentation, the only one that there is"
    ),
    rules::unsupported_text("serviceAccountName"),
    rules::unsupported_field("maxConcurrentComponents"),
]))]
pub struct CustomOps {
    /// `etcd-defragmentation`.
    #[schemars(length(min = 1, max = 63))]
    pub ops_definition_name: String,
    /// The components whose members are meant.
    #[schemars(length(min = 1, max = 128))]
    pub components: Vec<CustomOpsComponent>,
    /// Not supported: the operator does it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account_name: Option<String>,
    /// Not supported: components do not wait for each other, their members do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_components: Option<Opaque>,
}

/// A component that an operation of the add-on is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomOpsComponent {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// `instances`, the pods whose members are meant, with commas between; all of them when absent. Not KubeBlocks'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub parameters: Vec<CustomParameter>,
}

/// A parameter of such an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule("self.name == 'instances'", "parameters: the only one is instances, the names of pods with commas between"),
]))]
pub struct CustomParameter {
    /// `instances`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its value.
    #[schemars(length(min = 1, max = 2048))]
    pub value: String,
}
