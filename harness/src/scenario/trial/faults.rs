//! The faults of a trial: injected, proved, healed, looked for again; each step is recorded.

use super::state::TrialRun;
use crate::faults::{Active, Fault, FaultContext, FaultError, Target, inject};
use crate::scenario::subject::Seat;
use crate::scenario::targets::hit;
use crate::timeouts;

impl TrialRun<'_> {
    /// Injects one fault after the other, numbered from `first` on; returns those that are on.
    pub(super) async fn inject_faults(
        &mut self,
        context: &FaultContext,
        first: u32,
    ) -> Vec<(u32, Active)> {
        let mut on = Vec::new();
        for (number, fault) in (first..).zip(&self.trial.faults) {
            if self.lab.interrupt.is_asked() {
                break;
            }
            match self.inject_one(context, number, fault).await {
                Ok(active) => on.push((number, active)),
                Err(error) => {
                    self.log.doubt("faults", error.to_string());
                    break;
                }
            }
        }
        self.rest(self.trial.lasts).await;
        if self.trial.recovers_under_fault {
            self.log.phase("recover_under_fault");
            let limit = timeouts::patient(self.plan.scenario.promise.whole_again());
            let whole = self.whole(limit).await;
            self.log.judge("recovery_under_fault", whole.as_ref());
            self.log.phase("recovered_under_fault");
        }
        on
    }

    async fn inject_one(
        &mut self,
        context: &FaultContext,
        number: u32,
        fault: &Fault,
    ) -> Result<Active, FaultError> {
        self.lab.live.say(format!("fault {number}: {fault}"));
        let subject = self.subject.clone();
        let seats = subject.seats();
        let seats = if matches!(fault, Fault::ControlPlane { .. }) {
            Vec::new()
        } else {
            seats.await
        };
        let begun = self.log.now();
        let active = inject(context, fault).await;
        let mut active = self.log.injected((begun, number), fault, active)?;
        self.excuse(fault, &active.targets, &seats);
        self.log.effect(number, &mut active).await;
        Ok(active)
    }

    /// Heals in reverse order and looks for what is left.
    pub(super) async fn heal(&mut self, active: Vec<(u32, Active)>) {
        self.log.heal(active).await;
    }

    /// Effects of the fault itself are not attributed to the operator.
    fn excuse(&mut self, fault: &Fault, targets: &[Target], seats: &[Seat]) {
        let hit = hit(targets, seats);
        if matches!(
            fault,
            Fault::DeletePod { .. }
                | Fault::LoseData { .. }
                | Fault::KillNode { .. }
                | Fault::RestartNode { .. }
        ) {
            self.expectations
                .deleted_by_faults
                .extend(hit.iter().map(|seat| seat.uid.clone()));
        }
        if self.plan.scenario.promise.replaces_member {
            self.expectations
                .replaced_members
                .extend(hit.iter().map(|seat| seat.pod.clone()));
        }
    }
}
