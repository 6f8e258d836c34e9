//! A BackupPolicy for each Component, and the status of all policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_operator_api::backup_policy::{
    ARCHIVE, BackupMethod, BackupPolicyPhase, BackupPolicyStatus, BackupTarget, DATAFILE,
    TargetSelector,
};
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{BackupPolicy, BackupPolicySpec, Component, labels};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::watcher;

use crate::controller::{
    ApplyError, Blame, Context, Driver, Late, Unread, apply_if_different, heads, ours, own,
    touched, write_status,
};

/// Annotation of the policy that was made for a component.
const DEFAULT: &str = "dataprotection.kubeblocks.io/is-default-policy";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Read(#[from] Unread),
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
    let status = BackupPolicyStatus {
        phase: Some(BackupPolicyPhase::Available),
        observed_generation: policy.metadata.generation,
    };
    write_status(&context.client, policy, status).await?;
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
