//! PURE: how a request ends or waits, what is taken off first, and when it is deleted.

use std::time::Duration;

use etcd_operator_api::OpsPhase;
use etcd_operator_api::condition::{self, ConditionType, Observation, Reason, Truth};

use super::time::{seconds, since};
use super::{Act, LOOK_AGAIN, Next, Story};
use crate::operations::kinds;

impl Story<'_> {
    /// An ended request goes when its time has come.
    pub(super) fn expire(&mut self) -> Next {
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

    /// What takes off claims and InstanceSets what still asks for it.
    pub(super) fn withdrawal(&self) -> Option<Act> {
        if !self.seen.marks.is_empty() {
            return Some(Act::Unmark);
        }
        let recovering = kinds::withdrawn(self.request, &self.seen.sets);
        if !recovering.is_empty() {
            return Some(Act::Recover(recovering));
        }
        let asking = kinds::defragmentations_withdrawn(self.request, &self.seen.sets);
        (!asking.is_empty()).then_some(Act::Defragment(asking))
    }

    /// What one that is under way could not read was written into its status, and it can now.
    pub(super) fn readable(&mut self) {
        let kind = ConditionType::WaitForProgressing;
        let under_way = matches!(
            self.status.phase,
            Some(OpsPhase::Creating | OpsPhase::Running | OpsPhase::Cancelling)
        );
        let known = condition::find(&self.status.conditions, kind);
        if under_way && known.is_some_and(|known| known.status == Truth::False.as_str()) {
            self.tell(kind, Reason::WaitForProgressing, "it continues");
        }
    }

    pub(super) fn wait(&mut self, text: String, again: Option<Duration>) -> Next {
        self.wait_for(Reason::WaitForProgressing, text, again)
    }

    /// Goes back to waiting; others read the reason.
    pub(super) fn wait_for(
        &mut self,
        reason: Reason,
        text: String,
        again: Option<Duration>,
    ) -> Next {
        self.status.phase = Some(OpsPhase::Pending);
        let kind = ConditionType::WaitForProgressing;
        self.observe(Observation::new(kind, false, reason, text));
        (Act::Record, again)
    }

    pub(super) fn refuse(&mut self, reason: Reason, text: String) -> Next {
        self.observe(Observation::new(
            ConditionType::Validated,
            false,
            reason,
            text,
        ));
        self.end(OpsPhase::Failed)
    }

    pub(super) fn fail(&mut self, text: &str) -> Next {
        self.tell(ConditionType::Failed, Reason::OpsRequestFailed, text);
        self.end(OpsPhase::Failed)
    }

    /// Ends an operation that was under way. What asks for it would be obeyed later, so that is taken off first.
    pub(super) fn give_up(&mut self, reason: Reason, text: &str) -> Next {
        if let Some(act) = self.withdrawal() {
            return (act, Some(LOOK_AGAIN));
        }
        let last = &self.status.last_configuration;
        let begun = kinds::begun(last, &self.seen.sets) + &kinds::under_way(last, &self.seen.sets);
        self.abort(reason, &format!("{text}{begun}"))
    }

    pub(super) fn abort(&mut self, reason: Reason, text: &str) -> Next {
        self.tell(ConditionType::Aborted, reason, text);
        self.end(OpsPhase::Aborted)
    }

    pub(super) fn succeed(&mut self, text: &str) -> Next {
        self.tell(
            ConditionType::Succeed,
            Reason::OpsRequestProcessedSuccessfully,
            text,
        );
        self.end(OpsPhase::Succeed)
    }

    pub(super) fn end(&mut self, phase: OpsPhase) -> Next {
        self.status.phase = Some(phase);
        self.status.completion_timestamp = Some(self.now.clone());
        (Act::Record, None)
    }

    pub(super) fn tell(&mut self, kind: ConditionType, reason: Reason, text: &str) {
        self.observe(Observation::new(kind, true, reason, text));
    }

    fn observe(&mut self, seen: Observation) {
        let generation = self.request.metadata.generation;
        condition::record(&mut self.status.conditions, &[seen], generation, self.now);
    }
}
