//! Operations and faults under load, phase by phase: warm up, fault, heal, settle, final.
//!
//! Whatever fails becomes a judgement and the story goes on to its end as far as it can: faults are healed and the
//! history is fetched in any case.

mod set_up;

use std::time::Duration;

use etcd_history::check::Expectations;
use etcd_history::record::{FaultRecord, FaultStep, Nanos};
use etcd_history::{History, Record};

use crate::faults::{Active, Evidence, Fault, FaultContext, FaultError, Target, in_words, inject};
use crate::observe::{self, MachineLog};
use crate::report::{Finding, Judgement};
use crate::scenario::client::RecordingClient;
use crate::scenario::description::Trial;
use crate::scenario::merge::merge;
use crate::scenario::notes::{fault_record, figure};
use crate::scenario::operation::{self, Asked, Operation};
use crate::scenario::runner::Found;
use crate::scenario::sizes::{leaving, sizes};
use crate::scenario::subject::{self, Seat, Subject};
use crate::scenario::targets::hit;
use crate::scenario::{Lab, Plan, RunError};
use crate::timeouts;
use crate::wait::pause;

use set_up::Stage;

/// Fewest member lists that an operation must have been watched by.
const MEMBER_LISTS: u32 = 8;

/// Time under load between two rounds.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);

/// One run of a trial.
pub(super) struct Story<'a> {
    lab: &'a Lab,
    plan: &'a Plan,
    subject: Subject,
    trial: &'a Trial,
    offset: Nanos,
    told: Vec<Record>,
    judgements: Vec<Judgement>,
    expectations: Expectations,
    machine: Option<MachineLog>,
}

impl<'a> Story<'a> {
    pub(super) fn new(
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
        expectations.in_time = plan.scenario.promise.in_time(trial);
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

    /// The whole story.
    pub(super) async fn tell(mut self) -> Found {
        match MachineLog::start() {
            Ok(log) => self.machine = Some(log),
            Err(error) => self
                .lab
                .live
                .say(format!("the machine is not sampled: {error}")),
        }
        let stage = match self.set_up().await {
            Ok(Some(stage)) => stage,
            Ok(None) => return self.found(History::default()),
            Err(error) => {
                self.judge("set_up", Err::<(), _>(&error));
                return self.found(History::default());
            }
        };
        self.phase("warm_up");
        let look = async {
            let namespace = &self.subject.namespace;
            let context = FaultContext::new(&self.lab.cluster, namespace, subject::CLUSTER).await;
            let context = context.with_seed(self.plan.seed);
            context.look().await;
            context
        };
        let (context, ()) = tokio::join!(look, self.rest(self.trial.warm_up));
        if self.trial.operations.is_empty() {
            self.repeat(&context).await;
        } else {
            self.phase("fault");
            self.operate(&context).await;
            self.recover().await;
        }
        self.phase("settle");
        self.rest(self.trial.settle).await;
        self.phase("final");
        let history = self.finish(stage).await;
        self.found(history)
    }

    /// The faults, round by round, until one does not take effect or the cluster does not get well again.
    async fn repeat(&mut self, context: &FaultContext) {
        let each = u32::try_from(self.trial.faults.len()).unwrap_or_default();
        for round in 0..self.trial.rounds {
            if round > 0 {
                self.rest(BETWEEN_ROUNDS).await;
                context.look().await;
            }
            if self.lab.interrupt.is_asked() {
                return;
            }
            self.phase("fault");
            // Another seed, so that it is not the same follower each time.
            let seed = self.plan.seed.wrapping_add(u64::from(round));
            let context = context.clone().with_seed(seed);
            let active = self.hurt(&context, round * each).await;
            self.phase("heal");
            let all = active.len() == self.trial.faults.len();
            self.heal(active).await;
            if !self.recover().await || !all {
                return;
            }
        }
    }

    /// One operation after the other; the faults come while the first is under way.
    async fn operate(&mut self, context: &FaultContext) {
        let trial = self.trial;
        let first = u32::try_from(trial.faults.len()).unwrap_or_default();
        for (number, operation) in (first..).zip(trial.operations.iter().copied()) {
            let begun = self.lab.live.seconds();
            let lab = self.lab;
            let asked = lab.interrupt.or(self.ask(operation, number)).await;
            let asked = asked.and_then(|asked| asked);
            if number == first && !trial.faults.is_empty() {
                let active = self.hurt(context, 0).await;
                self.heal(active).await;
            }
            let done = match asked {
                Ok(mut asked) => {
                    let seen = self.see_through(operation, number, &mut asked);
                    lab.interrupt.or(seen).await.and_then(|seen| seen)
                }
                Err(error) => Err(error),
            };
            self.judge("operation", done.as_ref());
            if done.is_err() {
                return;
            }
            let took = self.lab.live.seconds() - begun;
            let word = operation.word();
            self.lab.live.say(format!("{word} done after {took:.1} s"));
            let name = format!("{}_s", word.replace('-', "_"));
            self.judgements.push(figure("operation_time", &name, took));
            let after = operation.members_after(self.subject.members);
            self.subject = self.subject.with_members(after);
            // Traffic between two operations shows that the first one has left nothing behind.
            if number + 1 < first + u32::try_from(trial.operations.len()).unwrap_or_default() {
                self.rest(trial.settle).await;
            }
        }
    }

    /// Makes the request and waits until it has begun.
    async fn ask(&mut self, operation: Operation, number: u32) -> Result<Asked, RunError> {
        let word = operation.word();
        self.lab.live.say(format!("operation {number}: {word}"));
        if operation == Operation::StopAndStart {
            let seats = self.subject.seats().await.into_iter();
            let uids = seats.map(|seat| seat.uid);
            self.expectations.deleted_by_faults.extend(uids);
        }
        self.phase(&format!("operation_{number}"));
        self.note(operation, number, FaultStep::Injecting, "");
        let leader = self.subject.leader().await.unwrap_or_default();
        self.expectations
            .replaced_members
            .extend(operation.replaces(&self.subject.pod_names(), &leader));
        let asked = operation::ask(&self.subject, operation, number, &leader).await?;
        self.note(operation, number, FaultStep::Injected, "");
        let told = asked.begun().await?;
        self.note(operation, number, FaultStep::Effective, &told.text);
        Ok(asked)
    }

    /// Waits for its end, which must be success.
    async fn see_through(
        &mut self,
        operation: Operation,
        number: u32,
        asked: &mut Asked,
    ) -> Result<(), RunError> {
        let told = asked.ended(timeouts::patient(timeouts::OPERATION)).await?;
        self.note(operation, number, FaultStep::Healing, &told.text);
        if !told.succeeded() {
            let what = format!("{} ended {}: {}", operation.word(), told.phase, told.text);
            return Err(RunError::Wait(what));
        }
        self.note(operation, number, FaultStep::Healed, &told.text);
        self.phase(&format!("operation_{number}_done"));
        let after = operation.members_after(self.subject.members);
        let subject = self.subject.with_members(after);
        let replaced = asked.replaced.as_deref();
        operation.proof(&subject, &asked.before, replaced).await
    }

    fn note(&mut self, operation: Operation, number: u32, step: FaultStep, text: &str) {
        let evidence = match text {
            "" => Evidence::new(),
            text => Evidence::new().with("told", text),
        };
        self.told.push(Record::Fault(FaultRecord {
            t: self.now(),
            fault: number,
            name: operation.word(),
            target: subject::CLUSTER.to_owned(),
            step,
            evidence: evidence.into_map(),
            writes: Vec::new(),
        }));
    }

    /// Injects one fault after the other, numbered from `first` on; gives those that are on.
    async fn hurt(&mut self, context: &FaultContext, first: u32) -> Vec<(u32, Active)> {
        let mut on = Vec::new();
        for (number, fault) in (first..).zip(&self.trial.faults) {
            if self.lab.interrupt.is_asked() {
                break;
            }
            match self.hurt_once(context, number, fault).await {
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

    async fn hurt_once(
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
    async fn heal(&mut self, active: Vec<(u32, Active)>) {
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

    /// All members ready and labelled again; false when they are not.
    async fn recover(&mut self) -> bool {
        self.phase("recover");
        let limit = timeouts::patient(self.plan.scenario.promise.whole_again());
        let begin = self.lab.live.seconds();
        let whole = self.whole(limit).await;
        let took = self.lab.live.seconds() - begin;
        if whole.is_ok() {
            self.lab.live.say(format!("whole again after {took:.1} s"));
        }
        self.judge("recovery", whole.as_ref());
        if whole.is_ok() {
            self.phase("recovered");
        }
        whole.is_ok()
    }

    async fn whole(&self, limit: Duration) -> Result<(), RunError> {
        let whole = self.subject.wait_whole(limit);
        self.lab.interrupt.or(whole).await.and_then(|whole| whole)
    }

    /// Lets time pass, unless the run is to end.
    async fn rest(&self, duration: Duration) {
        let _ = self.lab.interrupt.or(pause(duration)).await;
    }

    /// Stops the traffic, lets the client read what is left, fetches the history.
    async fn finish(&mut self, stage: Stage) -> History {
        let stopped = stage.client.stop().await;
        self.judge("stop", stopped.as_ref());
        if !self.lab.interrupt.is_asked() {
            self.read_all(&stage.client).await;
        }
        stage.lines.abort();
        let client = stage.client.history().await;
        self.judge("history", client.as_ref().map(|_| ()));
        let mut seen = stage.observer.finish().await;
        let machine = self.machine.take();
        seen.extend(machine.into_iter().flat_map(|log| log.finish(self.offset)));
        merge(
            client.unwrap_or_default(),
            seen,
            std::mem::take(&mut self.told),
        )
    }

    /// Lets the client read what every member has at the end.
    async fn read_all(&mut self, client: &RecordingClient) {
        let summary = client.finish(&self.subject).await;
        if let Ok(summary) = &summary {
            self.lab.live.say(format!("final: {summary}"));
            if summary["unread"]
                .as_array()
                .is_some_and(|unread| !unread.is_empty())
            {
                let explanation = format!(
                    "not every member could be read at the end: {}",
                    summary["unread"]
                );
                self.judgements.push(Judgement::new(
                    "final",
                    Finding::Violation {
                        explanation,
                        ops: vec![],
                    },
                ));
            }
        }
        self.judge("final", summary.as_ref().map(|_| ()));
    }

    /// What a fault itself has done is not the operator's doing.
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

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over what `as_ref` gives them"
    )]
    fn judge<T>(&mut self, check: &str, result: Result<T, &RunError>) {
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

    fn phase(&mut self, name: &str) {
        self.lab.live.say(format!("phase {name}"));
        self.told.push(Record::Phase {
            t: self.now(),
            name: name.to_owned(),
        });
    }

    fn now(&self) -> Nanos {
        observe::now(self.offset)
    }

    fn found(self, history: History) -> Found {
        let judged = !history.records.is_empty();
        let expectations = judged.then_some(self.expectations);
        Found {
            history,
            expectations,
            judgements: self.judgements,
        }
    }
}
