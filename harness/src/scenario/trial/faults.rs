//! The faults of a trial: injected, proved, healed, looked for again; each step is recorded.

use etcd_history::record::FaultStep;

use super::state::TrialRun;
use crate::faults::{Active, Evidence, Fault, FaultContext, FaultError, Target, in_words, inject};
use crate::report::{Finding, Judgement};
use crate::scenario::notes::fault_record;
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
                    let reason = error.to_string();
                    self.lab.live.say(&reason);
                    self.judgements
                        .push(Judgement::new("faults", Finding::Inconclusive { reason }));
                    break;
                }
            }
        }
        self.rest(self.trial.lasts).await;
        if self.trial.recovers_under_fault {
            self.phase("recover_under_fault");
            let limit = timeouts::patient(self.plan.scenario.promise.whole_again());
            let whole = self.whole(limit).await;
            self.judge("recovery_under_fault", whole.as_ref());
            self.phase("recovered_under_fault");
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
        let begun = self.now();
        let active = inject(context, fault).await;
        let injected = self.now();
        let targets = active
            .as_ref()
            .map(|active| in_words(&active.targets))
            .unwrap_or_default();
        let note = |t, step, evidence| fault_record((t, number), fault, &targets, step, evidence);
        self.told
            .push(note(begun, FaultStep::Injecting, Evidence::new()));
        let mut active = active?;
        self.excuse(fault, &active.targets, &seats);
        self.told
            .push(note(injected, FaultStep::Injected, active.evidence.clone()));
        match active.effect().await {
            Ok(evidence) => {
                self.lab.live.say(format!("  on {targets}: {evidence}"));
                self.told
                    .push(note(self.now(), FaultStep::Effective, evidence));
            }
            Err(error) => {
                let evidence = Evidence::new().with("error", &error);
                self.told
                    .push(note(self.now(), FaultStep::Ineffective, evidence));
                let reason = error.to_string();
                self.lab.live.say(&reason);
                self.judgements
                    .push(Judgement::new("faults", Finding::Inconclusive { reason }));
            }
        }
        Ok(active)
    }

    /// Heals in reverse order and looks for what is left.
    pub(super) async fn heal(&mut self, active: Vec<(u32, Active)>) {
        for (number, mut active) in active.into_iter().rev() {
            let fault = active.fault.clone();
            let targets = in_words(&active.targets);
            let note =
                |t, step, evidence| fault_record((t, number), &fault, &targets, step, evidence);
            self.told
                .push(note(self.now(), FaultStep::Healing, Evidence::new()));
            let healed = active.heal().await;
            let at = self.now();
            let left = match &healed {
                Ok(_) => active.residue().await,
                Err(error) => Ok(Some(error.to_string())),
            };
            match left {
                Ok(None) => {
                    let healing = healed.unwrap_or_default();
                    for reason in healing.doubts {
                        self.judgements
                            .push(Judgement::new("faults", Finding::Inconclusive { reason }));
                    }
                    self.told
                        .push(note(at, FaultStep::Healed, healing.evidence));
                }
                Ok(Some(left)) => {
                    self.told.push(note(
                        at,
                        FaultStep::Residue,
                        Evidence::new().with("left", &left),
                    ));
                    let reason = format!("something of `{fault}` is left: {left}");
                    self.judgements
                        .push(Judgement::new("faults", Finding::Inconclusive { reason }));
                }
                Err(error) => {
                    let reason = format!("it is not known what is left of `{fault}`: {error}");
                    self.told.push(note(
                        at,
                        FaultStep::Residue,
                        Evidence::new().with("error", &error),
                    ));
                    self.judgements
                        .push(Judgement::new("faults", Finding::Inconclusive { reason }));
                }
            }
        }
        self.lab.live.say("healed");
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
