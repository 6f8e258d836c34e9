//! What the controllers of backups are given.

use std::sync::Arc;

use super::others::Others;
use super::readers::Restores;
use crate::controller;
use crate::roles::MemberStore;

/// What the controllers of backups are given.
#[derive(Clone)]
pub(crate) struct Context {
    /// What every reconciler has.
    pub frame: Arc<controller::Context>,
    /// Agents' views: which member is in sync.
    pub store: Arc<MemberStore>,
    /// Image with `etcd-backup`.
    pub image: String,
    /// Reads the Backups of a namespace, once for all rounds that wait.
    pub others: Arc<Others>,
    /// Where Clusters are filled from archives.
    pub restores: Arc<Restores>,
}
