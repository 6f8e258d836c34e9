//! What is on record of members that are defragmented because their owner asked for it. Data only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the operation in KubeBlocks' add-on for etcd: `opsDefinitionName` of an OpsRequest of type `Custom`.
pub const DEFRAGMENTATION: &str = "etcd-defragmentation";
/// Name of the only parameter of the operation: names of pods, separated by commas.
pub const INSTANCES: &str = "instances";

/// A request to defragment members: value of the annotation [`crate::labels::DEFRAGMENT`], as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefragmentationWish {
    /// UID of the OpsRequest that asks for it.
    pub token: String,
    /// Names of the pods whose members are defragmented.
    pub pods: Vec<String>,
}

/// How far a defragmentation is that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Defragmentation {
    /// UID of the OpsRequest that asked for it.
    #[schemars(length(max = 64))]
    pub token: String,
    /// The members that are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<DefragmentedMember>,
}

/// A member that is to be defragmented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefragmentedMember {
    /// Its pod.
    pub pod_name: String,
    /// Where it stands.
    pub step: DefragmentationStep,
    /// Bytes of its database before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<i64>,
    /// Bytes of it afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_after: Option<i64>,
    /// Why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DefragmentationStep {
    /// It is to be done.
    #[default]
    Asked,
    /// Its agent says that it was done.
    Done,
    /// The pod is to hold no member any more.
    Left,
    /// It cannot be done.
    Refused,
}
