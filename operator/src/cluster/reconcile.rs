//! The driver of Clusters: observe, plan, apply in a visible order, status. Decides nothing itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::condition::{self, ConditionType, Reason, Truth};
use etcd_operator_api::{
    Cluster, Component, ComponentDefinition, ComponentVersion, TerminationPolicy, labels,
};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::watcher;

use super::observe::{ObserveError, Observed, leaving, observe};
use super::plan::{Plan, last_word, plan};
use super::resolution::SpecError;
use super::status::{Outcome, status};
use crate::client::message;
use crate::controller::{
    ApplyError, Blame, Context, Driver, Late, Unread, all, announce, apply_if_different, delete,
    finalize, heads, is_orphaning, ours, patch, release, specified, stuck, touched, write_status,
};

/// Conditions of which an event tells when they are bad.
const FAILING: [ConditionType; 4] = [
    ConditionType::ProvisioningStarted,
    ConditionType::ApplyResources,
    ConditionType::Terminating,
    ConditionType::NodeTainted,
];

/// Look again at the backup that a new Cluster is to begin with: soon at first, and ever less often.
const RESTORE: Duration = Duration::from_secs(15);
/// Longest time until then.
const RESTORE_LONGEST: Duration = Duration::from_secs(300);

/// Where the status says why nothing is done.
const BLAME: Blame = Blame::Condition(ConditionType::ProvisioningStarted, Reason::PreCheckFailed);

/// A step of the reconcile failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Late(#[from] Late),
    #[error(transparent)]
    Read(#[from] Unread),
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
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let controller = heads::<Cluster>(&context, watcher::Config::default());
    // A new definition or version may resolve what could not be resolved before.
    let (by_definition, by_version) = (controller.store(), controller.store());
    let definitions = specified::<ComponentDefinition>(&context);
    let versions = specified::<ComponentVersion>(&context);
    let driver = Driver::new("Cluster", &context);
    let controller = controller
        .owns_stream(touched::<Component>(&context, ours()))
        .owns_stream(touched::<Service>(&context, ours()))
        .watches_stream(definitions, move |_| all(&by_definition.state()))
        .watches_stream(versions, move |_| all(&by_version.state()))
        .reconcile_all_on(changes(context.unprotected.subscribe()));
    let round = move |cluster: Cluster| {
        let context = Arc::clone(&context);
        async move { Box::pin(reconcile(&cluster, &context)).await }
    };
    let running = driver.run(controller, BLAME, Error::is_expected, round);
    Box::pin(running).await
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

async fn reconcile(cluster: &Cluster, context: &Context) -> Result<Action, Error> {
    let deleting = cluster.metadata.deletion_timestamp.is_some();
    let finalized = cluster
        .finalizers()
        .iter()
        .any(|f| f == labels::CLUSTER_FINALIZER);
    if deleting && !finalized {
        return Ok(Action::await_change());
    }
    let held_back = cluster.spec.termination_policy == TerminationPolicy::DoNotTerminate;
    let leaves = deleting && !held_back;
    if leaves && is_orphaning(cluster) {
        return Ok(Action::await_change());
    }
    let observed = look(cluster, leaves, context).await?;
    if leaves {
        return tear_down(cluster, &observed, context).await;
    }
    let planned = plan(cluster, &observed);
    // The backup may be on its way, and no watch tells when it is there.
    let begins = observed.components.is_empty();
    let again = match &planned {
        Err(SpecError::Restore(_)) if begins => {
            Action::requeue(restore_again(cluster, &Time(Timestamp::now())))
        }
        _ => Action::await_change(),
    };
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
    failure.map_or(Ok(again), Err)
}

/// Pure: when the backup is looked at again: after as long as the Cluster has been refused already, which doubles the
/// time with each look and outlives a restart of the operator.
fn restore_again(cluster: &Cluster, now: &Time) -> Duration {
    let status = cluster.status.as_ref();
    let started = status.and_then(|status| {
        let kind = ConditionType::ProvisioningStarted;
        condition::find(&status.conditions, kind)
    });
    let refused = started.filter(|started| started.status == Truth::False.as_str());
    let since = refused.map_or(now.0, |refused| refused.last_transition_time.0);
    let waited = u64::try_from(now.0.duration_since(since).as_secs()).unwrap_or_default();
    Duration::from_secs(waited).clamp(RESTORE, RESTORE_LONGEST)
}

/// What there is. The status says what can never be read.
async fn look(
    cluster: &Cluster,
    leaves: bool,
    context: &Context,
) -> Result<Observed, ObserveError> {
    let observed = match leaves {
        true => leaving(&context.client, cluster).await,
        false => observe(&context.client, cluster).await,
    };
    if let Err(error) = &observed
        && error.is_lasting()
    {
        stuck(context, cluster, &error.to_string(), BLAME).await;
    }
    observed
}

/// Writes what is planned. The Cluster itself first (its finalizer must be there before any child), Components
/// before services, removals last.
async fn carry_out(
    cluster: &Cluster,
    plan: Plan,
    observed: &Observed,
    context: &Context,
) -> Result<Cluster, Error> {
    let finalized = finalized(cluster, context).await?;
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
    Ok(finalized)
}

/// The Cluster with the finalizer, which is put on when it is not there yet. Nothing else of it is the operator's to
/// write, and one that is being deleted takes no new finalizer.
async fn finalized(cluster: &Cluster, context: &Context) -> Result<Cluster, Error> {
    let there = |f: &String| f == labels::CLUSTER_FINALIZER;
    if cluster.finalizers().iter().any(there) || cluster.metadata.deletion_timestamp.is_some() {
        return Ok(cluster.clone());
    }
    finalize(&context.client, cluster, labels::CLUSTER_FINALIZER)
        .await
        .map_err(Error::Claim)
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
    release(&context.client, cluster, labels::CLUSTER_FINALIZER)
        .await
        .map_err(Error::Claim)?;
    Ok(Action::await_change())
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
        let phases = (before.phase, next.phase);
        let conditions = (&*before.conditions, &*next.conditions);
        announce(context, cluster, phases, conditions, &FAILING).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::ClusterStatus;
    use serde_json::json;

    use super::*;
    use crate::fake_api::{failure, server};

    #[tokio::test]
    async fn one_that_is_deleted_goes_without_the_kinds_that_it_was_made_of() {
        let object = json!({ "metadata": { "name": "ledger", "namespace": "books", "uid": "c", "resourceVersion": "3",
                "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [labels::CLUSTER_FINALIZER] },
            "spec": { "terminationPolicy": "Delete", "componentSpecs": [] } });
        let cluster: Cluster = serde_json::from_value(object.clone()).expect("a Cluster");
        let text = "the server could not find the requested resource";
        let gone = failure(404, "NotFound", text);
        // That of its Components goes when the last of them is gone.
        for components in [(200, json!({ "metadata": {}, "items": [] })), gone.clone()] {
            let (object, gone) = (object.clone(), gone.clone());
            let (context, asked) = server(move |line| {
                let path = line.split('?').next().unwrap_or_default();
                match path.rsplit('/').next() {
                    Some("components") => components.clone(),
                    Some("ledger") => (200, object.clone()),
                    _ => gone.clone(),
                }
            });
            let round = Box::pin(reconcile(&cluster, &context)).await;
            round.expect("it goes");
            let asked = asked.lock().expect("no panic");
            let (line, body) = asked.last().expect("a write");
            assert!(
                line.starts_with("PATCH") && line.contains("/clusters/ledger?"),
                "{line}"
            );
            assert_eq!(body["metadata"]["finalizers"], json!([]));
        }
    }

    #[tokio::test]
    async fn what_it_may_not_read_is_told_in_status() {
        let object = json!({ "metadata": { "name": "ledger", "namespace": "books", "uid": "c", "generation": 1 },
            "spec": { "terminationPolicy": "Delete", "componentSpecs": [] } });
        let cluster: Cluster = serde_json::from_value(object.clone()).expect("a Cluster");
        let (context, asked) = server(move |line| {
            let path = line.split('?').next().unwrap_or_default();
            match path.rsplit('/').next() {
                Some("componentversions") => failure(403, "Forbidden", "it is not permitted"),
                Some("ledger" | "status") => (200, object.clone()),
                _ => (200, json!({ "metadata": {}, "items": [] })),
            }
        });
        let error = Box::pin(reconcile(&cluster, &context)).await;
        let error = error.expect_err("unread");
        let asked = asked.lock().expect("no panic");
        let (line, body) = asked.last().expect("a status");
        assert!(line.contains("/clusters/ledger/status"), "{line}");
        let told = &body["status"]["conditions"][0];
        assert_eq!(
            (&told["type"], &told["status"]),
            (&json!("ProvisioningStarted"), &json!("False"))
        );
        assert_eq!(told["message"], error.to_string());
    }

    #[tokio::test]
    async fn one_whose_members_are_to_stay_deletes_no_component() {
        let now = "2026-01-01T00:00:00Z";
        let mut object = json!({ "metadata": { "name": "ledger", "namespace": "books", "uid": "c", "resourceVersion": "3",
                "deletionTimestamp": now, "finalizers": [labels::CLUSTER_FINALIZER, "orphan"] },
            "spec": { "terminationPolicy": "Delete", "componentSpecs": [] } });
        let owner = json!([{ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Cluster", "name": "ledger", "uid": "c" }]);
        let component = json!({ "metadata": { "name": "ledger-etcd", "namespace": "books", "uid": "o",
                "ownerReferences": owner },
            "spec": { "compDef": "etcd-3", "replicas": 3, "terminationPolicy": "Delete" } });
        let mut left = component.clone();
        left["metadata"]["ownerReferences"] = json!([]);
        let (context, asked) = server(move |_| {
            let listed = json!({ "metadata": {}, "items": [component.clone()] });
            (200, listed)
        });
        let cluster: Cluster = serde_json::from_value(object.clone()).expect("a Cluster");
        let round = Box::pin(reconcile(&cluster, &context)).await;
        assert_eq!(round.expect("a round"), Action::await_change());
        let lines: Vec<String> = asked
            .lock()
            .expect("no panic")
            .iter()
            .map(|a| a.0.clone())
            .collect();
        assert!(
            lines.iter().all(|line| line.starts_with("GET")),
            "{lines:?}"
        );
        // They have no owner any more when the garbage collector has done its part.
        object["metadata"]["finalizers"] = json!([labels::CLUSTER_FINALIZER]);
        let cluster: Cluster = serde_json::from_value(object.clone()).expect("a Cluster");
        let (context, asked) = server(move |line| {
            let path = line.split('?').next().unwrap_or_default();
            match path.ends_with("/ledger") {
                true => (200, object.clone()),
                false => (200, json!({ "metadata": {}, "items": [left.clone()] })),
            }
        });
        let round = Box::pin(reconcile(&cluster, &context)).await;
        round.expect("it goes");
        let asked = asked.lock().expect("no panic");
        let deleted = asked.iter().any(|(line, _)| line.starts_with("DELETE"));
        assert!(!deleted, "{asked:?}");
        let (_, body) = asked.last().expect("a write");
        assert_eq!(body["metadata"]["finalizers"], json!([]));
    }

    /// The status of a Cluster that has been refused since then.
    fn refused(since: &str) -> ClusterStatus {
        let condition = json!({ "type": "ProvisioningStarted", "status": "False", "reason": "PreCheckFailed",
            "message": "no", "lastTransitionTime": since });
        serde_json::from_value(json!({ "conditions": [condition] })).expect("a status")
    }

    #[test]
    fn a_cluster_that_waits_for_its_backup_is_looked_at_ever_less_often() {
        let object = json!({ "metadata": { "name": "ledger", "namespace": "books" },
            "spec": { "terminationPolicy": "Delete", "componentSpecs": [] } });
        let mut cluster: Cluster = serde_json::from_value(object).expect("a Cluster");
        let time = |text: &str| Time(text.parse().expect("a time"));
        let again = |cluster: &Cluster, now: &str| restore_again(cluster, &time(now)).as_secs();
        assert_eq!(again(&cluster, "2026-01-01T00:00:00Z"), 15);
        cluster.status = Some(refused("2026-01-01T00:00:00Z"));
        for (now, seconds) in [
            // By the clock of the operator before.
            ("2025-12-31T23:00:00Z", 15),
            ("2026-01-01T00:00:10Z", 15),
            ("2026-01-01T00:01:00Z", 60),
            ("2026-01-01T01:00:00Z", 300),
        ] {
            assert_eq!(again(&cluster, now), seconds, "{now}");
        }
        // What has begun is another matter.
        let conditions = &mut cluster.status.get_or_insert_default().conditions;
        conditions[0].status = "True".to_owned();
        assert_eq!(again(&cluster, "2026-01-01T01:00:00Z"), 15);
    }

    #[tokio::test]
    async fn a_backup_that_is_not_complete_yet_is_looked_at_again() {
        let read =
            |text: &str| -> serde_json::Value { serde_saphyr::from_str(text).expect("YAML") };
        let definition = read(include_str!("../../../deploy/40-componentdefinition.yaml"));
        let version = read(include_str!("../../../deploy/41-componentversion.yaml"));
        let claims = json!([{ "name": "data", "spec": { "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "20Gi" } } } }]);
        let object = json!({ "metadata": { "name": "ledger", "namespace": "books", "uid": "c", "generation": 1 },
            "spec": { "terminationPolicy": "Delete",
                "restore": { "source": { "apiGroup": "dataprotection.kubeblocks.io", "kind": "Backup", "name": "b",
                    "namespace": "books" } },
                "componentSpecs": [{ "name": "store", "componentDef": "etcd", "replicas": 3,
                    "resources": { "limits": { "cpu": "0.5", "memory": "0.5Gi" } },
                    "volumeClaimTemplates": claims }] } });
        let cluster: Cluster = serde_json::from_value(object.clone()).expect("a Cluster");
        let backup = json!({ "metadata": { "name": "b", "namespace": "books", "uid": "bu" },
            "spec": { "backupPolicyName": "p", "backupMethod": "datafile" }, "status": { "phase": "Running" } });
        // One that no definition fits waits for a definition, for which there is a watch.
        let since = "2020-01-01T00:00:00Z";
        for (definitions, since, next) in [
            (vec![definition.clone()], None, Action::requeue(RESTORE)),
            (
                vec![definition],
                Some(since),
                Action::requeue(RESTORE_LONGEST),
            ),
            (vec![], None, Action::await_change()),
        ] {
            let mut cluster = cluster.clone();
            cluster.status = since.map(refused);
            let (object, backup, version) = (object.clone(), backup.clone(), version.clone());
            let (context, asked) = server(move |line| {
                let path = line.split('?').next().unwrap_or_default();
                let listed =
                    |items: &[serde_json::Value]| (200, json!({ "metadata": {}, "items": items }));
                match path.rsplit('/').next() {
                    Some("componentdefinitions") => listed(&definitions),
                    Some("componentversions") => listed(std::slice::from_ref(&version)),
                    Some("b") => (200, backup.clone()),
                    Some("ledger" | "status") => (200, object.clone()),
                    _ => listed(&[]),
                }
            });
            let round = Box::pin(reconcile(&cluster, &context)).await;
            let asked = asked.lock().expect("no panic");
            assert_eq!(round.expect("a round"), next, "{asked:?}");
        }
    }
}
