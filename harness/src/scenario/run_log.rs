//! What a run has recorded so far: its phases, each step of its faults, and the verdicts of what went wrong on the way.

use std::fmt::Display;

use etcd_history::Record;
use etcd_history::record::{FaultStep, Nanos};

use crate::faults::{Active, Evidence, Fault, FaultError, in_words};
use crate::observe;
use crate::report::{Finding, Verdict};
use crate::scenario::Live;
use crate::scenario::notes::fault_record;

/// What a run has recorded so far.
pub(crate) struct RunLog {
    live: Live,
    /// What must be added to this host's wall clock to get the recording client's.
    pub(crate) offset: Nanos,
    /// Records of the run.
    pub(crate) told: Vec<Record>,
    /// What the run found by itself.
    pub(crate) verdicts: Vec<Verdict>,
}

impl RunLog {
    pub(crate) fn new(live: &Live) -> Self {
        Self {
            live: live.clone(),
            offset: 0,
            told: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    pub(crate) fn phase(&mut self, name: &str) {
        self.live.say(format!("phase {name}"));
        self.told.push(Record::Phase {
            t: self.now(),
            name: name.to_owned(),
        });
    }

    /// A step of the run that failed is a violation.
    pub(crate) fn judge<T>(&mut self, check: &'static str, result: Result<T, &impl Display>) {
        if let Err(error) = result {
            self.violation(check, error.to_string());
        }
    }

    pub(crate) fn violation(&mut self, check: &'static str, explanation: String) {
        self.live.say(format!("{check}: {explanation}"));
        let ops = Vec::new();
        let finding = Finding::Violation { explanation, ops };
        self.verdicts.push(Verdict::new(check, finding));
    }

    /// Something because of which the run proves nothing.
    pub(crate) fn doubt(&mut self, check: &'static str, reason: String) {
        self.live.say(format!("{check}: {reason}"));
        let finding = Finding::Inconclusive { reason };
        self.verdicts.push(Verdict::new(check, finding));
    }

    pub(crate) fn now(&self) -> Nanos {
        observe::now(self.offset)
    }

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
                self.doubt("faults", error.to_string());
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
                        self.doubt("faults", reason);
                    }
                    self.told
                        .push(note(at, FaultStep::Healed, healing.evidence));
                }
                Ok(Some(left)) => {
                    let evidence = Evidence::new().with("left", &left);
                    self.told.push(note(at, FaultStep::Residue, evidence));
                    self.doubt("faults", format!("something of `{fault}` is left: {left}"));
                }
                Err(error) => {
                    let evidence = Evidence::new().with("error", &error);
                    self.told.push(note(at, FaultStep::Residue, evidence));
                    let reason = format!("it is not known what is left of `{fault}`: {error}");
                    self.doubt("faults", reason);
                }
            }
        }
        self.live.say("healed");
    }
}
