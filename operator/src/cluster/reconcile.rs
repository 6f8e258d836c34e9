//! The driver of Clusters: observe, plan, apply in a visible order, status. Decides nothing itself.

use std::sync::Arc;
use std::time::Instant;

use etcd_operator_api::condition::{self, ConditionType, Truth};
use etcd_operator_api::{
    Cluster, ClusterStatus, Component, ComponentDefinition, ComponentVersion, FIELD_MANAGER,
    TerminationPolicy, labels,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::observe::{ObserveError, Observed, observe};
use super::plan::{Plan, Resolution, plan};
use super::status::{Outcome, status};
use crate::controller::{
    ApplyError, Backoff, Context, STORM, apply_if_different, delete, touched, write_status,
};

/// A step of the reconcile failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("failed to update the Cluster itself: {0}")]
    Claim(kube::Error),
}

impl Error {
    /// What happens in the normal course of things: the namespace is being deleted, or the object has changed since
    /// it was read.
    fn is_expected(&self) -> bool {
        match self {
            Error::Apply(error) => error.namespace_ends() || error.is_conflict(),
            _ => false,
        }
    }
}

struct Driver {
    context: Arc<Context>,
    backoff: Backoff,
}

/// Reconciles all Clusters.
///
/// # Errors
/// Never: it runs until it is dropped.
pub async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let client = &context.client;
    let ours = watcher::Config::default().labels(&format!(
        "{}={}",
        labels::MANAGED_BY,
        labels::MANAGED_BY_VALUE
    ));
    let controller = Controller::new(
        Api::<Cluster>::all(client.clone()),
        watcher::Config::default(),
    );
    // A new definition or version may resolve what could not be resolved before; their status does not matter.
    let (by_definition, by_version) = (controller.store(), controller.store());
    let definitions = touched::<ComponentDefinition>(client, watcher::Config::default())
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let versions = touched::<ComponentVersion>(client, watcher::Config::default())
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let driver = Arc::new(Driver {
        context: Arc::clone(&context),
        backoff: Backoff::default(),
    });
    controller
        .with_config(Config::default().debounce(STORM))
        .owns(Api::<Component>::all(client.clone()), ours.clone())
        .owns_stream(touched::<Service>(client, ours))
        .watches_stream(definitions, move |_| all(&by_definition.state()))
        .watches_stream(versions, move |_| all(&by_version.state()))
        .run(
            reconcile,
            |cluster, error, driver| error_policy(&cluster, error, &driver),
            driver,
        )
        .for_each(|_| futures::future::ready(()))
        .await;
    Ok(())
}

fn all(clusters: &[Arc<Cluster>]) -> Vec<ObjectRef<Cluster>> {
    clusters
        .iter()
        .map(|cluster| ObjectRef::from_obj(cluster.as_ref()))
        .collect()
}

fn error_policy(cluster: &Cluster, error: &Error, driver: &Driver) -> Action {
    if error.is_expected() {
        tracing::debug!(cluster = key(cluster), %error, "reconcile is tried again");
    } else {
        tracing::warn!(cluster = key(cluster), %error, "reconcile failed");
    }
    driver.backoff.failed(&key(cluster))
}

fn key(cluster: &Cluster) -> String {
    format!(
        "{}/{}",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any()
    )
}

async fn reconcile(cluster: Arc<Cluster>, driver: Arc<Driver>) -> Result<Action, Error> {
    let began = Instant::now();
    let result = Box::pin(reconcile_cluster(&cluster, &driver.context)).await;
    driver
        .context
        .metrics
        .reconciled("Cluster", result.is_ok(), began.elapsed());
    if result.is_ok() {
        driver.backoff.succeeded(&key(&cluster));
    }
    result
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
                Outcome::Failed(error.to_string()),
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
    first: Plan,
    observed: &Observed,
    context: &Context,
) -> Result<Cluster, Error> {
    let claimed = claim(cluster, &first.resolutions, context).await?;
    // Recording the resolution makes a new generation, which the children carry.
    let plan = match &claimed {
        Some(claimed) => plan(claimed, observed).unwrap_or(first),
        None => first,
    };
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
    let mut refused = None;
    for service in &services {
        let applied = apply_if_different(&context.client, service).await;
        refused = refused.or(applied.err());
    }
    for service in &obsolete_services {
        delete(&context.client, service).await?;
    }
    if cluster.spec.termination_policy != TerminationPolicy::DoNotTerminate {
        for component in &obsolete_components {
            delete(&context.client, component).await?;
        }
    }
    match refused {
        Some(error) => Err(error.into()),
        None => Ok(claimed.unwrap_or_else(|| cluster.clone())),
    }
}

/// Records finalizer, definitions and versions in the Cluster, when they are not there yet.
async fn claim(
    cluster: &Cluster,
    resolutions: &[Resolution],
    context: &Context,
) -> Result<Option<Cluster>, Error> {
    let recorded = resolutions.iter().all(|resolution| {
        let spec = cluster
            .spec
            .component_specs
            .iter()
            .find(|spec| spec.name == resolution.name);
        spec.is_some_and(|spec| {
            spec.component_def.as_ref() == Some(&resolution.component_def)
                && spec.service_version.as_ref() == Some(&resolution.service_version)
        })
    });
    let finalized = cluster
        .finalizers()
        .iter()
        .any(|f| f == labels::CLUSTER_FINALIZER);
    // A Cluster that is being deleted takes no new finalizer.
    if (recorded && finalized) || cluster.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let specs: Vec<_> = resolutions
        .iter()
        .map(|r| {
            json!({ "name": r.name, "componentDef": r.component_def, "serviceVersion": r.service_version })
        })
        .collect();
    let body = json!({
        "apiVersion": Cluster::api_version(&()),
        "kind": Cluster::kind(&()),
        "metadata": { "finalizers": [labels::CLUSTER_FINALIZER], "uid": cluster.uid() },
        "spec": { "componentSpecs": specs },
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let claimed = api(cluster, context)
        .patch(&cluster.name_any(), &parameters, &Patch::Apply(&body))
        .await
        .map_err(Error::Claim)?;
    Ok(Some(claimed))
}

/// Deletion: Components (each takes its members and claims along), then the Cluster; services, being owned, follow.
async fn tear_down(
    cluster: &Cluster,
    observed: &Observed,
    context: &Context,
) -> Result<Action, Error> {
    for component in &observed.components {
        hand_down_policy(cluster, component, context).await?;
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

/// A Component that still carries an earlier `DoNotTerminate` would hold its own deletion back.
async fn hand_down_policy(
    cluster: &Cluster,
    component: &Component,
    context: &Context,
) -> Result<(), Error> {
    let policy = cluster.spec.termination_policy;
    if component.spec.termination_policy == policy {
        return Ok(());
    }
    let namespace = component.namespace().unwrap_or_default();
    let components: Api<Component> = Api::namespaced(context.client.clone(), &namespace);
    let body = json!({ "spec": { "terminationPolicy": policy } });
    let name = component.name_any();
    match components
        .patch(&name, &PatchParams::default(), &Patch::Merge(&body))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ApplyError::Write {
            kind: Component::kind(&()).into_owned(),
            name,
            source,
        }
        .into()),
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
    let next = status(cluster, components, outcome, &now);
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
