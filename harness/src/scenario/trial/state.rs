//! One run of a trial: what it acts on, and what it has recorded so far.

use std::time::Duration;

use etcd_history::History;
use etcd_history::check::Expectations;
use etcd_operator_api::settings;

use crate::faults::Fault;
use crate::observe::MachineLog;
use crate::scenario::auto_compaction;
use crate::scenario::description::Trial;
use crate::scenario::label_lag;
use crate::scenario::outcome::Found;
use crate::scenario::outside::Outside;
use crate::scenario::overdue::Overdue;
use crate::scenario::run_log::RunLog;
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
    pub(super) log: RunLog,
    pub(super) expectations: Expectations,
    pub(super) machine: Option<MachineLog>,
    /// Where the client runs, if that is outside of the Kubernetes cluster.
    pub(super) outside: Option<Outside>,
    /// The member that was replaced because its node was not ready for too long.
    pub(super) overdue: Option<Overdue>,
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
        let mut promise = plan.scenario.promise;
        if trial.settings.contains(&(settings::FAST_ELECTION, "false")) {
            promise = promise.elected_by_timers();
        }
        let expectations = promise.expectations(most, trial.events());
        let mut expectations = trial.load.expected(expectations);
        expectations.label_lag_ms = label_lag::of(expectations.label_lag_ms, &trial.faults);
        expectations.members = least;
        let usual = auto_compaction::DEFINED;
        expectations.auto_compaction = auto_compaction::of(&trial.settings, usual);
        expectations.members_relay = trial.settings.contains(&(settings::RELAY_CLIENTS, "true"));
        if !trial.operations.is_empty() {
            let moves = |fault: &&Fault| matches!(fault, Fault::DeletePod { .. });
            let more = trial.faults.iter().filter(moves).count() as u64;
            let terms = &mut expectations.terms_per_round;
            let restarts = trial.operations.iter().map(|asked| asked.more_restarts());
            let more = more + restarts.max().unwrap_or_default();
            // Those that come during the first may each move leadership once.
            let others = trial.operations.len().saturating_sub(1) as u64;
            let more = more + if trial.overlap { others } else { 0 };
            *terms = terms.map(|terms| terms + more);
            // What restarts members meanwhile elects too, each time.
            expectations.terms_per_election = None;
        }
        let control_planes = lab.cluster.control_planes().into_iter();
        expectations.control_planes = control_planes.map(str::to_owned).collect();
        expectations.leaving = leaving(subject, &trial.operations);
        expectations.in_time = trial.in_time(plan.scenario.promise.whole_again());
        expectations.member_lists = match trial.operations.is_empty() {
            true => 0,
            false => MEMBER_LISTS,
        };
        Self {
            lab,
            plan,
            subject: subject.clone().replaced_after(trial.replaced_after),
            trial,
            log: RunLog::new(&lab.live),
            expectations,
            machine: None,
            outside: None,
            overdue: None,
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

    pub(super) fn found(self, history: History) -> Found {
        let judged = !history.records.is_empty() && self.trial.probes.is_empty();
        let expectations = judged.then_some(self.expectations);
        Found {
            history,
            expectations,
            verdicts: self.log.verdicts,
        }
    }
}
