//! PURE: how far the rollback of an operation is that was cancelled.

use etcd_operator_api::OpsPhase;
use etcd_operator_api::condition::{self, ConditionType, Reason};

use super::time::since;
use super::{Act, LOOK_AGAIN, Next, Story};
use crate::operations::edit::{self, Change};

impl Story<'_> {
    pub(super) fn follow_cancel(&mut self) -> Next {
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
}
