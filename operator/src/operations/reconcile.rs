//! The driver of OpsRequests: observe, decide, act, record. Decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::condition::{self, ConditionType, Observation, Reason};
use etcd_operator_api::ops_request::OpsRequestStatus;
use etcd_operator_api::{Cluster, InstanceSet, OpsPhase, OpsRequest, labels};
use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::EventType;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::cluster_edit::{self, Answer, Mode};
use super::decide::{Act, Decision, decide, leave};
use super::edit::{self, Change};
use super::observe::{ObserveError, observe};
use super::observed::Seen;
use super::{agents, claims, finalizer, queue, wishes};
use crate::client::message;
use crate::cluster;
use crate::component::RehearseError;
use crate::controller::{
    ApplyError, Blame, Context, Driver, Late, ROUNDS, STORM, delete, key, ours, readable, release,
    stuck, touched, write_status,
};

/// Retry after another client wrote first.
const CONFLICT: Duration = Duration::from_millis(50);
/// Look again although nothing has told to.
const BACKSTOP: Duration = Duration::from_secs(300);

/// Longest a round may take: a switchover is asked of each member in turn.
const LIMIT: Duration = Duration::from_secs(120);

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
    Rehearse(#[from] RehearseError),
    #[error("failed to label the OpsRequest: {}", message(.0))]
    Label(kube::Error),
    #[error("failed to write the finalizer of the OpsRequest: {}", message(.0))]
    Hold(kube::Error),
    #[error("failed to edit the Cluster: {}", message(.0))]
    Edit(kube::Error),
    #[error("the Cluster has changed since it was read")]
    Outdated,
    #[error("failed to mark a claim: {}", message(.0))]
    Mark(kube::Error),
    #[error("failed to ask an InstanceSet: {}", message(.0))]
    Ask(kube::Error),
}

impl Error {
    fn is_conflict(&self) -> bool {
        match self {
            Error::Apply(error) => error.is_conflict(),
            Error::Hold(kube::Error::Api(status)) => status.is_conflict(),
            Error::Outdated => true,
            _ => false,
        }
    }
}

/// Reconciles all OpsRequests.
///
/// # Errors
/// Never: it runs until it is dropped.
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let all = watcher::Config::default;
    let (store, writer) = reflector::store();
    // The store knows of a change before it is told here: whose turn it is now is read from it.
    let turns = store.clone();
    let mut patient = queue::Patient::default();
    let blame = Blame::Condition(ConditionType::Validated, Reason::ValidateFailed);
    let requests = readable::<OpsRequest>(&context, all(), blame)
        .reflect(writer)
        .touched_objects()
        .flat_map(move |touched| stream::iter(with_followers(touched, &turns, &mut patient)));
    let controller = Controller::for_stream(requests, store);
    let (by_cluster, by_set) = (controller.store(), controller.store());
    let known = controller.store();
    let driver = Driver::new("OpsRequest", &context);
    controller
        .with_config(Config::default().debounce(STORM).concurrency(ROUNDS))
        .watches_stream(touched::<Cluster>(&context, all()), move |cluster| {
            let namespace = cluster.metadata.namespace.as_deref();
            going_on(&by_cluster, namespace, &cluster.name_any())
        })
        .watches_stream(touched::<InstanceSet>(&context, ours()), move |set| {
            let cluster = set.labels().get(labels::INSTANCE).cloned();
            let namespace = set.metadata.namespace.as_deref();
            going_on(&by_set, namespace, &cluster.unwrap_or_default())
        })
        .run(
            move |request, driver| {
                let beside = known.state_filter(|other| queue::is_beside(&request, other));
                reconcile(request, driver, beside)
            },
            |request, error, driver| error_policy(&request, error, &driver),
            driver,
        )
        .for_each(|_| futures::future::ready(()))
        .await;
    Ok(())
}

/// A request that was touched, and those that follow it when it has ended.
fn with_followers(
    touched: Result<OpsRequest, watcher::Error>,
    store: &Store<OpsRequest>,
    patient: &mut queue::Patient,
) -> Vec<Result<OpsRequest, watcher::Error>> {
    let Ok(request) = touched else {
        return vec![touched];
    };
    let all = store.state();
    if !patient.is_news(&request, &all) {
        return vec![Ok(request)];
    }
    let next = queue::followers(&request, &all);
    let next = next.into_iter().map(|next| Ok((*next).clone()));
    std::iter::once(Ok(request)).chain(next).collect()
}

/// Requests to which it matters what happens to a cluster.
fn going_on(
    store: &Store<OpsRequest>,
    namespace: Option<&str>,
    cluster: &str,
) -> Vec<ObjectRef<OpsRequest>> {
    let requests = store.state();
    let meant = |request: &&Arc<OpsRequest>| {
        request.spec.cluster_name == cluster
            && request.metadata.namespace.as_deref() == namespace
            && queue::is_awake(request, &requests)
    };
    let found = requests.iter().filter(meant);
    found
        .map(|request| ObjectRef::from_obj(&**request))
        .collect()
}

fn error_policy(request: &OpsRequest, error: &Error, driver: &Driver) -> Action {
    if error.is_conflict() {
        return Action::requeue(CONFLICT);
    }
    driver.failed(request, error, false)
}

async fn reconcile(
    request: Arc<OpsRequest>,
    driver: Arc<Driver>,
    known: Vec<Arc<OpsRequest>>,
) -> Result<Action, Error> {
    let round = Box::pin(reconcile_request(&request, &driver.context, &known));
    driver
        .round(&*request, LIMIT, Error::is_conflict, round)
        .await
}

/// One round; `known` are the requests of its Cluster as the watch has them.
async fn reconcile_request(
    cached: &OpsRequest,
    context: &Context,
    known: &[Arc<OpsRequest>],
) -> Result<Action, Error> {
    if cached.metadata.deletion_timestamp.is_some() && !finalizer::is_held(cached) {
        return Ok(Action::await_change());
    }
    let now = Time(Timestamp::now());
    // What has begun is told by the status: it is read from the API server, not from a cache (C2).
    let live = api(cached, context).get_opt(&cached.name_any()).await;
    let live = live.map_err(|source| ObserveError::Read {
        what: "the OpsRequest",
        source,
    })?;
    let Some(request) = live else {
        return Ok(Action::await_change());
    };
    if request.metadata.deletion_timestamp.is_some() {
        return Box::pin(depart(&request, context, &now)).await;
    }
    if finalizer::hold(context, &request)
        .await
        .map_err(Error::Hold)?
    {
        return Ok(Action::requeue(CONFLICT));
    }
    let mut seen = look(&request, context, known).await?;
    if let Some(cluster) = &seen.cluster
        && belong(&request, cluster, context).await?
    {
        // The object has moved on by our own write; its new version is the next round's.
        return Ok(Action::requeue(CONFLICT));
    }
    let mut decision = decide(&request, &seen, &now);
    if let (Act::Rehearse(changes), Some(cluster)) = (&decision.act, &seen.cluster) {
        seen.rehearsal = Some(rehearse(cluster, changes, context).await?);
        decision = decide(&request, &seen, &now);
    }
    if decision.act == Act::Switchover {
        seen.moved = Some(agents::carry_out(context, &request).await);
        decision = decide(&request, &seen, &Time(Timestamp::now()));
    }
    carry_out(&request, &seen, decision, context).await
}

/// What there is. The status of a request that has not ended says what can never be read, until it can.
async fn look(
    request: &OpsRequest,
    context: &Context,
    known: &[Arc<OpsRequest>],
) -> Result<Seen, ObserveError> {
    let seen = observe(context, request, known).await;
    let phase = request.status.as_ref().and_then(|status| status.phase);
    if let Err(error) = &seen
        && error.is_lasting()
        && !phase.is_some_and(OpsPhase::is_ended)
    {
        let blame = Blame::Condition(
            ConditionType::WaitForProgressing,
            Reason::WaitForProgressing,
        );
        stuck(context, request, &error.to_string(), blame).await;
    }
    seen
}

async fn carry_out(
    request: &OpsRequest,
    seen: &Seen,
    decision: Decision,
    context: &Context,
) -> Result<Action, Error> {
    let Decision {
        mut status,
        act,
        again,
    } = decision;
    match (act, &seen.cluster) {
        (Act::Delete, _) => {
            delete(&context.client, request).await?;
            return Ok(Action::await_change());
        }
        (Act::Edit(changes), Some(cluster)) => {
            match cluster_edit::edit(cluster, &changes, context, Mode::Write)
                .await
                .map_err(Error::Edit)?
            {
                Answer::Taken(generation) => status.cluster_generation = generation,
                Answer::Outdated => return Err(Error::Outdated),
                Answer::Refused(text) => refuse(request, &mut status, &text),
            }
        }
        (Act::Rebuild, _) => claims::mark(context, request, &status.last_configuration)
            .await
            .map_err(Error::Mark)?,
        (act, _) => ask(request, seen, act, context).await?,
    }
    record(request, status, context).await?;
    Ok(Action::requeue(again.unwrap_or(BACKSTOP)))
}

/// Writes what asks for an operation, or takes it off.
async fn ask(request: &OpsRequest, seen: &Seen, act: Act, context: &Context) -> Result<(), Error> {
    match act {
        Act::Unmark => claims::unmark(context, request, &seen.marks)
            .await
            .map_err(Error::Mark),
        Act::Recover(asked) => wishes::ask(context, request, labels::RECOVER, &asked)
            .await
            .map_err(Error::Ask),
        Act::Defragment(asked) => wishes::ask(context, request, labels::DEFRAGMENT, &asked)
            .await
            .map_err(Error::Ask),
        _ => Ok(()),
    }
}

/// A request that is being deleted: what it asks for is taken off first.
async fn depart(request: &OpsRequest, context: &Context, now: &Time) -> Result<Action, Error> {
    if !finalizer::is_held(request) {
        return Ok(Action::await_change());
    }
    let seen = look(request, context, &[]).await?;
    if let Some(act) = leave(request, &seen, now) {
        ask(request, &seen, act, context).await?;
        return Ok(Action::requeue(CONFLICT));
    }
    release(&context.client, request, labels::OPS_REQUEST_FINALIZER)
        .await
        .map_err(Error::Hold)?;
    Ok(Action::await_change())
}

/// Whether the Cluster can be carried out with the changes in it; why not when it cannot.
async fn rehearse(
    cluster: &Cluster,
    changes: &[Change],
    context: &Context,
) -> Result<Result<(), String>, Error> {
    let prospective = edit::prospective(cluster, changes);
    if let Some(refused) = cluster::rehearse(context, cluster, &prospective).await? {
        return Ok(Err(refused));
    }
    let answer = cluster_edit::edit(cluster, changes, context, Mode::DryRun);
    match answer.await.map_err(Error::Edit)? {
        Answer::Taken(_) => Ok(Ok(())),
        Answer::Outdated => Err(Error::Outdated),
        Answer::Refused(text) => Ok(Err(format!("the edit of the Cluster is refused: {text}"))),
    }
}

/// The API server does not take the edit.
fn refuse(request: &OpsRequest, status: &mut OpsRequestStatus, text: &str) {
    let now = Time(Timestamp::now());
    status.phase = Some(OpsPhase::Failed);
    status.completion_timestamp = Some(now.clone());
    let seen = Observation::new(
        ConditionType::Failed,
        true,
        Reason::OpsRequestFailed,
        format!("the edit of the Cluster was refused: {text}"),
    );
    condition::record(
        &mut status.conditions,
        &[seen],
        request.metadata.generation,
        &now,
    );
}

async fn record(
    request: &OpsRequest,
    status: OpsRequestStatus,
    context: &Context,
) -> Result<(), Error> {
    let before = request.status.as_ref().and_then(|status| status.phase);
    let (phase, last) = (status.phase, status.conditions.clone());
    if write_status(&context.client, request, status).await?
        && let (Some(phase), true) = (phase, before != phase)
    {
        let kind = match phase {
            OpsPhase::Failed | OpsPhase::Aborted => EventType::Warning,
            _ => EventType::Normal,
        };
        let newest = last.iter().max_by_key(|c| c.last_transition_time.0);
        let note = newest.map(|c| c.message.clone()).unwrap_or_default();
        let note = format!("{:?}: {note}", request.spec.kind);
        tracing::info!(request = key(request), ?phase, note, "operation");
        context
            .event(request, kind, &format!("{phase:?}"), note)
            .await;
    }
    Ok(())
}

/// KubeBlocks' labels, and the Cluster as an owner: a request goes with it. Returns whether they were written.
async fn belong(request: &OpsRequest, cluster: &Cluster, context: &Context) -> Result<bool, Error> {
    let wanted = [
        (labels::INSTANCE, request.spec.cluster_name.clone()),
        (labels::OPS_TYPE, format!("{:?}", request.spec.kind)),
    ];
    let uid = cluster.uid().unwrap_or_default();
    let owned = request.owner_references().iter().any(|o| o.uid == uid);
    let labelled = wanted
        .iter()
        .all(|(label, value)| request.labels().get(*label) == Some(value));
    let ended = request.status.as_ref().and_then(|s| s.phase);
    if (owned && labelled) || ended.is_some_and(OpsPhase::is_ended) {
        return Ok(false);
    }
    let owner = OwnerReference {
        api_version: Cluster::api_version(&()).into_owned(),
        kind: Cluster::kind(&()).into_owned(),
        name: cluster.name_any(),
        uid,
        controller: None,
        block_owner_deletion: None,
    };
    let body = json!({
        "apiVersion": OpsRequest::api_version(&()),
        "kind": OpsRequest::kind(&()),
        "metadata": {
            "labels": wanted.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "ownerReferences": [owner],
        },
    });
    let params = PatchParams::apply(etcd_operator_api::FIELD_MANAGER).force();
    api(request, context)
        .patch_metadata(&request.name_any(), &params, &Patch::Apply(body))
        .await
        .map(|_| true)
        .map_err(Error::Label)
}

fn api(request: &OpsRequest, context: &Context) -> Api<OpsRequest> {
    Api::namespaced(
        context.client.clone(),
        &request.namespace().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::{Asked, failure, server};

    #[tokio::test]
    async fn what_may_not_be_read_is_told_in_the_status_until_the_end() {
        let mut object = json!({ "metadata": { "name": "a", "namespace": "ns", "uid": "a" },
            "spec": { "clusterName": "db", "type": "Restart", "restart": [{ "componentName": "etcd" }] } });
        let written = |object: &serde_json::Value| {
            let request: OpsRequest = serde_json::from_value(object.clone()).expect("a request");
            let object = object.clone();
            let (context, asked) = server(move |line| match line.contains("/clusters/db") {
                true => failure(403, "Forbidden", "it is not permitted"),
                false => (200, object.clone()),
            });
            async move {
                let result = Box::pin(reconcile_request(&request, &context, &[])).await;
                assert!(result.is_err());
                let asked = asked.lock().expect("no panic");
                let mut written = asked.iter().filter(|(line, _)| line.starts_with("PATCH"));
                written.next().cloned()
            }
        };
        for phase in [json!(null), json!("Running"), json!("Cancelling")] {
            object["status"] = json!({ "phase": phase });
            let (line, body) = written(&object).await.expect("a status");
            assert!(line.contains("/opsrequests/a/status"), "{line}");
            let told = &body["status"]["conditions"][0];
            assert_eq!(told["type"], "WaitForProgressing");
            let text = told["message"].to_string();
            assert!(text.contains("it is not permitted"), "{text}");
        }
        object["status"] = json!({ "phase": "Succeed" });
        assert_eq!(written(&object).await, None);
    }

    /// A rebuild that is in this phase, of a member whose claim has its mark or none; what a round of it writes.
    async fn rebuild(phase: &str, metadata: serde_json::Value, marked: bool) -> Vec<Asked> {
        let mut object = json!({ "metadata": { "name": "a", "namespace": "ns", "uid": "a", "resourceVersion": "3" },
            "spec": { "clusterName": "db", "type": "RebuildInstance", "rebuildFrom": [
                { "componentName": "etcd", "instances": [{ "name": "db-etcd-0" }] }] },
            "status": { "phase": phase } });
        for (field, value) in metadata.as_object().into_iter().flatten() {
            object["metadata"][field] = value.clone();
        }
        let request: OpsRequest = serde_json::from_value(object.clone()).expect("a request");
        let (context, asked) = server(move |line| {
            if line.contains("/clusters/db") {
                return failure(404, "NotFound", "it is gone");
            }
            if line.contains("/persistentvolumeclaims") {
                let mut claim = json!({ "metadata": { "name": "data-db-etcd-0", "namespace": "ns", "uid": "u",
                    "resourceVersion": "5" } });
                if marked {
                    claim["metadata"]["annotations"] = json!({ labels::REBUILD: "a" });
                }
                return match line.starts_with("GET") {
                    true => (200, json!({ "metadata": {}, "items": [claim] })),
                    false => (200, claim),
                };
            }
            (200, object.clone())
        });
        let round = Box::pin(reconcile_request(&request, &context, &[]));
        round.await.expect("a round");
        let asked = asked.lock().expect("no panic");
        let written = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
        written.cloned().collect()
    }

    #[tokio::test]
    async fn one_that_is_deleted_takes_its_marks_along() {
        let leaving = json!({ "finalizers": [labels::OPS_REQUEST_FINALIZER],
            "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let written = rebuild("Running", leaving.clone(), true).await;
        let [(line, body)] = &written[..] else {
            panic!("{written:?}")
        };
        assert!(line.contains("/persistentvolumeclaims/data-db-etcd-0"));
        let marks = &body["metadata"]["annotations"];
        assert_eq!(marks.get(labels::REBUILD), Some(&json!(null)), "{body}");
        let written = rebuild("Running", leaving, false).await;
        let [(line, body)] = &written[..] else {
            panic!("{written:?}")
        };
        assert!(line.contains("/opsrequests/a?"), "{line}");
        assert_eq!(body["metadata"]["finalizers"], json!([]), "{body}");
    }

    #[tokio::test]
    async fn one_that_asks_by_marks_is_held_while_it_is_under_way() {
        let finalizers = |written: &[Asked]| written[0].1["metadata"]["finalizers"].clone();
        for phase in ["Creating", "Running"] {
            let written = rebuild(phase, json!({}), false).await;
            assert_eq!(written.len(), 1, "it is held first: {written:?}");
            let wanted = json!([labels::OPS_REQUEST_FINALIZER]);
            assert_eq!(finalizers(&written), wanted);
        }
        let held = json!({ "finalizers": [labels::OPS_REQUEST_FINALIZER] });
        let written = rebuild("Succeed", held, false).await;
        assert_eq!(finalizers(&written), json!([]));
    }
}
