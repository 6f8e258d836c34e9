//! The life of a fault in a run, step by step: each is recorded, and what is wrong with one is a judgement.

use etcd_history::Record;
use etcd_history::record::{FaultStep, Nanos};

use crate::faults::{Active, Evidence, Fault, FaultError, in_words};
use crate::observe;
use crate::report::{Finding, Judgement};
use crate::scenario::Live;
use crate::scenario::notes::fault_record;

/// Where the steps of a run's faults are recorded.
pub(crate) struct Steps<'a> {
    /// Where progress is printed.
    pub(crate) live: &'a Live,
    /// What must be added to this host's wall clock to get the recording client's.
    pub(crate) offset: Nanos,
    /// Records of the run.
    pub(crate) told: &'a mut Vec<Record>,
    /// Judgements of the run.
    pub(crate) judgements: &'a mut Vec<Judgement>,
}

impl Steps<'_> {
    /// Records an injection that began then and has just returned.
    ///
    /// # Errors
    /// That of the injection.
    pub(crate) fn injected(
        &mut self,
        (begun, number): (Nanos, u32),
        fault: &Fault,
        active: Result<Active, FaultError>,
    ) -> Result<Active, FaultError> {
        let targets = active
            .as_ref()
            .map(|active| in_words(&active.targets))
            .unwrap_or_default();
        let now = self.now();
        let note = |t, step, evidence| fault_record((t, number), fault, &targets, step, evidence);
        self.told
            .push(note(begun, FaultStep::Injecting, Evidence::new()));
        let active = active?;
        self.told
            .push(note(now, FaultStep::Injected, active.evidence.clone()));
        Ok(active)
    }

    /// Looks for the effect of a fault; without one the run proves nothing.
    pub(crate) async fn effect(&mut self, number: u32, active: &mut Active) {
        let seen = active.effect().await;
        let targets = in_words(&active.targets);
        let now = self.now();
        let note =
            |step, evidence| fault_record((now, number), &active.fault, &targets, step, evidence);
        match seen {
            Ok(evidence) => {
                self.live.say(format!("  on {targets}: {evidence}"));
                self.told.push(note(FaultStep::Effective, evidence));
            }
            Err(error) => {
                let evidence = Evidence::new().with("error", &error);
                self.told.push(note(FaultStep::Ineffective, evidence));
                let reason = error.to_string();
                self.live.say(&reason);
                self.doubt(reason);
            }
        }
    }

    /// Heals in reverse order and looks for what is left.
    pub(crate) async fn heal(&mut self, active: Vec<(u32, Active)>) {
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
                        self.doubt(reason);
                    }
                    self.told
                        .push(note(at, FaultStep::Healed, healing.evidence));
                }
                Ok(Some(left)) => {
                    let evidence = Evidence::new().with("left", &left);
                    self.told.push(note(at, FaultStep::Residue, evidence));
                    self.doubt(format!("something of `{fault}` is left: {left}"));
                }
                Err(error) => {
                    let evidence = Evidence::new().with("error", &error);
                    self.told.push(note(at, FaultStep::Residue, evidence));
                    self.doubt(format!(
                        "it is not known what is left of `{fault}`: {error}"
                    ));
                }
            }
        }
        self.live.say("healed");
    }

    fn doubt(&mut self, reason: String) {
        let finding = Finding::Inconclusive { reason };
        self.judgements.push(Judgement::new("faults", finding));
    }

    fn now(&self) -> Nanos {
        observe::now(self.offset)
    }
}
