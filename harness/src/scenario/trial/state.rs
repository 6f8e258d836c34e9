//! One run of a trial: what it acts on, and what it has recorded so far.

use std::time::Duration;

use etcd_history::check::Expectations;
use etcd_history::record::Nanos;
use etcd_history::{History, Record};

use crate::faults::Fault;
use crate::observe::{self, MachineLog};
use crate::report::{Finding, Judgement};
use crate::scenario::description::Trial;
use crate::scenario::outcome::Found;
use crate::scenario::sizes::{leaving, sizes};
use crate::scenario::subject::Subject;
use crate::scenario::{Lab, Plan, RunError};
use crate::wait::pause;

/// Fewest member lists that an operation must have been watched by.
const MEMBER_LISTS: u32 = 8;

/// One run of a trial.
pub(in crate::scenario) struct TrialRun<'a> {
    pub(super) lab: &'a Lab,
    pub(super) plan: &'a Plan,
    pub(super) subject: Subject,
    pub(super) trial: &'a Trial,
    pub(super) offset: Nanos,
    pub(super) told: Vec<Record>,
    pub(super) judgements: Vec<Judgement>,
    pub(super) expectations: Expectations,
    pub(super) machine: Option<MachineLog>,
}

impl<'a> TrialRun<'a> {
    pub(in crate::scenario) fn new(
        lab: &'a Lab,
        plan: &'a Plan,
        subject: &'a Subject,
        trial: &'a Trial,
    ) -> Self {
        let sizes = sizes(plan.members, &trial.operations);
        // What every size has is asked of the whole run; members that came are read one by one at the end.
        let least = sizes.iter().copied().min().unwrap_or(plan.members);
        let most = sizes.iter().copied().max().unwrap_or(plan.members);
        let mut expectations = plan.scenario.promise.expectations(most, trial.events());
        expectations.operations.extend(trial.load.kinds());
        expectations.members = least;
        if !trial.operations.is_empty() {
            let moves = |fault: &&Fault| matches!(fault, Fault::DeletePod { .. });
            let more = trial.faults.iter().filter(moves).count() as u64;
            let terms = &mut expectations.terms_per_round;
            *terms = terms.map(|terms| terms + more);
        }
        expectations.leaving = leaving(subject, &trial.operations);
        expectations.in_time = trial.in_time(plan.scenario.promise.whole_again());
        expectations.member_lists = match trial.operations.is_empty() {
            true => 0,
            false => MEMBER_LISTS,
        };
        Self {
            lab,
            plan,
            subject: subject.clone(),
            trial,
            offset: 0,
            told: Vec::new(),
            judgements: Vec::new(),
            expectations,
            machine: None,
        }
    }

    pub(super) async fn whole(&self, limit: Duration) -> Result<(), RunError> {
        let whole = self.subject.wait_whole(limit);
        self.lab.interrupt.or(whole).await.and_then(|whole| whole)
    }

    /// Lets time pass, unless the run is to end.
    pub(super) async fn rest(&self, duration: Duration) {
        let _ = self.lab.interrupt.or(pause(duration)).await;
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers pass what `as_ref` returns"
    )]
    pub(super) fn judge<T>(&mut self, check: &str, result: Result<T, &RunError>) {
        if let Err(error) = result {
            self.lab.live.say(format!("{check}: {error}"));
            let explanation = error.to_string();
            self.judgements.push(Judgement::new(
                check,
                Finding::Violation {
                    explanation,
                    ops: vec![],
                },
            ));
        }
    }

    pub(super) fn phase(&mut self, name: &str) {
        self.lab.live.say(format!("phase {name}"));
        self.told.push(Record::Phase {
            t: self.now(),
            name: name.to_owned(),
        });
    }

    pub(super) fn now(&self) -> Nanos {
        observe::now(self.offset)
    }

    pub(super) fn found(self, history: History) -> Found {
        let judged = !history.records.is_empty();
        let expectations = judged.then_some(self.expectations);
        Found {
            history,
            expectations,
            judgements: self.judgements,
        }
    }
}
