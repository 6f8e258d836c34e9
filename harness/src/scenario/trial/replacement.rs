//! The replacement of a member whose node is not ready for longer than its owner allows: judged while the node is off,
//! and once more when it is back.

use std::time::Duration;

use super::state::TrialRun;
use crate::faults::Target;
use crate::scenario::notes::figure;
use crate::scenario::overdue::{Before, Overdue};

/// Name of the check.
const CHECK: &str = "replacement";
/// How long after its return a node is looked at: a kubelet that is ready has begun all its pods by then.
const RETURNED: Duration = Duration::from_secs(10);

impl TrialRun<'_> {
    /// How the members are before the faults, where one of them is to be replaced.
    pub(super) async fn before_replacement(&mut self) -> Option<Before> {
        self.trial.replaced_after?;
        let before = self.lab.interrupt.or(Before::of(&self.subject)).await;
        let before = before.and_then(|before| before);
        self.log.judge(CHECK, before.as_ref());
        before.ok()
    }

    /// Whether the member on the node that was hit was replaced, and not before its owner's time.
    pub(super) async fn judge_replacement(&mut self, before: Before, hit: Vec<Target>) {
        let Some(minutes) = self.trial.replaced_after else {
            return;
        };
        let seen = Overdue::see(&self.subject, before, &hit, minutes);
        let seen = self.lab.interrupt.or(seen).await.and_then(|seen| seen);
        self.log.judge(CHECK, seen.as_ref());
        let Ok(overdue) = seen else { return };
        self.lab.live.say(overdue.told());
        let verdict = figure(CHECK, "after_s", overdue.seconds());
        self.log.verdicts.push(verdict);
        self.overdue = Some(overdue);
    }

    /// Whether the node's return has left the new member as it was, and the old one's pod and volume unused.
    pub(super) async fn judge_return(&mut self) {
        let Some(overdue) = self.overdue.take() else {
            return;
        };
        self.rest(RETURNED).await;
        let seen = overdue.stays(&self.lab.cluster, &self.subject);
        let seen = self.lab.interrupt.or(seen).await.and_then(|seen| seen);
        self.log.judge(CHECK, seen.as_ref());
        if let Ok(told) = seen {
            self.lab.live.say(told);
        }
    }
}
