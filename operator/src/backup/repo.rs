//! IO: writes into BackupRepos whether their settings can be used.

use std::sync::Arc;

use etcd_operator_api::BackupRepo;
use etcd_operator_api::backup_repo::{BackupRepoPhase, BackupRepoStatus};
use etcd_operator_api::condition::{self, ConditionType, Observation, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::watcher;

use super::place;
use crate::client::message;
use crate::controller::{Blame, Context, Driver, Late, Unread, heads};

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Read(#[from] Unread),
    #[error("failed to write the status of a BackupRepo: {}", message(.0))]
    Write(#[from] kube::Error),
    #[error(transparent)]
    Late(#[from] Late),
}

/// Reconciles BackupRepos, which belong to no namespace.
///
/// # Errors
/// Never: it runs until it is dropped.
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let driver = Driver::new("BackupRepo", &context);
    let controller = heads::<BackupRepo>(&context, watcher::Config::default());
    let blame = Blame::Condition(ConditionType::Validated, Reason::ValidateFailed);
    let round = move |repo| {
        let context = Arc::clone(&context);
        async move { Box::pin(reconcile(repo, &context)).await }
    };
    Box::pin(driver.run(controller, blame, |_: &Error| false, round)).await
}

async fn reconcile(mut repo: BackupRepo, context: &Context) -> Result<Action, Error> {
    let status = status(&repo, &Time(Timestamp::now()));
    if repo.status.as_ref() != Some(&status) {
        let api: Api<BackupRepo> = Api::all(context.client.clone());
        let name = repo.name_any();
        repo.status = Some(status);
        // Over the version that it was computed from: a conflict is tried again.
        api.replace_status(&name, &PostParams::default(), &repo)
            .await?;
    }
    Ok(Action::await_change())
}

/// Pure: the status of a repository.
fn status(repo: &BackupRepo, now: &Time) -> BackupRepoStatus {
    let mut status = repo.status.clone().unwrap_or_default();
    let read = place::read(repo);
    let (phase, reason, text) = match &read {
        Ok(_) => (
            BackupRepoPhase::Ready,
            Reason::PreCheckSucceed,
            "the settings can be used; whether the repository can be reached, each backup proves"
                .to_owned(),
        ),
        Err(why) => (BackupRepoPhase::Failed, Reason::PreCheckFailed, why.clone()),
    };
    status.phase = Some(phase);
    status.is_default = place::is_default(repo);
    status.observed_generation = repo.metadata.generation;
    let seen = Observation::new(ConditionType::Validated, read.is_ok(), reason, text);
    condition::record(
        &mut status.conditions,
        &[seen],
        repo.metadata.generation,
        now,
    );
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repository_says_which_field_is_wrong() {
        let repo = |config: serde_json::Value| -> BackupRepo {
            serde_json::from_value(
                json!({ "metadata": { "name": "r" }, "spec": { "storageProviderRef": "pvc",
                "pvReclaimPolicy": "Retain", "volumeCapacity": "1Gi", "config": config } }),
            )
            .expect("a repository")
        };
        let now = Time(Timestamp::UNIX_EPOCH);
        let good = status(&repo(json!({})), &now);
        assert_eq!(good.phase, Some(BackupRepoPhase::Ready));
        let bad = status(&repo(json!({ "size": "1" })), &now);
        assert_eq!(bad.phase, Some(BackupRepoPhase::Failed));
        assert!(
            bad.conditions[0].message.contains("spec.config.size"),
            "{bad:?}"
        );
    }
}
