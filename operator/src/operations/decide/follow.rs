//! PURE: how far an operation is that is under way, and how it ends by itself.

use etcd_operator_api::condition::{self, ConditionType, Reason};
use etcd_operator_api::{Cluster, OpsPhase, OpsType};
use kube::ResourceExt;

use super::{Act, LOOK_AGAIN, Next, Story};
use crate::operations::edit::{self, Change};
use crate::operations::facts::Progress;
use crate::operations::observed::NotMoved;
use crate::operations::refused::refused;
use crate::operations::{kinds, queue};

impl Story<'_> {
    /// How far it is.
    pub(super) fn follow(&mut self) -> Next {
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
        (self.ask_again(), Some(LOOK_AGAIN))
    }

    /// An InstanceSet is asked by one request at a time: what it is not asked for any more is asked once more when none
    /// goes first.
    fn ask_again(&mut self) -> Act {
        if self.request.spec.kind != OpsType::Custom {
            return Act::Record;
        }
        let last = &self.status.last_configuration;
        let lost = kinds::defragmentations_lost(self.request, last, &self.seen.sets);
        if lost.is_empty() {
            return Act::Record;
        }
        let (kind, reason) = self.kind().started();
        if let Some(first) = queue::forced_past(self.request, &self.seen.requests) {
            let text = format!(
                "OpsRequest {}, which was forced, goes first",
                first.name_any()
            );
            self.tell(kind, reason, &text);
            return Act::Record;
        }
        self.tell(kind, reason, "it is in progress");
        Act::Defragment(lost)
    }

    /// Ends an operation whose effect was seen, or that will have none. What still asks for it is taken off first.
    fn conclude(&mut self, progress: &Progress, outcome: Result<String, String>) -> Next {
        if let Some(act) = self.withdrawal() {
            return (act, Some(LOOK_AGAIN));
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
}
