//! What is on record of a quorum that does not come back and is given up. Data only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request to continue with one member: value of the annotation [`crate::labels::RECOVER`], as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecoveryWish {
    /// UID of the OpsRequest.
    pub token: String,
    /// Name of the OpsRequest: without that object nothing is done.
    pub request: String,
    /// The pod whose member stays; absent: the one with the highest committed index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survivor: Option<String>,
    /// True to find out what would be lost, and to change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// How a quorum is recovered. Each step is on record before it is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// UID of the OpsRequest that asked for it.
    #[schemars(length(max = 64))]
    pub token: String,
    /// Where it stands.
    pub step: RecoveryStep,
    /// How often the survivor was started as the only member.
    #[serde(default)]
    pub attempt: i32,
    /// The pod whose member stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survivor: Option<String>,
    /// Its identifier, hexadecimal.
    #[serde(default, rename = "memberID", skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    /// The raft term that it was in when it was chosen; 0 when that could not be read.
    #[serde(default)]
    pub term: i64,
    /// The raft index that it had committed then.
    #[serde(default)]
    pub index: i64,
    /// What was known of each voter then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standings: Vec<Standing>,
    /// What was found, what is lost, or why nothing is done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What was known of a voter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Its pod.
    pub pod_name: String,
    /// Its identifier, hexadecimal.
    #[serde(rename = "memberID")]
    pub member_id: String,
    /// Its raft term; absent when it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,
    /// The raft index that it has committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// The revision of its key space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Why it cannot be the survivor, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where a recovery stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RecoveryStep {
    /// It was looked at, and nothing was done: a dry run.
    #[default]
    Surveyed,
    /// Nothing was done, and nothing will be.
    Refused,
    /// The survivor is chosen; the pods of the others are stopped. It ends when a quorum comes back.
    Chosen,
    /// No other member can run any more: their volumes are marked, and the survivor is started as the only member.
    Isolated,
    /// The survivor leads alone; others join as learners with new volumes.
    Forced,
    /// All members vote again.
    Done,
    /// The survivor did not come up as the only member.
    Failed,
}
