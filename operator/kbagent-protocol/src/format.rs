//! The format of a member's data, which follows the version that the cluster as a whole has.

use serde::{Deserialize, Serialize};

/// What etcd says of the format of its data, which is nothing before 3.6; and what its agent read of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Format {
    /// The minor whose servers read it, e.g. `3.6.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<String>,
    /// Where the downgrade leads that is in progress, e.g. `3.5.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade_to: Option<String>,
    /// The log of a member that runs 3.6: later ones do not read all that earlier ones wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSeen>,
}

/// What a start of the member would replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogSeen {
    /// Index up to which the log was read.
    pub read_to: u64,
    /// Index of the last request of the API v2, if there is one: servers from 3.7 on do not read it, and panic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_request: Option<u64>,
}
