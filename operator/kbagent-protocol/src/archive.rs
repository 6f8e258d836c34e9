//! What the writer of a continuous archive says of itself. Data only.

use serde::{Deserialize, Serialize};

/// Port that it listens on.
pub const ARCHIVE_PORT: u16 = 9188;
/// `GET`: an [`ArchiveReport`]. Who asks may tell an [`ArchiveBase`] as the query.
pub const PATH_ARCHIVE: &str = "/v1.0/archive";

/// What the operator tells the writer of an archive: a repository also holds backups that nothing restores any more, of
/// a Backup that was deleted with `Retain` or has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveBase {
    /// Revision of the newest full backup that a restore can begin with; -1 where there is none.
    #[serde(default)]
    pub base: Option<i64>,
    /// UID of the Backup of the archive: who does not know it is not believed.
    #[serde(default)]
    pub backup: Option<String>,
}

/// Where an archive stands. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveReport {
    /// It begins after this revision; absent before its first segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// And at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Last revision in the repository.
    pub through: i64,
    /// Its time.
    pub until: i64,
    /// Milliseconds since the repository had all that the member had.
    pub lag: i64,
    /// The last gap, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// Its last revision: what comes later is restored over a full backup of that revision or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_until: Option<i64>,
    /// Why it does not proceed, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What will be a trouble later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}
