//! PURE: a request and what was seen of its Cluster -> its new status, and one thing to do.
//!
//! The order of things: a decision is on record before it is acted on (`Creating` holds what was there before), and
//! an end is told only of what was seen.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_operator_api::condition::{self, ConditionType, Observation, Reason};
use etcd_operator_api::ops_request::{LastConfiguration, OpsRequestStatus};
use etcd_operator_api::recovery::RecoveryWish;
use etcd_operator_api::{Cluster, OpsPhase, OpsRequest, OpsType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::edit::{self, Change};
use super::facts::{Progress, View};
use super::kind::Kind;
use super::kinds;
use super::observed::{NotMoved, Seen};
use super::obstacle::{Obstacle, obstacle};
use super::refusal::Refused;
use super::refused::refused;
use super::{progress, queue, request};

/// Polling interval for state that has no watch.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Nothing but recording the status; where it changed, that makes the next round.
    Record,
    /// Try the edit without making it, then decide again.
    Rehearse(Vec<Change>),
    /// Edit the Cluster, then record the status with the generation that came of it.
    Edit(Vec<Change>),
    /// Ask agents to move leadership, then decide again.
    Switchover,
    /// Mark the claims on record: their members are rebuilt.
    Rebuild,
    /// Take the request's marks off claims, then decide again.
    Unmark,
    /// Ask InstanceSets to give up their quorum, by name; `None` takes that back.
    Recover(BTreeMap<String, Option<RecoveryWish>>),
    /// Delete the request: its time is over.
    Delete,
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) status: OpsRequestStatus,
    pub(super) act: Act,
    /// When to look again at the latest.
    pub(super) again: Option<Duration>,
}

/// Decides about a request.
pub(super) fn decide(request: &OpsRequest, seen: &Seen, now: &Time) -> Decision {
    let mut story = Story {
        request,
        seen,
        now,
        status: request.status.clone().unwrap_or_default(),
    };
    let (act, again) = match story.status.phase {
        None | Some(OpsPhase::Pending) => story.admit(),
        Some(OpsPhase::Creating) => story.begin(),
        Some(OpsPhase::Running) => story.follow(),
        Some(OpsPhase::Cancelling) => story.follow_cancel(),
        Some(_) => story.expire(),
    };
    Decision {
        status: story.status,
        act,
        again,
    }
}

type Next = (Act, Option<Duration>);

struct Story<'a> {
    request: &'a OpsRequest,
    seen: &'a Seen,
    now: &'a Time,
    status: OpsRequestStatus,
}

impl Story<'_> {
    fn kind(&self) -> &'static dyn Kind {
        kinds::of(self.request.spec.kind)
    }

    /// Whether it may begin.
    fn admit(&mut self) -> Next {
        let spec = &self.request.spec;
        let forced = spec.force == Some(true);
        let cluster = self.seen.cluster.as_ref();
        let Some(cluster) = cluster.filter(|c| c.metadata.deletion_timestamp.is_none()) else {
            let text = format!(
                "there is no cluster {} in this namespace",
                spec.cluster_name
            );
            return self.refuse(Reason::ClusterNotFound, text);
        };
        if spec.cancel == Some(true) {
            self.tell(
                ConditionType::Cancelled,
                Reason::CancelSucceed,
                "it was cancelled before it began",
            );
            return self.end(OpsPhase::Cancelled);
        }
        if let Some(first) = queue::before(self.request, &self.seen.requests) {
            // Its end brings this one up again: nothing is asked before.
            return self.wait(format!("waits for OpsRequest {}", first.name_any()), None);
        }
        let phase = cluster.status.as_ref().and_then(|status| status.phase);
        if !forced && !phase.is_some_and(|phase| self.kind().begins_in(phase)) {
            let is = phase.map_or("not known".to_owned(), |phase| format!("{phase:?}"));
            let mut text = format!(
                "{:?} may not begin while cluster {} is {is}",
                spec.kind, spec.cluster_name
            );
            if spec.kind == OpsType::RebuildInstance {
                text += "; to rebuild a healthy member, set force: true";
            }
            let deadline = seconds(spec.pre_condition_deadline_seconds);
            let left = deadline.and_then(|deadline| deadline.checked_sub(self.age()));
            return match left.filter(|left| !left.is_zero()) {
                Some(left) => self.wait(text, Some(left)),
                None => self.refuse(Reason::ClusterPhaseMismatch, text),
            };
        }
        let planned = match request::planned(self.request, cluster, self.seen, self.now) {
            Ok(planned) => planned,
            Err(refused) => return self.refuse(Reason::ValidateFailed, refused.to_string()),
        };
        if let Some(obstacle) = self.obstacle(cluster, &planned.before) {
            return self.refuse(Reason::ValidateFailed, obstacle.to_string());
        }
        match &self.seen.rehearsal {
            None => return (Act::Rehearse(planned.changes), None),
            Some(Err(refused)) => return self.refuse(Reason::ValidateFailed, refused.clone()),
            Some(Ok(())) => self.status.last_configuration = planned.before,
        }
        self.status.phase = Some(OpsPhase::Creating);
        self.status.cluster_generation = cluster.metadata.generation;
        self.status.start_timestamp = Some(self.now.clone());
        self.status.progress = Some("-/-".to_owned());
        self.tell(
            ConditionType::WaitForProgressing,
            Reason::WaitForProgressing,
            "it begins",
        );
        self.tell(
            ConditionType::Validated,
            Reason::ValidateOpsRequestPassed,
            "it can be carried out",
        );
        (Act::Record, None)
    }

    /// The edit, or the first call.
    fn begin(&mut self) -> Next {
        if self.is_late() {
            let text = "it did not begin in time: the operator's log says what failed";
            return self.give_up(Reason::OpsRequestTimeout, text);
        }
        let cluster = self.seen.cluster.as_ref();
        let generation = cluster.and_then(|cluster| cluster.metadata.generation);
        if generation != self.status.cluster_generation && !self.is_edited() {
            // The Cluster changed after it was recorded.
            self.status.start_timestamp = None;
            let text = "the Cluster changed since it was recorded; it is read again";
            return self.wait(text.to_owned(), None);
        }
        if let Some(other) = queue::overtaken(self.request, &self.seen.requests)
            && !self.is_edited()
        {
            self.status.start_timestamp = None;
            return self.wait(format!("waits for OpsRequest {}", other.name_any()), None);
        }
        let (kind, reason) = self.kind().started();
        self.status.phase = Some(OpsPhase::Running);
        self.tell(kind, reason, "it is in progress");
        match self.request.spec.kind {
            OpsType::Switchover => return (Act::Record, None),
            OpsType::RebuildInstance => return (Act::Rebuild, Some(LOOK_AGAIN)),
            OpsType::RecoverQuorum => {
                let wishes = kinds::wishes(self.request, &self.seen.sets);
                return (Act::Recover(wishes), Some(LOOK_AGAIN));
            }
            _ => {}
        }
        match self.changes() {
            Err(refused) => self.fail(&refused.to_string()),
            Ok(changes) => (Act::Edit(changes), Some(LOOK_AGAIN)),
        }
    }

    /// How far it is.
    fn follow(&mut self) -> Next {
        let Some(cluster) = &self.seen.cluster else {
            return self.give_up(Reason::OpsRequestAborted, "the cluster was deleted");
        };
        if self.request.spec.kind == OpsType::Switchover {
            return self.follow_switchover(cluster);
        }
        let changes = match self.changes() {
            Ok(changes) => changes,
            Err(refused) => return self.fail(&refused.to_string()),
        };
        if self.request.spec.cancel == Some(true) {
            self.status.phase = Some(OpsPhase::Cancelling);
            self.tell(
                ConditionType::Cancelled,
                Reason::CancelStarted,
                "the edit is being rolled back",
            );
            let undo = edit::undoing(cluster, &changes, &self.status.last_configuration);
            return (Act::Edit(undo.back), Some(LOOK_AGAIN));
        }
        let reverting = condition::find(&self.status.conditions, ConditionType::Reverting);
        if let Some(why) = reverting.map(|known| known.message.clone()) {
            return self.revert(cluster, &changes, &why);
        }
        if let Some(other) = edit::missing(cluster, &changes).first() {
            let text = format!("another client edited the Cluster: {}", other.told());
            return self.give_up(Reason::OpsRequestAborted, &text);
        }
        if let Some(why) = refused(self.request, cluster, &self.status, &changes) {
            // On record before the edit is taken back: without its changes the request would look overtaken.
            self.tell(ConditionType::Reverting, Reason::ApplyResourcesFailed, &why);
            return (Act::Record, Some(LOOK_AGAIN));
        }
        let progress = self.look(cluster, false);
        let outcome = self.kind().outcome(&self.view(cluster, false));
        if progress.complete || outcome.is_err() {
            return self.conclude(&progress, outcome);
        }
        let obstacle = self.obstacle(cluster, &self.status.last_configuration);
        if let Some(obstacle) = obstacle.filter(|obstacle| !obstacle.passes()) {
            let text = format!("it cannot be completed any more: {obstacle}");
            return self.give_up(Reason::OpsRequestAborted, &text);
        }
        if self.is_late() {
            let mut text = self.lateness("it was not done", &progress);
            if !changes.is_empty() {
                text += "; what it has edited stays in the Cluster";
            }
            return self.give_up(Reason::OpsRequestTimeout, &text);
        }
        (Act::Record, Some(LOOK_AGAIN))
    }

    /// Ends an operation whose effect was seen, or that will have none. What still asks for it is taken off first.
    fn conclude(&mut self, progress: &Progress, outcome: Result<String, String>) -> Next {
        let asking = kinds::withdrawn(self.request, &self.seen.sets);
        if !asking.is_empty() {
            return (Act::Recover(asking), Some(LOOK_AGAIN));
        }
        match outcome {
            Err(text) => self.fail(&text),
            Ok(told) => {
                let mut text = format!("{:?} is done: {}", self.request.spec.kind, progress.text());
                if !told.is_empty() {
                    text += &format!("; {told}");
                }
                self.succeed(&text)
            }
        }
    }

    /// Takes back what was edited and would never come true; the request ends when the Cluster is rid of it.
    fn revert(&mut self, cluster: &Cluster, changes: &[Change], why: &str) -> Next {
        let undo = edit::undoing(cluster, changes, &self.status.last_configuration);
        if !undo.back.is_empty() {
            return (Act::Edit(undo.back), Some(LOOK_AGAIN));
        }
        let mut text =
            format!("Kubernetes refuses {why}; what the request had edited was taken back");
        if !undo.left.is_empty() {
            text += &format!(", but for what was edited since: {}", undo.left.join("; "));
        }
        self.fail(&text)
    }

    /// Leadership is asked to move once; it has moved when the role labels say so too.
    fn follow_switchover(&mut self, cluster: &Cluster) -> Next {
        let asked = self.status.components.clone();
        if !asked.is_empty() {
            let progress = self.look(cluster, false);
            let text = condition::find(&self.status.conditions, ConditionType::Switchover);
            let text = text.map(|known| known.message.clone()).unwrap_or_default();
            return match progress.complete {
                true => self.succeed(&text),
                false if self.is_late() => {
                    let text = self.lateness(&text, &progress);
                    self.abort(Reason::OpsRequestTimeout, &text)
                }
                false => (Act::Record, Some(LOOK_AGAIN)),
            };
        }
        if let Some(obstacle) = self.obstacle(cluster, &self.status.last_configuration) {
            let text = format!("leadership is not asked to move: {obstacle}");
            return self.abort(Reason::OpsRequestAborted, &text);
        }
        match &self.seen.moved {
            Some(Ok(moved)) => {
                self.tell(
                    ConditionType::Switchover,
                    Reason::SwitchoverStarted,
                    &moved.text,
                );
                self.status.components = kinds::leaders(moved);
                self.status.progress = Some(format!("0/{}", moved.leaders.len()));
                (Act::Record, Some(LOOK_AGAIN))
            }
            Some(Err(NotMoved::Refused(text))) => self.fail(text),
            Some(Err(NotMoved::Unknown(text))) if self.is_late() => {
                self.abort(Reason::OpsRequestTimeout, text)
            }
            Some(Err(NotMoved::Unknown(text))) => {
                self.tell(ConditionType::Switchover, Reason::SwitchoverStarted, text);
                (Act::Record, Some(LOOK_AGAIN))
            }
            None => (Act::Switchover, None),
        }
    }

    fn follow_cancel(&mut self) -> Next {
        let Some(cluster) = &self.seen.cluster else {
            return self.abort(Reason::OpsRequestAborted, "the cluster was deleted");
        };
        let changes = match self.changes() {
            Ok(changes) => changes,
            Err(refused) => return self.fail(&refused.to_string()),
        };
        // The former values were put back when this phase began. Since then the spec is the owner's.
        let undo = edit::undoing(cluster, &changes, &self.status.last_configuration);
        if !undo.left.is_empty() || !undo.back.is_empty() {
            let again = undo.back.iter().map(Change::told);
            let left: Vec<String> = undo.left.into_iter().chain(again).collect();
            let text = format!(
                "the edit was rolled back, but for what was edited since and stays: {}",
                left.join("; ")
            );
            self.tell(ConditionType::Cancelled, Reason::CancelSucceed, &text);
            return self.end(OpsPhase::Cancelled);
        }
        let progress = self.look(cluster, true);
        if !progress.complete {
            let obstacle = self.obstacle(cluster, &self.status.last_configuration);
            if let Some(obstacle) = obstacle.filter(|obstacle| !obstacle.passes()) {
                let text = format!("the former values are in the Cluster, but {obstacle}");
                return self.abort(Reason::OpsRequestAborted, &text);
            }
            let began = condition::find(&self.status.conditions, ConditionType::Cancelled);
            let began = began.map(|known| known.last_transition_time.clone());
            if began.is_some_and(|began| since(&began, self.now) >= self.limit()) {
                let text = self.lateness("it was not rolled back", &progress);
                let text = format!("{text}; the former values are in the Cluster");
                return self.abort(Reason::OpsRequestTimeout, &text);
            }
            return (Act::Record, Some(LOOK_AGAIN));
        }
        self.tell(
            ConditionType::Cancelled,
            Reason::CancelSucceed,
            "the edit was rolled back",
        );
        self.end(OpsPhase::Cancelled)
    }

    /// An ended request goes when its time has come.
    fn expire(&mut self) -> Next {
        let spec = &self.request.spec;
        let lives = match self.status.phase {
            Some(OpsPhase::Succeed) => spec.ttl_seconds_after_succeed,
            _ => spec.ttl_seconds_after_unsuccessful_completion,
        };
        let (Some(lives), Some(ended)) = (seconds(lives), &self.status.completion_timestamp) else {
            return (Act::Record, None);
        };
        match lives.checked_sub(since(ended, self.now)) {
            None | Some(Duration::ZERO) => (Act::Delete, None),
            Some(left) => (Act::Record, Some(left)),
        }
    }

    fn changes(&self) -> Result<Vec<Change>, Refused> {
        let began = self.status.start_timestamp.as_ref().unwrap_or(self.now);
        let began = began.0.to_string();
        request::changes(self.request, &self.status.last_configuration, &began)
    }

    /// Whether the edit was made, and only its record is missing.
    fn is_edited(&self) -> bool {
        let changes = self.changes().unwrap_or_default();
        let cluster = self.seen.cluster.as_ref();
        !changes.is_empty()
            && cluster.is_some_and(|cluster| edit::missing(cluster, &changes).is_empty())
    }

    fn view<'v>(&'v self, cluster: &'v Cluster, undone: bool) -> View<'v> {
        View {
            request: self.request,
            recorded: &self.status,
            cluster,
            seen: self.seen,
            undone,
        }
    }

    fn look(&mut self, cluster: &Cluster, undone: bool) -> Progress {
        let progress = progress::of(self.kind(), &self.view(cluster, undone));
        self.status.progress = Some(progress.text());
        self.status.components.clone_from(&progress.components);
        progress
    }

    /// What stands in the way of the operation.
    fn obstacle(&self, cluster: &Cluster, before: &LastConfiguration) -> Option<Obstacle> {
        let needs = self.kind().needs(&self.request.spec);
        obstacle(needs, before.components.keys(), cluster, &self.seen.sets)
    }

    /// How long the operation may take, and its cancel.
    fn limit(&self) -> Duration {
        seconds(self.request.spec.timeout_seconds).unwrap_or(self.kind().deadline())
    }

    fn is_late(&self) -> bool {
        let began = self.status.start_timestamp.as_ref();
        began.is_some_and(|began| since(began, self.now) >= self.limit())
    }

    /// Why an operation that is late was not done: what the first pod is missing, and what is waited for.
    fn lateness(&self, what: &str, progress: &Progress) -> String {
        let limit = self.limit().as_secs();
        let mut text = format!("{what} within {limit} s: {}", progress.text());
        let details = progress.components.values();
        let mut details = details.flat_map(|component| &component.progress_details);
        if let Some((object, lacks)) =
            details.find_map(|d| Some((&d.object_key, d.message.as_ref()?)))
        {
            text += &format!(", {object}: {lacks}");
        }
        let mut components = progress.components.values();
        if let Some(waits) = components.find_map(|component| component.message.as_ref()) {
            text += &format!("; the operator waits: {waits}");
        }
        text
    }

    fn age(&self) -> Duration {
        let made = self.request.metadata.creation_timestamp.as_ref();
        made.map_or(Duration::ZERO, |made| since(made, self.now))
    }

    fn wait(&mut self, text: String, again: Option<Duration>) -> Next {
        self.status.phase = Some(OpsPhase::Pending);
        self.observe(Observation::new(
            ConditionType::WaitForProgressing,
            false,
            Reason::WaitForProgressing,
            text,
        ));
        (Act::Record, again)
    }

    fn refuse(&mut self, reason: Reason, text: String) -> Next {
        self.observe(Observation::new(
            ConditionType::Validated,
            false,
            reason,
            text,
        ));
        self.end(OpsPhase::Failed)
    }

    fn fail(&mut self, text: &str) -> Next {
        self.tell(ConditionType::Failed, Reason::OpsRequestFailed, text);
        self.end(OpsPhase::Failed)
    }

    /// Ends an operation that was under way. What is marked would be carried out later: first the marks are taken off.
    fn give_up(&mut self, reason: Reason, text: &str) -> Next {
        if !self.seen.marks.is_empty() {
            return (Act::Unmark, Some(LOOK_AGAIN));
        }
        let asking = kinds::withdrawn(self.request, &self.seen.sets);
        if !asking.is_empty() {
            return (Act::Recover(asking), Some(LOOK_AGAIN));
        }
        let last = &self.status.last_configuration;
        let begun = kinds::begun(last, &self.seen.sets) + &kinds::under_way(last, &self.seen.sets);
        self.abort(reason, &format!("{text}{begun}"))
    }

    fn abort(&mut self, reason: Reason, text: &str) -> Next {
        self.tell(ConditionType::Aborted, reason, text);
        self.end(OpsPhase::Aborted)
    }

    fn succeed(&mut self, text: &str) -> Next {
        self.tell(
            ConditionType::Succeed,
            Reason::OpsRequestProcessedSuccessfully,
            text,
        );
        self.end(OpsPhase::Succeed)
    }

    fn end(&mut self, phase: OpsPhase) -> Next {
        self.status.phase = Some(phase);
        self.status.completion_timestamp = Some(self.now.clone());
        (Act::Record, None)
    }

    fn tell(&mut self, kind: ConditionType, reason: Reason, text: &str) {
        self.observe(Observation::new(kind, true, reason, text));
    }

    fn observe(&mut self, seen: Observation) {
        let generation = self.request.metadata.generation;
        condition::record(&mut self.status.conditions, &[seen], generation, self.now);
    }
}

/// A limit in seconds; zero and absent mean none.
fn seconds(limit: Option<i32>) -> Option<Duration> {
    let limit = u64::try_from(limit?).ok().filter(|limit| *limit > 0)?;
    Some(Duration::from_secs(limit))
}

fn since(then: &Time, now: &Time) -> Duration {
    Duration::try_from(now.0.duration_since(then.0)).unwrap_or(Duration::ZERO)
}
