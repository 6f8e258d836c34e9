//! What an agent is asked to do, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Id;

/// Answer of any path that failed (status 4xx or 5xx).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorAnswer {
    /// A fixed word, e.g. `ERR_OPERATION_FAILED`.
    pub error_code: String,
    /// What happened and what to do next.
    pub message: String,
}

/// Body of [`crate::PATH_ACTION`], in KubeBlocks' shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionRequest {
    /// One of [`crate::action`].
    pub action: String,
    /// Parameters, keyed by one of [`crate::parameter`].
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Seconds after which the action is given up; 0 or absent means the agent's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// Answer of [`crate::PATH_ACTION`], in KubeBlocks' shape: always status 200 for a known caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionAnswer {
    /// One of KubeBlocks' words: `notDefined`, `notImplemented`, `preconditionFailed`, `badRequest`, `inProgress`,
    /// `busy`, `timedOut`, `failed`, `internalError`, `unknown`. Absent on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Output in base64: plain text for `roleProbe`, a JSON document for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Output of [`crate::action::SWITCHOVER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchoverOutput {
    /// Name of the member that leads now.
    pub leader: String,
    /// Its identifier.
    pub leader_id: Id,
    /// The raft term it leads in.
    pub term: u64,
    /// False when leadership already was where it should be and nothing was done.
    pub moved: bool,
}

/// What a hand-over is asked with; an empty body is one without a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandoffRequest {
    /// The voter that is to lead. The caller has its status: to the pod that is asked the others may be out of reach.
    /// Without one the agent asks them all and chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Id>,
}

/// Answer of [`crate::PATH_HANDOFF`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandoffAnswer {
    /// True when leadership was moved.
    pub moved: bool,
    /// Name of the new leader when it was.
    pub leader: Option<String>,
    /// True when the leader service was seen to answer as the new leader.
    pub service_follows: bool,
    /// What happened, or why nothing was done.
    pub message: String,
}
