//! The faults of a trial: injected, proved, healed, looked for again; each step is recorded.

use super::state::TrialRun;
use crate::faults::{Active, Fault, FaultContext, FaultError, Target, inject};
use crate::scenario::event::Moment;
use crate::scenario::subject::Seat;
use crate::scenario::targets::hit;
use crate::scenario::under_fault;
use crate::timeouts;

impl TrialRun<'_> {
    /// Injects one fault after the other, numbered from `first` on; returns those that are on.
    pub(super) async fn inject_faults(
        &mut self,
        context: &FaultContext,
        first: u32,
    ) -> Vec<(u32, Active)> {
        let before = Box::pin(self.before_replacement()).await;
        let begin = if self.trial.waits_for_events() {
            Box::pin(moment(context)).await
        } else {
            Ok(Moment::default())
        };
        let begin = match begin {
            Ok(begin) => begin,
            Err(error) => {
                self.log.doubt("faults", error);
                return Vec::new();
            }
        };
        let mut on = Vec::new();
        for ((number, place), fault) in (first..).zip(0..).zip(&self.trial.faults) {
            if self.lab.interrupt.is_asked() {
                break;
            }
            if let Some(event) = self.trial.trigger(place) {
                let event = (event, &begin, timeouts::EVENT);
                let interrupt = &self.lab.interrupt;
                let comes = self.log.await_event(event, interrupt, || moment(context));
                if !Box::pin(comes).await {
                    break;
                }
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
        if let Some(limit) = under_fault::recovery(self.trial, &self.plan.scenario.promise) {
            self.log.phase("recover_under_fault");
            let whole = self.whole(limit).await;
            self.log.judge("recovery_under_fault", whole.as_ref());
            self.log.phase("recovered_under_fault");
            if let (Ok(()), Some(before)) = (whole, before) {
                let hit = on.iter().flat_map(|(_, active)| active.targets.clone());
                Box::pin(self.judge_replacement(before, hit.collect())).await;
            }
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
        let replaces = self.plan.scenario.promise.replaces_member;
        let seats = if is_excused(fault, replaces) {
            let subject = self.subject.clone();
            let seats = subject.seats().await;
            seats.map_err(|error| FaultError::find("where the members sit", error))?
        } else {
            Vec::new()
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
        if deletes(fault) {
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

/// The members now, as far as a cluster is asked: who leads, as agents say it.
async fn moment(context: &FaultContext) -> Result<Moment, String> {
    let leader = context.leader().await.map_err(|error| error.to_string())?;
    Ok(Moment {
        leader,
        ..Moment::default()
    })
}

/// Whether pods go by a fault itself.
fn deletes(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::DeletePod { .. }
            | Fault::LoseData { .. }
            | Fault::KillNode { .. }
            | Fault::RestartNode { .. }
    )
}

/// Whether a fault has effects that must not be taken for the operator's: then it must be known where members sit.
fn is_excused(fault: &Fault, replaces_member: bool) -> bool {
    let of_members = !matches!(fault, Fault::ControlPlane { .. });
    deletes(fault) || replaces_member && of_members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Absence, Container, ControlPlanePart, NodeSelector, Selector};

    #[test]
    fn where_members_sit_is_asked_only_where_it_must_be_known() {
        let of = NodeSelector::Of(Selector::Leader);
        assert!(is_excused(&Fault::RestartNode { of }, false));
        // Which cannot be asked while there is no API server.
        let api_server = Fault::ControlPlane {
            part: ControlPlanePart::ApiServer,
            how: Absence::Frozen,
        };
        assert!(!is_excused(&api_server, true));
        let kill = Fault::KillProcess {
            container: Container::Etcd,
            of: Selector::Leader,
        };
        assert!(is_excused(&kill, true) && !is_excused(&kill, false));
    }
}
