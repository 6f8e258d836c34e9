//! A BackupPolicy for each Component, and the status of all policies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::backup_policy::{
    BackupMethod, BackupPolicyPhase, BackupPolicyStatus, BackupTarget, DATAFILE, TargetSelector,
};
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::{BackupPolicy, BackupPolicySpec, Component, labels};
use futures::StreamExt;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::watcher;

use crate::client::message;
use crate::controller::{
    ApplyError, Blame, Context, Head, Late, ROUND, UNREADABLE, apply_if_different, current, heads,
    own, touched, within, write_status,
};

/// Annotation of the policy that was made for a component.
const DEFAULT: &str = "dataprotection.kubeblocks.io/is-default-policy";
/// Time to the next try after a failure.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read a BackupPolicy or Component: {}", message(.0))]
    Read(#[from] kube::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Late(#[from] Late),
}

pub(super) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let all = watcher::Config::default;
    let ours = all().labels(&format!(
        "{}={}",
        labels::MANAGED_BY,
        labels::MANAGED_BY_VALUE
    ));
    let made = heads::<Component>(&context, ours.clone())
        .owns_stream(touched::<BackupPolicy>(&context, ours))
        .run(
            |head, context| within(ROUND, make(head, context)),
            |_, error, _| retry(error),
            Arc::clone(&context),
        );
    let told = heads::<BackupPolicy>(&context, all()).run(
        |head, context| within(ROUND, tell(head, context)),
        |_, error, _| retry(error),
        Arc::clone(&context),
    );
    futures::future::join(
        made.for_each(|_| futures::future::ready(())),
        told.for_each(|_| futures::future::ready(())),
    )
    .await;
    Ok(())
}

fn retry(error: &Error) -> Action {
    tracing::warn!(%error, "reconcile failed");
    Action::requeue(RETRY)
}

async fn make(head: Arc<Head<Component>>, context: Arc<Context>) -> Result<Action, Error> {
    // Reported by the Component's own controller when it cannot be read.
    let blame = Blame::Condition(ConditionType::ProvisioningStarted, Reason::PreCheckFailed);
    let found: Option<Component> = current(&context, &head, blame).await?;
    let Some(component) = found else {
        return Ok(Action::requeue(UNREADABLE));
    };
    if component.metadata.deletion_timestamp.is_none()
        && let Some(policy) = policy(&component)
        && let Err(error) = apply_if_different(&context.client, &policy).await
        && !error.namespace_ends()
    {
        return Err(error.into());
    }
    Ok(Action::await_change())
}

async fn tell(head: Arc<Head<BackupPolicy>>, context: Arc<Context>) -> Result<Action, Error> {
    let blame = Blame::Condition(ConditionType::Validated, Reason::ValidateFailed);
    let found: Option<BackupPolicy> = current(&context, &head, blame).await?;
    let Some(policy) = found else {
        return Ok(Action::requeue(UNREADABLE));
    };
    let status = BackupPolicyStatus {
        phase: Some(BackupPolicyPhase::Available),
        observed_generation: policy.metadata.generation,
    };
    write_status(&context.client, &policy, status).await?;
    Ok(Action::await_change())
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
            name: Some(format!("{}-backup-policy", component.name_any())),
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
            backup_methods: vec![BackupMethod {
                name: DATAFILE.to_owned(),
                ..BackupMethod::default()
            }],
            ..BackupPolicySpec::default()
        },
        status: None,
    };
    own(&mut policy, component);
    Some(policy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
