//! The format of a member's data, which follows the version that the cluster as a whole has.

use serde::{Deserialize, Serialize};

/// What etcd says of the format of its data; empty before 3.6, which says nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Format {
    /// The minor whose servers read it, e.g. `3.6.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<String>,
    /// Where the downgrade leads that is in progress, e.g. `3.5.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade_to: Option<String>,
}
