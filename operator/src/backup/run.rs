//! The controllers of a namespace's backups, together.

use std::sync::Arc;

use super::context::Context;
use super::{policy, reconcile, schedule, seed};

/// Reconciles BackupPolicies, BackupSchedules and Backups, and fills disks of restored Clusters.
///
/// # Errors
/// Never: it runs until it is dropped.
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    futures::future::try_join4(
        Box::pin(policy::run(Arc::clone(&context.frame))),
        Box::pin(reconcile::run(Arc::clone(&context))),
        Box::pin(schedule::run(Arc::clone(&context))),
        Box::pin(seed::run(context)),
    )
    .await
    .map(drop)
}
