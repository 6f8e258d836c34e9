//! What etcd's store of its API v2 holds, which servers of 3.6 do not start with. Data only.

use serde::{Deserialize, Serialize};

/// What etcd's own check has found; only of members whose etcd has the check, which is 3.5.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct V2Store {
    /// True when clients have left nothing there, false when they have; absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean: Option<bool>,
    /// What was found, or why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
