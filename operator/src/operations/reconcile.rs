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
use super::observe::{ObserveError, asked_for, asked_for_unread, observe};
use super::observed::Seen;
use super::{agents, claims, finalizer, queue, wishes};
use crate::client::message;
use crate::cluster;
use crate::component::RehearseError;
use crate::controller::{
    ApplyError, Blame, Context, Driver, Late, ROUNDS, STORM, delete, is_lasting, key, ours,
    readable, release, stuck, touched, write_status,
};

/// Retry after another client wrote first.
const CONFLICT: Duration = Duration::from_millis(50);
/// Look again although nothing has told to.
const BACKSTOP: Duration = Duration::from_secs(300);

/// Longest a round may take: a switchover is asked of each member in turn.
const LIMIT: Duration = Duration::from_secs(120);

/// Where a request says what stops it.
const PROGRESS: Blame = Blame::Condition(
    ConditionType::WaitForProgressing,
    Reason::WaitForProgressing,
);

/// A step of the reconcile failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
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
    /// Whether to take back what was asked for would fail again.
    fn is_lasting(&self) -> bool {
        match self {
            Error::Observe(error) => error.is_lasting(),
            Error::Mark(error) | Error::Ask(error) => is_lasting(error),
            _ => false,
        }
    }

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
    let requests = readable::<OpsRequest>(&context, all(), blame, finalizer::stand_in)
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
    let requests = store.state_filter(|request| {
        request.spec.cluster_name == cluster && request.metadata.namespace.as_deref() == namespace
    });
    let found = queue::awake(&requests);
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
pub(super) async fn reconcile_request(
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
    let live = match live {
        Err(kube::Error::SerdeError(_)) if cached.metadata.deletion_timestamp.is_some() => {
            let asked_for = asked_for_unread(context, cached).await;
            return Box::pin(depart(cached, asked_for, context, &now)).await;
        }
        live => live.map_err(|source| ObserveError::Read {
            what: "the OpsRequest",
            source,
        })?,
    };
    let Some(request) = live else {
        return Ok(Action::await_change());
    };
    if request.metadata.deletion_timestamp.is_some() {
        if !finalizer::is_held(&request) {
            return Ok(Action::await_change());
        }
        let asked_for = asked_for(context, &request).await;
        return Box::pin(depart(&request, asked_for, context, &now)).await;
    }
    if finalizer::hold(context, &request)
        .await
        .map_err(Error::Hold)?
    {
        return Ok(Action::requeue(CONFLICT));
    }
    let phase = request.status.as_ref().and_then(|status| status.phase);
    // One that has ended goes when its time is over, whatever becomes of its Cluster.
    let mut seen = match phase.is_some_and(OpsPhase::is_ended) {
        true => Seen::default(),
        false => look(&request, context, known).await?,
    };
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

/// What there is. The status says what can never be read, until it can.
async fn look(
    request: &OpsRequest,
    context: &Context,
    known: &[Arc<OpsRequest>],
) -> Result<Seen, ObserveError> {
    let seen = observe(context, request, known).await;
    if let Err(error) = &seen
        && error.is_lasting()
    {
        stuck(context, request, &error.to_string(), PROGRESS).await;
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

/// A request that is being deleted: what it asks for is taken off first. Where that cannot be done it goes after a
/// while, and an event says what it leaves.
async fn depart(
    request: &OpsRequest,
    asked_for: Result<Seen, ObserveError>,
    context: &Context,
    now: &Time,
) -> Result<Action, Error> {
    let (act, taken) = take_back(request, asked_for, context, now).await;
    match taken {
        Ok(()) if act.is_some() => return Ok(Action::requeue(CONFLICT)),
        Ok(()) => {}
        Err(error) => {
            let text = finalizer::left(request, act.as_ref(), &error.to_string());
            if !finalizer::gives_up(request, error.is_lasting(), now) {
                if error.is_lasting() {
                    stuck(context, request, &text, PROGRESS).await;
                }
                return Err(error);
            }
            tracing::warn!(request = key(request), text, "operation is deleted");
            context
                .event(request, EventType::Warning, "NotTakenBack", text)
                .await;
        }
    }
    release(&context.client, request, labels::OPS_REQUEST_FINALIZER)
        .await
        .map_err(Error::Hold)?;
    Ok(Action::await_change())
}

/// Takes off what still asks for the operation: what that is, as far as it is known, and whether it was taken off.
async fn take_back(
    request: &OpsRequest,
    asked_for: Result<Seen, ObserveError>,
    context: &Context,
    now: &Time,
) -> (Option<Act>, Result<(), Error>) {
    let seen = match asked_for {
        Ok(seen) => seen,
        Err(error) => return (None, Err(error.into())),
    };
    let act = leave(request, &seen, now);
    let taken = match act.clone() {
        Some(act) => ask(request, &seen, act, context).await,
        None => Ok(()),
    };
    (act, taken)
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
    if owned && labelled {
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
