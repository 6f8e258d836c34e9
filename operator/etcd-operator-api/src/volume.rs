//! Claims that give each pod its own volume, and how long they live. Data only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity;

/// A claim made once for each pod, named `{name}-{pod}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaimTemplate {
    /// Name of the volume in the pod.
    #[schemars(length(max = 40), regex(pattern = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Labels of the claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What is claimed.
    #[serde(default)]
    pub spec: VolumeClaimSpec,
}

/// What a claim asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaimSpec {
    /// How the volume may be mounted; `ReadWriteOnce` when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_modes: Vec<String>,
    /// How much is claimed: `requests.storage`.
    #[serde(default)]
    pub resources: VolumeResources,
    /// Storage class; empty or left out means the cluster's default class (KubeBlocks' rule). Where another one is
    /// named later, members are replaced one at a time, with claims of that class. Once there are members it cannot be
    /// taken out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// `Filesystem` or `Block`; etcd needs `Filesystem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub volume_mode: Option<String>,
    /// Name of a VolumeAttributesClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub volume_attributes_class_name: Option<String>,
}

impl VolumeClaimSpec {
    /// The storage class that is named; `None` when the name is absent or empty.
    #[must_use]
    pub fn class(&self) -> Option<&str> {
        self.storage_class_name
            .as_deref()
            .filter(|class| !class.is_empty())
    }
}

/// Amounts of storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeResources {
    /// Upper bounds by resource name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantity::quantities")]
    pub limits: BTreeMap<String, Quantity>,
    /// Claimed amounts by resource name (`storage`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantity::quantities")]
    pub requests: BTreeMap<String, Quantity>,
}

/// What happens to claims when their pods are removed permanently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicy {
    /// When the InstanceSet is deleted. KubeBlocks' default is `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<Retention>,
    /// When a member is removed by scaling in. A claim that is kept goes when a member of its name is added: that one
    /// starts with an empty claim. KubeBlocks' default is `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_scaled: Option<Retention>,
}

/// Fate of a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// The claim stays.
    Retain,
    /// The claim and its data are deleted.
    #[default]
    Delete,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_can_be_taken_out_as_far_as_the_api_server_is_asked() {
        // Only the operator knows whether there are claims of it: a mistyped class has none.
        let schema = schemars::schema_for!(VolumeClaimTemplate);
        let text = serde_json::to_string(&schema).expect("a schema is JSON");
        assert!(text.contains("storageClassName") && !text.contains("oldSelf"));
    }
}
