//! PURE: whether a request may begin, and its first edit or call.

use std::time::Duration;

use etcd_operator_api::condition::{self, ConditionType, Reason};
use etcd_operator_api::{Cluster, OpsPhase, OpsType, TerminationPolicy};
use kube::ResourceExt;

use super::time::{seconds, since};
use super::{Act, LOOK_AGAIN, Next, Story};
use crate::operations::{edit, kinds, queue, request};

impl<'a> Story<'a> {
    /// Whether it may begin.
    pub(super) fn admit(&mut self) -> Next {
        let spec = &self.request.spec;
        let cluster = match self.target() {
            Ok(cluster) => cluster,
            Err(text) => return self.refuse(Reason::ClusterNotFound, text),
        };
        if spec.cancel == Some(true) {
            self.tell(
                ConditionType::Cancelled,
                Reason::CancelSucceed,
                "it was cancelled before it began",
            );
            return self.end(OpsPhase::Cancelled);
        }
        if let Some(first) = queue::before(self.request, &self.seen.requests, cluster) {
            // Its end brings this one up again: nothing is asked before.
            return self.wait(format!("waits for OpsRequest {}", first.name_any()), None);
        }
        if !request::fits(self.request, cluster) {
            return self.wrong_phase(cluster);
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
        self.admitted(cluster)
    }

    /// The Cluster, where there is one to work on.
    fn target(&self) -> Result<&'a Cluster, String> {
        let name = &self.request.spec.cluster_name;
        let Some(cluster) = self.seen.cluster.as_ref() else {
            return Err(format!(
                "there is no cluster {name} in this namespace, or it is another one than the request was made for"
            ));
        };
        // One that its policy holds runs on.
        let held = cluster.spec.termination_policy == TerminationPolicy::DoNotTerminate;
        match cluster.metadata.deletion_timestamp.is_some() && !held {
            true => Err(format!("cluster {name} is being deleted")),
            false => Ok(cluster),
        }
    }

    fn admitted(&mut self, cluster: &Cluster) -> Next {
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

    /// Waits while the Cluster is in a phase in which the operation may not begin; refuses it when that takes too long.
    fn wrong_phase(&mut self, cluster: &Cluster) -> Next {
        let spec = &self.request.spec;
        let phase = cluster.status.as_ref().and_then(|status| status.phase);
        let is = phase.map_or("not known".to_owned(), |phase| format!("{phase:?}"));
        let mut text = format!(
            "{:?} may not begin while cluster {} is {is}",
            spec.kind, spec.cluster_name
        );
        if spec.kind == OpsType::RebuildInstance {
            text += "; to rebuild a healthy member, set force: true";
        }
        let deadline = seconds(spec.pre_condition_deadline_seconds);
        let waited = self.waited_for_phase();
        let left = deadline.and_then(|deadline| deadline.checked_sub(waited));
        let Some(left) = left.filter(|left| !left.is_zero()) else {
            return self.refuse(Reason::ClusterPhaseMismatch, text);
        };
        if waited.is_zero() {
            // The time of the condition is when it began to wait for this, and not for its turn.
            let kind = ConditionType::WaitForProgressing.as_str();
            self.status.conditions.retain(|known| known.type_ != kind);
        }
        self.wait_for(Reason::ClusterPhaseMismatch, text, Some(left))
    }

    /// How long it has waited for a phase of the Cluster. Its turn may have come long after it was made.
    fn waited_for_phase(&self) -> Duration {
        let kind = ConditionType::WaitForProgressing;
        match condition::find(&self.status.conditions, kind) {
            None => self.age(),
            Some(known) if known.reason == Reason::ClusterPhaseMismatch.as_str() => {
                since(&known.last_transition_time, self.now)
            }
            Some(_) => Duration::ZERO,
        }
    }

    /// The edit, or the first call.
    pub(super) fn begin(&mut self) -> Next {
        if self.is_late() {
            let text = "it did not begin in time: the operator's log says what failed";
            return self.give_up(Reason::OpsRequestTimeout, text);
        }
        let cluster = self.seen.cluster.as_ref();
        let generation = cluster.and_then(|cluster| cluster.metadata.generation);
        if generation != self.status.cluster_generation && !self.has_acted() {
            // The Cluster changed after it was recorded.
            self.status.start_timestamp = None;
            let text = "the Cluster changed since it was recorded; it is read again";
            return self.wait(text.to_owned(), None);
        }
        if let Some(other) = queue::overtaken(self.request, &self.seen.requests)
            && !self.has_acted()
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
            OpsType::Custom => {
                let last = &self.status.last_configuration;
                let wishes = kinds::defragmentations(self.request, last, &self.seen.sets);
                return (Act::Defragment(wishes), Some(LOOK_AGAIN));
            }
            _ => {}
        }
        match self.changes() {
            Err(refused) => self.fail(&refused.to_string()),
            Ok(changes) => (Act::Edit(changes), Some(LOOK_AGAIN)),
        }
    }

    /// Whether the edit was made, or it was asked for, and only the record of that is missing.
    fn has_acted(&self) -> bool {
        let changes = self.changes().unwrap_or_default();
        let cluster = self.seen.cluster.as_ref();
        let edited = !changes.is_empty()
            && cluster.is_some_and(|cluster| edit::missing(cluster, &changes).is_empty());
        edited || self.withdrawal().is_some()
    }

    fn age(&self) -> Duration {
        let made = self.request.metadata.creation_timestamp.as_ref();
        made.map_or(Duration::ZERO, |made| since(made, self.now))
    }
}
