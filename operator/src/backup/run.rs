//! The controllers of backups, together.

use std::sync::Arc;

use super::{policy, reconcile, repo, schedule, seed};
use crate::controller;
use crate::roles::MemberStore;

/// What the controllers of backups are given.
#[derive(Clone)]
pub struct Context {
    /// What every reconciler has.
    pub frame: Arc<controller::Context>,
    /// Agents' views: which member is in sync.
    pub store: Arc<MemberStore>,
    /// Image with `etcd-backup`.
    pub image: String,
}

/// Reconciles BackupRepos, BackupPolicies, BackupSchedules and Backups, and fills disks of restored Clusters.
///
/// # Errors
/// Never: it runs until it is dropped.
pub async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    futures::future::try_join5(
        Box::pin(repo::run(Arc::clone(&context.frame))),
        Box::pin(policy::run(Arc::clone(&context.frame))),
        Box::pin(reconcile::run(Arc::clone(&context))),
        Box::pin(schedule::run(Arc::clone(&context.frame))),
        Box::pin(seed::run(context)),
    )
    .await
    .map(drop)
}
