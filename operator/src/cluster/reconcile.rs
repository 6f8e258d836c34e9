//! The driver of Clusters: observe, plan, apply in a visible order, status. Decides nothing itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_operator_api::condition::{self, ConditionType, Reason, Truth};
use etcd_operator_api::{
    Cluster, ClusterStatus, Component, ComponentDefinition, ComponentVersion, FIELD_MANAGER,
    TerminationPolicy, labels,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::{PredicateConfig, WatchStreamExt, predicates, watcher};
use serde_json::json;

use super::observe::{ObserveError, Observed, observe};
use super::plan::{Plan, last_word, plan};
use super::status::{Outcome, status};
use crate::client::message;
use crate::controller::{
    ApplyError, Blame, Context, Driver, Head, Late, ROUND, UNREADABLE, all, apply_if_different,
    current, delete, heads, ours, patch, touched, write_status,
};

/// A step of the reconcile failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Late(#[from] Late),
    #[error("failed to read the Cluster: {}", message(.0))]
    Read(kube::Error),
    #[error("{}", together(.0))]
    Services(Vec<ApplyError>),
    #[error("failed to update the Cluster itself: {}", message(.0))]
    Claim(kube::Error),
}

impl Error {
    /// What happens in the normal course of things: the namespace is being deleted, or the object has changed since
    /// it was read.
    fn is_expected(&self) -> bool {
        let expected = |error: &ApplyError| error.namespace_ends() || error.is_conflict();
        match self {
            Error::Apply(error) => expected(error),
            Error::Services(errors) => errors.iter().all(expected),
            Error::Claim(kube::Error::Api(status)) => status.is_conflict(),
            _ => false,
        }
    }

    /// Objects that Kubernetes refuses and would refuse again, with its words.
    fn refusals(&self) -> BTreeMap<String, String> {
        let errors = match self {
            Error::Apply(error) => std::slice::from_ref(error),
            Error::Services(errors) => errors,
            Error::Observe(_) | Error::Late(_) | Error::Read(_) | Error::Claim(_) => &[],
        };
        errors.iter().filter_map(ApplyError::refusal).collect()
    }
}

fn together(errors: &[ApplyError]) -> String {
    let texts = errors.iter().map(ToString::to_string);
    texts.collect::<Vec<_>>().join("; ")
}

/// Reconciles all Clusters.
///
/// # Errors
/// Never: it runs until it is dropped.
pub async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let all_of = watcher::Config::default;
    let controller = heads::<Cluster>(&context, all_of());
    // A new definition or version may resolve what could not be resolved before; their status does not matter.
    let (by_definition, by_version) = (controller.store(), controller.store());
    let definitions = touched::<ComponentDefinition>(&context, all_of())
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let versions = touched::<ComponentVersion>(&context, all_of())
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let driver = Driver::new("Cluster", &context);
    controller
        .owns_stream(touched::<Component>(&context, ours()))
        .owns_stream(touched::<Service>(&context, ours()))
        .watches_stream(definitions, move |_| all(&by_definition.state()))
        .watches_stream(versions, move |_| all(&by_version.state()))
        .reconcile_all_on(changes(context.unprotected.subscribe()))
        .run(
            reconcile,
            |cluster, error, driver| driver.failed(&*cluster, error, error.is_expected()),
            driver,
        )
        .for_each(|_| futures::future::ready(()))
        .await;
    Ok(())
}

/// Wakes when the admission policies come or go.
fn changes(
    unprotected: tokio::sync::watch::Receiver<Vec<String>>,
) -> impl futures::Stream<Item = ()> + Send {
    futures::stream::unfold(unprotected, |mut unprotected| async {
        unprotected.changed().await.ok()?;
        Some(((), unprotected))
    })
}

async fn reconcile(cluster: Arc<Head<Cluster>>, driver: Arc<Driver>) -> Result<Action, Error> {
    if let Some(later) = driver.rest(&*cluster) {
        return Ok(later);
    }
    let round = Box::pin(reconcile_head(&cluster, &driver.context));
    driver.round(&*cluster, ROUND, round).await
}

async fn reconcile_head(head: &Head<Cluster>, context: &Context) -> Result<Action, Error> {
    let blame = Blame::Condition(ConditionType::ProvisioningStarted, Reason::PreCheckFailed);
    match current(context, head, blame).await.map_err(Error::Read)? {
        Some(cluster) => Box::pin(reconcile_cluster(&cluster, context)).await,
        None => Ok(Action::requeue(UNREADABLE)),
    }
}

async fn reconcile_cluster(cluster: &Cluster, context: &Context) -> Result<Action, Error> {
    let deleting = cluster.metadata.deletion_timestamp.is_some();
    let finalized = cluster
        .finalizers()
        .iter()
        .any(|f| f == labels::CLUSTER_FINALIZER);
    if deleting && !finalized {
        return Ok(Action::await_change());
    }
    let observed = observe(&context.client, cluster).await?;
    let held_back = cluster.spec.termination_policy == TerminationPolicy::DoNotTerminate;
    if deleting && !held_back {
        return tear_down(cluster, &observed, context).await;
    }
    let planned = plan(cluster, &observed);
    let (cluster, outcome, failure) = match planned {
        Err(refused) => (cluster.clone(), Outcome::Refused(refused.to_string()), None),
        Ok(plan) => match carry_out(cluster, plan, &observed, context).await {
            Ok(cluster) => (cluster, Outcome::Applied, None),
            Err(error) => (
                cluster.clone(),
                Outcome::Failed(error.to_string(), error.refusals()),
                Some(error),
            ),
        },
    };
    tell(&cluster, &observed.components, &outcome, context).await?;
    failure.map_or(Ok(Action::await_change()), Err)
}

/// Writes what is planned. The Cluster itself first (its finalizer must be there before any child), Components
/// before services, removals last.
async fn carry_out(
    cluster: &Cluster,
    plan: Plan,
    observed: &Observed,
    context: &Context,
) -> Result<Cluster, Error> {
    let finalized = finalize(cluster, context).await?;
    let Plan {
        resolutions: _,
        components,
        services,
        obsolete_components,
        obsolete_services,
    } = plan;
    for component in &components {
        let name = component.name_any();
        let dying = |c: &Component| c.name_any() == name && c.metadata.deletion_timestamp.is_some();
        if !observed.components.iter().any(dying) {
            apply_if_different(&context.client, component).await?;
        }
    }
    // One that Kubernetes refuses holds up no other.
    let mut failed = Vec::new();
    for service in &services {
        let applied = apply_if_different(&context.client, service).await;
        failed.extend(applied.err());
    }
    for service in &obsolete_services {
        delete(&context.client, service).await?;
    }
    if cluster.spec.termination_policy != TerminationPolicy::DoNotTerminate {
        for component in &obsolete_components {
            delete(&context.client, component).await?;
        }
    }
    if !failed.is_empty() {
        return Err(Error::Services(failed));
    }
    Ok(finalized.unwrap_or_else(|| cluster.clone()))
}

/// Puts the finalizer on the Cluster, when it is not there yet. Nothing else of it is the operator's to write.
async fn finalize(cluster: &Cluster, context: &Context) -> Result<Option<Cluster>, Error> {
    let there = |f: &String| f == labels::CLUSTER_FINALIZER;
    // A Cluster that is being deleted takes no new finalizer.
    if cluster.finalizers().iter().any(there) || cluster.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let mut all = cluster.finalizers().to_vec();
    all.push(labels::CLUSTER_FINALIZER.to_owned());
    let body = json!({
        "metadata": { "finalizers": all, "resourceVersion": cluster.resource_version() },
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let finalized = api(cluster, context)
        .patch(&cluster.name_any(), &parameters, &Patch::Merge(&body))
        .await
        .map_err(Error::Claim)?;
    Ok(Some(finalized))
}

/// Deletion: Components (each takes its members and claims along), then the Cluster; services, being owned, follow.
async fn tear_down(
    cluster: &Cluster,
    observed: &Observed,
    context: &Context,
) -> Result<Action, Error> {
    for component in &observed.components {
        if let Some(policies) = last_word(cluster, component) {
            patch(&context.client, component, &policies).await?;
        }
        if component.metadata.deletion_timestamp.is_none() {
            delete(&context.client, component).await?;
        }
    }
    if !observed.components.is_empty() {
        tell(cluster, &observed.components, &Outcome::Applied, context).await?;
        return Ok(Action::await_change());
    }
    let rest: Vec<_> = cluster
        .finalizers()
        .iter()
        .filter(|f| *f != labels::CLUSTER_FINALIZER)
        .collect();
    let body = json!({
        "metadata": { "finalizers": rest, "resourceVersion": cluster.resource_version() },
    });
    let released = api(cluster, context)
        .patch(
            &cluster.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&body),
        )
        .await;
    match released {
        Ok(_) => Ok(Action::await_change()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::await_change()),
        Err(error) => Err(Error::Claim(error)),
    }
}

/// Writes the status when it changed, and events for what changed in it.
async fn tell(
    cluster: &Cluster,
    components: &[Component],
    outcome: &Outcome,
    context: &Context,
) -> Result<(), Error> {
    let now = Time(Timestamp::now());
    let missing = context.unprotected.borrow().clone();
    let next = status(cluster, components, outcome, &missing, &now);
    let before = cluster.status.clone().unwrap_or_default();
    if write_status(&context.client, cluster, next.clone()).await? {
        announce(cluster, &before, &next, context).await;
    }
    Ok(())
}

async fn announce(
    cluster: &Cluster,
    before: &ClusterStatus,
    next: &ClusterStatus,
    context: &Context,
) {
    if let (true, Some(phase)) = (before.phase != next.phase, next.phase) {
        let from = before
            .phase
            .map_or("nothing".to_owned(), |phase| format!("{phase:?}"));
        let note = format!("phase went from {from} to {phase:?}");
        context
            .event(cluster, EventType::Normal, &format!("{phase:?}"), note)
            .await;
    }
    let failing = [
        ConditionType::ProvisioningStarted,
        ConditionType::ApplyResources,
        ConditionType::Terminating,
    ];
    for kind in failing {
        let Some(now) = condition::find(&next.conditions, kind) else {
            continue;
        };
        let same = condition::find(&before.conditions, kind)
            .is_some_and(|old| old.status == now.status && old.message == now.message);
        if now.status == Truth::False.as_str() && !same {
            context
                .event(
                    cluster,
                    EventType::Warning,
                    &now.reason,
                    now.message.clone(),
                )
                .await;
        }
    }
}

fn api(cluster: &Cluster, context: &Context) -> Api<Cluster> {
    Api::namespaced(
        context.client.clone(),
        &cluster.namespace().unwrap_or_default(),
    )
}
