//! One reconcile: read, observe, plan, apply, record. And what wakes it. No policy and no waiting here (C3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_operator_api::InstanceSet;
use etcd_operator_api::condition::{self, ConditionType, Observation, Reason};
use etcd_operator_api::instance_set::InstanceSetStatus;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use etcd_operator_api::FIELD_MANAGER;

use super::apply::Applier;
use super::approval;
use super::desired::Desired;
use super::error::Error;
use super::events;
use super::observe::Sources;
use super::pace::Pace;
use super::plan::steps::StatusDraft;
use super::plan::{Plan, Step, Waiting, plan, status};
use super::rehearse::Rehearsals;
use super::sequence::{Taken, in_order};
use crate::controller::{Backoff, Blame, Calm, Events, Head, UNREADABLE, current, key};
use crate::lease::Tenure;
use crate::metrics::RoundEnd;
use crate::roles::MemberStore;

/// Longest a reconcile may take: the sum of its calls' limits in the worst case that still makes progress.
const LIMIT: Duration = Duration::from_secs(30);
/// Periodic resync in case a watch event was missed; too rare to be a load.
const BACKSTOP: Duration = Duration::from_secs(60);
/// Look again at what moves without an object changing (a learner's log, a member's first start), while it moves.
const MOVING: Duration = Duration::from_millis(200);
/// Look again after a step in etcd, which no watch of Kubernetes shows.
const STEPPED: Duration = Duration::from_millis(20);
/// Look again at what etcd or an agent holds up, at first.
const HELD_UP: Duration = Duration::from_secs(1);
/// Retry after another client wrote first.
const CONFLICT: Duration = Duration::from_millis(50);

/// What a reconcile works with.
pub(super) struct Reconciler {
    pub(super) frame: Arc<crate::controller::Context>,
    pub(super) client: Client,
    pub(super) views: Arc<MemberStore>,
    pub(super) nodes: Store<Node>,
    pub(super) events: Events,
    pub(super) cluster_domain: String,
    pub(super) backoff: Backoff,
    pub(super) calm: Calm,
    pub(super) pace: Pace,
    pub(super) rehearsals: Rehearsals,
    pub(super) tenure: Tenure,
}

/// Brings one InstanceSet nearer to its spec.
pub(super) async fn reconcile(
    set: Arc<Head<InstanceSet>>,
    reconciler: Arc<Reconciler>,
) -> Result<Action, Error> {
    if let Some(later) = reconciler.calm.rest(&key(&*set)) {
        return Ok(later);
    }
    let began = Instant::now();
    let whole = reconciler.reconcile(&set);
    let result = timeout(LIMIT, Box::pin(whole))
        .await
        .unwrap_or_else(|_| Err(Error::Late(LIMIT.as_secs())));
    let end = RoundEnd::of(&result, |error| error.is_conflict() || is_held_up(error));
    let metrics = &reconciler.frame.metrics;
    metrics.reconciled("InstanceSet", end, began.elapsed());
    if result.is_ok() {
        reconciler.backoff.succeeded(&key(&*set));
    }
    result
}

/// When to try again after an error. It was recorded where it happened.
pub(super) fn on_error(
    set: Arc<Head<InstanceSet>>,
    error: &Error,
    reconciler: Arc<Reconciler>,
) -> Action {
    if error.is_conflict() {
        return Action::requeue(CONFLICT);
    }
    warn!(instance_set = %set.name_any(), %error, "reconcile failed");
    if is_held_up(error) {
        // Not one of a row of failures: waits that double would last long after etcd is ready.
        return Action::requeue(HELD_UP);
    }
    match error {
        Error::Spec(_) => Action::await_change(),
        Error::Refused { again, .. } => Action::requeue(*again),
        _ => reconciler.backoff.failed(&key(&*set)),
    }
}

/// What passes by itself: etcd is not ready for a change, or another replica reconciles.
fn is_held_up(error: &Error) -> bool {
    error.is_not_now() || matches!(error, Error::LeaseEnded)
}

impl Reconciler {
    async fn reconcile(&self, head: &Head<InstanceSet>) -> Result<Action, Error> {
        let namespace = head.namespace().unwrap_or_default();
        if let Some(rest) = self.views.settling(&namespace, &head.name_any()) {
            return Ok(Action::requeue(rest));
        }
        // Latches decide whether a disk may be new: they are read from the API server, not from a cache (C2).
        let blame = Blame::Condition(ConditionType::Reconciled, Reason::ReconcileFailed);
        let set = current::<InstanceSet>(&self.frame, head, blame).await;
        let Some(set) = set.map_err(|source| Error::read("the InstanceSet", source))? else {
            self.pace.forget(&key(head));
            self.rehearsals.forget(&key(head));
            return Ok(Action::requeue(UNREADABLE));
        };
        let mut desired = match Desired::read(&set, &self.cluster_domain) {
            Ok(desired) => desired,
            Err(error) => {
                let error = Error::Spec(error);
                self.record_failure(&set, &error).await?;
                return Err(error);
            }
        };
        let result = match approval::confirm(&self.client, &mut desired).await {
            Ok(()) => Box::pin(self.advance(&set, &desired)).await,
            Err(error) => {
                self.record_failure(&set, &error).await?;
                Err(error)
            }
        };
        if let Err(error) = &result
            && !error.is_conflict()
        {
            events::failed(&self.events, &set, error).await;
        }
        result
    }

    async fn advance(&self, set: &InstanceSet, desired: &Desired) -> Result<Action, Error> {
        let sources = Sources {
            client: &self.client,
            agents: &self.frame.agents,
            views: &self.views,
            nodes: &self.nodes,
            rehearsals: &self.rehearsals,
        };
        let seen = match sources.observe(desired).await {
            Ok(seen) => seen,
            Err(error) => {
                self.record_failure(set, &error).await?;
                return Err(error);
            }
        };
        let mut plan = plan(desired, &seen);
        debug!(instance_set = %desired.name, steps = plan.steps.len(), waiting = ?plan.waiting, "planned");
        let mut version = set.resource_version();
        let mut recorded = set.status.clone().unwrap_or_default();
        if let Some(draft) = plan.status.as_ref().filter(|draft| draft.first) {
            let status = finished(draft, desired, None);
            version = self.record(set, &status, &recorded, version).await?;
            recorded = status;
        }
        let taken = self.apply(set, desired, &plan).await;
        if taken.done.iter().any(|step| in_etcd(step)) {
            // It gets on, whatever else was refused: no later than that is the next step due.
            self.backoff.succeeded(&key(set));
        }
        let refused = taken.failed.iter().all(Error::is_refusal);
        let mut applied = Ok(());
        for error in taken.failed {
            match error {
                // No failure: it waits for others, and says for what.
                Error::Budget { pod, why } => {
                    status::hold(&mut plan, Waiting::Budget { pod, why });
                }
                other => applied = applied.and(Err(other)),
            }
        }
        if plan.steps.contains(&Step::AddFinalizer) || plan.steps.contains(&Step::RemoveFinalizer) {
            // The object has moved on by our own write; its new version triggers the next round.
            applied?;
            return Ok(Action::requeue(CONFLICT));
        }
        if let Some(draft) = &plan.status {
            let status = finished(draft, desired, Some(applied.as_ref().err()));
            self.record(set, &status, &recorded, version).await?;
        }
        applied.map_err(|error| self.beside(error, refused, &plan, &key(set)))?;
        Ok(Action::requeue(next(&plan, &self.pace, &key(set))))
    }

    /// The failure of a round, which says when to look at what does not wait for it.
    fn beside(&self, error: Error, refused: bool, plan: &Plan, set: &str) -> Error {
        let again = self.pace.of_learner(set, plan, HELD_UP);
        match again.filter(|_| refused) {
            Some(again) => Error::Refused {
                source: Box::new(error),
                again,
            },
            None => error,
        }
    }

    async fn apply<'a>(
        &self,
        set: &InstanceSet,
        desired: &Desired,
        plan: &'a Plan,
    ) -> Taken<'a, Error> {
        let applier = Applier::new(&self.client, &self.frame.agents, desired);
        let applier = &applier;
        let take = |step| async move {
            // Decided before this process was stopped for a while, say: another replica decides by now.
            if !self.tenure.holds() {
                return Err(Error::LeaseEnded);
            }
            info!(instance_set = %desired.name, step = %events::summary(step), "step");
            applier.take(step).await?;
            events::taken(&self.events, set, step).await;
            Ok(())
        };
        in_order(&plan.steps, take, Error::is_refusal).await
    }

    /// Writes the status if it differs from what is recorded; returns the object's newest version.
    async fn record(
        &self,
        set: &InstanceSet,
        status: &InstanceSetStatus,
        recorded: &InstanceSetStatus,
        version: Option<String>,
    ) -> Result<Option<String>, Error> {
        if status == recorded {
            return Ok(version);
        }
        let body = json!({
            "apiVersion": InstanceSet::api_version(&()),
            "kind": InstanceSet::kind(&()),
            "metadata": { "name": set.name_any(), "resourceVersion": version },
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = self
            .sets(set)
            .patch_status(&set.name_any(), &params, &Patch::Apply(body))
            .await;
        let written = written.map_err(|source| Error::write("record the status", source))?;
        Ok(written.resource_version())
    }

    /// Makes an error visible in the status (C7), leaving the rest of it as it is.
    async fn record_failure(&self, set: &InstanceSet, error: &Error) -> Result<(), Error> {
        let recorded = set.status.clone().unwrap_or_default();
        let mut status = recorded.clone();
        let now = Time(Timestamp::now());
        let seen = [reconciled(Some(error))];
        condition::record(&mut status.conditions, &seen, set.metadata.generation, &now);
        status.message = Some(error.to_string());
        self.record(set, &status, &recorded, set.resource_version())
            .await
            .map(drop)
    }

    fn sets(&self, set: &InstanceSet) -> Api<InstanceSet> {
        Api::namespaced(self.client.clone(), &set.namespace().unwrap_or_default())
    }
}

/// The draft with times, and with the outcome of the steps when they have been taken.
fn finished(
    draft: &StatusDraft,
    desired: &Desired,
    outcome: Option<Option<&Error>>,
) -> InstanceSetStatus {
    let mut status = draft.status.clone();
    let now = Time(Timestamp::now());
    let mut seen = draft.observations.clone();
    if let Some(error) = outcome {
        seen.push(reconciled(error));
        if let Some(error) = error {
            status.message = Some(error.to_string());
        }
    }
    condition::record(&mut status.conditions, &seen, desired.generation, &now);
    status
}

fn reconciled(error: Option<&Error>) -> Observation {
    let kind = ConditionType::Reconciled;
    match error {
        None => Observation::new(kind, true, Reason::ReconcileSucceeded, ""),
        Some(error) => Observation::new(kind, false, Reason::ReconcileFailed, error.to_string()),
    }
}

/// True for a step after which the next one is due at once, and which no watch of Kubernetes shows.
fn in_etcd(step: &Step) -> bool {
    step.changes_membership() || matches!(step, Step::Switchover { .. })
}

/// When to look again, if nothing wakes us before.
pub(super) fn next(plan: &Plan, pace: &Pace, set: &str) -> Duration {
    if plan.steps.iter().any(in_etcd) {
        pace.forget(set);
        return STEPPED;
    }
    if plan.waiting.iter().any(Waiting::moves_by_itself) {
        return pace.next(set, plan, MOVING);
    }
    let available = plan
        .status
        .as_ref()
        .is_none_or(|draft| draft.status.available_replicas == draft.status.ready_replicas);
    let waits = plan.waiting.iter().any(|why| !why.ends_with_an_edit());
    if !available || !plan.steps.is_empty() || waits {
        return pace.next(set, plan, HELD_UP);
    }
    pace.forget(set);
    BACKSTOP
}
