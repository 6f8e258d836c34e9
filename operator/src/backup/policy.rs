//! A BackupPolicy for each Component, and the status of all policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_operator_api::backup_policy::{
    ARCHIVE, BackupMethod, BackupPolicyPhase, BackupPolicyStatus, BackupTarget, DATAFILE,
    TargetSelector,
};
use etcd_operator_api::backup_repo::BackupRepoPhase;
use etcd_operator_api::condition::{ConditionType, Reason, Truth};
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{BackupPolicy, BackupPolicySpec, BackupRepo, Component, labels};
use kube::ResourceExt;
use kube::api::{Api, ObjectMeta};
use kube::runtime::controller::Action;
use kube::runtime::watcher;

use super::observe::{ObserveError, repository};
use super::{place, plan};
use crate::client::message;
use crate::controller::{
    ApplyError, Blame, Context, Driver, Late, Unread, all, apply_if_different, heads, ours, own,
    specified, touched, write_status,
};

/// Annotation of the policy that was made for a component.
const DEFAULT: &str = "dataprotection.kubeblocks.io/is-default-policy";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Read(#[from] Unread),
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error("failed to read the Component: {}", message(.0))]
    Component(kube::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Late(#[from] Late),
}

pub(super) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    futures::future::try_join(
        Box::pin(make_all(Arc::clone(&context))),
        Box::pin(tell_all(context)),
    )
    .await
    .map(drop)
}

async fn make_all(context: Arc<Context>) -> anyhow::Result<()> {
    let driver = Driver::new("BackupPolicy", &context);
    let controller =
        heads::<Component>(&context, ours()).owns_stream(touched::<BackupPolicy>(&context, ours()));
    // Reported by the Component's own controller when it cannot be read.
    let blame = Blame::Condition(ConditionType::ProvisioningStarted, Reason::PreCheckFailed);
    let round = move |component: Component| {
        let context = Arc::clone(&context);
        async move { Box::pin(make(&component, &context)).await }
    };
    driver.run(controller, blame, |_| false, round).await
}

async fn tell_all(context: Arc<Context>) -> anyhow::Result<()> {
    let driver = Driver::new("BackupPolicy", &context);
    let controller = heads::<BackupPolicy>(&context, watcher::Config::default());
    let (by_component, by_repo) = (controller.store(), controller.store());
    let repos = touched::<BackupRepo>(&context, watcher::Config::default());
    let controller = controller
        .watches_stream(specified::<Component>(&context), move |component| {
            let namespace = component.metadata.namespace;
            all(&by_component.state_filter(|policy| policy.metadata.namespace == namespace))
        })
        .watches_stream(repos, move |_| all(&by_repo.state()));
    let blame = Blame::Condition(ConditionType::Validated, Reason::ValidateFailed);
    let round = move |policy: BackupPolicy| {
        let context = Arc::clone(&context);
        async move { Box::pin(tell(&policy, &context)).await }
    };
    driver.run(controller, blame, |_| false, round).await
}

async fn make(component: &Component, context: &Context) -> Result<Action, Error> {
    if component.metadata.deletion_timestamp.is_none()
        && let Some(policy) = policy(component)
        && let Err(error) = apply_if_different(&context.client, &policy).await
        && !error.namespace_ends()
    {
        return Err(error.into());
    }
    Ok(Action::await_change())
}

async fn tell(policy: &BackupPolicy, context: &Context) -> Result<Action, Error> {
    if policy.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let failure_reason = missing(policy, context).await?;
    let phase = match failure_reason {
        None => BackupPolicyPhase::Available,
        Some(_) => BackupPolicyPhase::Unavailable,
    };
    let status = BackupPolicyStatus {
        phase: Some(phase),
        failure_reason,
        observed_generation: policy.metadata.generation,
    };
    write_status(&context.client, policy, status).await?;
    Ok(Action::await_change())
}

/// What a Backup by this policy would be missing now.
async fn missing(policy: &BackupPolicy, context: &Context) -> Result<Option<String>, Error> {
    let (cluster, component) = match plan::target(policy) {
        Ok(target) => target,
        Err(why) => return Ok(Some(why)),
    };
    let namespace = policy.namespace().unwrap_or_default();
    let components: Api<Component> = Api::namespaced(context.client.clone(), &namespace);
    let name = ComponentName::existing(&format!("{cluster}-{component}"));
    let found = components.get_metadata_opt(name.as_str()).await;
    let found = found.map_err(Error::Component)?;
    if found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()) {
        return Ok(Some(format!(
            "Cluster {cluster:?} has no component {component:?} in this namespace"
        )));
    }
    let named = policy.spec.backup_repo_name.clone();
    let repo = repository(&context.client, named).await?;
    Ok(repo.and_then(|repo| usable(&repo, &namespace)).err())
}

/// Pure: whether the repository is one for this namespace, and could be reached when it was last tried.
fn usable(repo: &BackupRepo, namespace: &str) -> Result<(), String> {
    let name = repo.name_any();
    place::read_for(repo, namespace).map_err(|why| format!("BackupRepo {name:?}: {why}"))?;
    let status = repo.status.as_ref();
    let Some(status) = status.filter(|status| status.phase == Some(BackupRepoPhase::Failed)) else {
        return Ok(());
    };
    let mut conditions = status.conditions.iter();
    let why = conditions.find(|known| known.status == Truth::False.as_str());
    let why = why.map_or("its conditions say why", |known| known.message.as_str());
    Err(format!("BackupRepo {name:?} has failed: {why}"))
}

/// Pure: the policy of a component. It names no repository: that is the user's, or the default one.
fn policy(component: &Component) -> Option<BackupPolicy> {
    let of = |label: &str| component.labels().get(label).cloned();
    let selected = BTreeMap::from([
        (
            labels::MANAGED_BY.to_owned(),
            labels::MANAGED_BY_VALUE.to_owned(),
        ),
        (labels::INSTANCE.to_owned(), of(labels::INSTANCE)?),
        (
            labels::COMPONENT_NAME.to_owned(),
            of(labels::COMPONENT_NAME)?,
        ),
    ]);
    let mut policy = BackupPolicy {
        metadata: ObjectMeta {
            name: Some(ComponentName::existing(&component.name_any()).backup_policy()),
            namespace: component.namespace(),
            labels: Some(selected.clone()),
            annotations: Some(BTreeMap::from([(DEFAULT.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        spec: BackupPolicySpec {
            target: BackupTarget {
                pod_selector: TargetSelector {
                    match_labels: selected,
                    ..TargetSelector::default()
                },
                ..BackupTarget::default()
            },
            backup_methods: [DATAFILE, ARCHIVE]
                .map(|name| BackupMethod {
                    name: name.to_owned(),
                    ..BackupMethod::default()
                })
                .to_vec(),
            ..BackupPolicySpec::default()
        },
        status: None,
    };
    own(&mut policy, component);
    Some(policy)
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::backup_repo::NAMESPACES;
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::{failure, server};

    /// What the status says of a policy whose component and repository are so.
    async fn told(component: Option<Value>, repo: Option<Value>) -> (Value, String) {
        let policy: BackupPolicy = serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "demo" },
            "spec": { "backupRepoName": "r", "backupMethods": [], "target": { "podSelector": { "matchLabels": {
                labels::INSTANCE: "db", labels::COMPONENT_NAME: "etcd" } } } } }))
        .expect("a policy");
        let stored = json!(policy);
        let (context, asked) = server(move |line| {
            let found = match line {
                line if line.contains("/components/db-etcd") => &component,
                line if line.contains("/backuprepos/r") => &repo,
                _ => return (200, stored.clone()),
            };
            let gone = failure(404, "NotFound", "it is gone");
            found.clone().map_or(gone, |found| (200, found))
        });
        tell(&policy, &context).await.expect("a round");
        let asked = asked.lock().expect("no panic");
        let mut written = asked.iter().filter(|(line, _)| line.contains("/status"));
        let status = &written.next().expect("a status").1["status"];
        (status["phase"].clone(), status["failureReason"].to_string())
    }

    #[tokio::test]
    async fn a_policy_is_available_when_its_component_and_its_repository_are() {
        let component = json!({ "metadata": { "name": "db-etcd", "namespace": "demo" } });
        let mut leaving = component.clone();
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let repo = |status: Value| {
            Some(
                json!({ "metadata": { "name": "r" }, "status": status, "spec": { "storageProviderRef": "pvc",
                "pvReclaimPolicy": "Retain", "volumeCapacity": "1Gi" } }),
            )
        };
        let failed = json!({ "phase": "Failed", "conditions": [{ "type": "Reachable", "status": "False", "reason": "r",
            "message": "the bucket is gone", "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
        let mut of_others = repo(json!({ "phase": "Ready" })).expect("a repository");
        of_others["metadata"]["annotations"] = json!({ NAMESPACES: "other" });
        let there = || Some(component.clone());
        for (component, repo, why) in [
            (there(), repo(json!({ "phase": "Ready" })), None),
            (there(), repo(json!({ "phase": "PreChecking" })), None),
            (there(), repo(failed), Some("the bucket is gone")),
            (there(), None, Some("is not there")),
            (
                there(),
                Some(of_others),
                Some("does not name namespace demo"),
            ),
            (
                None,
                repo(json!({ "phase": "Ready" })),
                Some("has no component"),
            ),
            (Some(leaving), repo(json!({})), Some("has no component")),
        ] {
            let (phase, reason) = told(component, repo).await;
            match why {
                None => assert_eq!((&phase, &*reason), (&json!("Available"), "null")),
                Some(why) => {
                    assert_eq!(phase, json!("Unavailable"));
                    assert!(reason.contains(why), "{reason}");
                }
            }
        }
    }

    #[test]
    fn a_component_gets_the_policy_that_kubeblocks_example_names() {
        let component: Component = serde_json::from_value(json!({
            "metadata": { "name": "etcd-cluster-etcd", "namespace": "demo", "uid": "u", "labels": {
                labels::INSTANCE: "etcd-cluster", labels::COMPONENT_NAME: "etcd" } },
            "spec": { "compDef": "etcd", "replicas": 3 } }))
        .expect("a component");
        let policy = policy(&component).expect("a policy");
        assert_eq!(policy.name_any(), "etcd-cluster-etcd-backup-policy");
        assert_eq!(
            super::super::plan::target(&policy),
            Ok(("etcd-cluster".into(), "etcd".into()))
        );
        assert_eq!(
            policy.spec.backup_repo_name, None,
            "the user's field stays the user's"
        );
        assert_eq!(policy.owner_references().len(), 1);
    }
}
