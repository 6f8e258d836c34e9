//! The operations of a trial: each is requested, watched to its end and proved; the faults come during the first.

use etcd_history::Record;
use etcd_history::record::{FaultRecord, FaultStep};

use super::state::TrialRun;
use crate::faults::{Evidence, FaultContext};
use crate::scenario::RunError;
use crate::scenario::archive::Archived;
use crate::scenario::backup::BackUp;
use crate::scenario::growth;
use crate::scenario::moving::Moving;
use crate::scenario::notes::figure;
use crate::scenario::operation::{self, Asked, Operation};
use crate::scenario::rotation::{Rotation, What};
use crate::scenario::subject::{self, Subject};
use crate::scenario::too_large::TooLarge;
use crate::timeouts;

/// What was asked for: an OpsRequest, a backup, or an edit.
enum Request {
    Ops(Asked),
    BackUp(BackUp),
    Archive(Box<Archived>),
    Rotation(Box<Rotation>),
    Moving(Box<Moving>),
    TooLarge(Box<TooLarge>),
}

impl TrialRun<'_> {
    /// One operation after the other; the faults come while the first is under way, and so do the others of a trial
    /// whose operations overlap.
    pub(super) async fn operate(&mut self, context: &FaultContext) {
        let first = u32::try_from(self.trial.first_operation()).unwrap_or_default();
        let mut rest = (first..).zip(self.trial.operations.iter().copied());
        let Some((number, operation)) = rest.next() else {
            return;
        };
        let mut done = Box::pin(self.operate_first(operation, number, &mut rest, context)).await;
        while let (true, Some((number, operation))) = (done, rest.next()) {
            // Traffic between two operations shows that the first one has left nothing behind.
            self.rest(self.trial.settle).await;
            done = self.operate_one(operation, number).await;
        }
    }

    /// The first operation, and what comes in the middle of it; false when it was not done.
    async fn operate_first(
        &mut self,
        operation: Operation,
        number: u32,
        others: &mut impl Iterator<Item = (u32, Operation)>,
        context: &FaultContext,
    ) -> bool {
        let (begun, lab) = (self.lab.live.seconds(), self.lab);
        let asked = lab.interrupt.or(self.ask(operation, number)).await;
        let mut asked = asked.and_then(|asked| asked);
        for step in 0..self.trial.steps {
            if step > 0 {
                let Ok(Request::Rotation(rotation)) = &mut asked else {
                    break;
                };
                let next = lab.interrupt.or(rotation.next_step()).await;
                match next.and_then(|next| next) {
                    Ok(word) => lab.live.say(format!("step {}: {word}", step + 1)),
                    Err(error) => {
                        asked = Err(error);
                        break;
                    }
                }
                context.look().await;
            }
            if !self.trial.faults.is_empty() {
                let each = u32::try_from(self.trial.faults.len()).unwrap_or_default();
                let active = self.inject_faults(context, step * each).await;
                self.heal(active).await;
            }
            // At the steps between members are restarted, and OpsRequests of other types may not begin.
            let free = self.trial.overlap && step % 2 == 0;
            let other = free.then(|| others.next()).flatten();
            if let Some((number, operation)) = other
                && !self.operate_one(operation, number).await
            {
                return false;
            }
        }
        self.complete(operation, number, asked, begun).await
    }

    /// One operation; false when it was not done.
    async fn operate_one(&mut self, operation: Operation, number: u32) -> bool {
        let (begun, lab) = (self.lab.live.seconds(), self.lab);
        let asked = lab.interrupt.or(self.ask(operation, number)).await;
        self.complete(operation, number, asked.and_then(|asked| asked), begun)
            .await
    }

    /// Waits for the end of what was asked for, and judges it; false when it was not done.
    async fn complete(
        &mut self,
        operation: Operation,
        number: u32,
        asked: Result<Request, RunError>,
        begun: f64,
    ) -> bool {
        let lab = self.lab;
        let done = match asked {
            Ok(mut asked) => {
                let seen = self.see_through(operation, number, &mut asked);
                lab.interrupt.or(seen).await.and_then(|seen| seen)
            }
            Err(error) => Err(error),
        };
        self.log.judge("operation", done.as_ref());
        if done.is_err() {
            return false;
        }
        let took = lab.live.seconds() - begun;
        let word = operation.word();
        lab.live.say(format!("{word} done after {took:.1} s"));
        let name = format!("{}_s", word.replace('-', "_"));
        let verdict = figure("operation_time", &name, took);
        self.log.verdicts.push(verdict);
        let after = operation.members_after(self.subject.members);
        self.subject = self.subject.with_members(after);
        true
    }

    /// Makes the request and waits until it has begun.
    async fn ask(&mut self, operation: Operation, number: u32) -> Result<Request, RunError> {
        let word = operation.word();
        self.lab.live.say(format!("operation {number}: {word}"));
        if matches!(
            operation,
            Operation::StopAndStart | Operation::RecoverQuorum
        ) {
            let seats = self.subject.seats().await?.into_iter();
            let uids = seats.map(|seat| seat.uid);
            self.expectations.deleted_by_faults.extend(uids);
        }
        self.log.phase(&format!("operation_{number}"));
        self.note(operation, number, FaultStep::Injecting, "");
        if operation == Operation::BackUpAndRestore {
            let backup = BackUp::ask(&self.subject, number).await?;
            self.note(operation, number, FaultStep::Injected, "");
            let told = backup.begun().await?;
            self.note(operation, number, FaultStep::Effective, &told);
            return Ok(Request::BackUp(backup));
        }
        if operation == Operation::ArchiveAndRestore {
            let (image, seed) = (&self.lab.client_image, self.plan.seed);
            let mut archive = Archived::ask(&self.subject, number, image, seed).await?;
            self.note(operation, number, FaultStep::Injected, "");
            let told = archive.begun().await?;
            self.note(operation, number, FaultStep::Effective, &told);
            return Ok(Request::Archive(Box::new(archive)));
        }
        let rotates = match operation {
            Operation::RotateCa => Some(What::Ca),
            Operation::RotatePassword => Some(What::Password),
            _ => None,
        };
        if let Some(what) = rotates {
            let mut rotation = Rotation::ask(&self.subject, what).await?;
            self.note(operation, number, FaultStep::Injected, "");
            let told = rotation.begun().await?;
            self.note(operation, number, FaultStep::Effective, &told);
            return Ok(Request::Rotation(Box::new(rotation)));
        }
        let leader = self.subject.leader().await.unwrap_or_default();
        self.expectations
            .replaced_members
            .extend(operation.renews(&self.subject.pod_names(), &leader));
        if operation == Operation::MoveVolumes {
            let moving = Moving::ask(&self.subject).await?;
            self.note(operation, number, FaultStep::Injected, "");
            let told = moving.begun().await?;
            self.note(operation, number, FaultStep::Effective, &told);
            return Ok(Request::Moving(Box::new(moving)));
        }
        self.ask_by_request(operation, number, &leader).await
    }

    /// Makes an OpsRequest and waits until it has begun, or as far as it can come.
    async fn ask_by_request(
        &mut self,
        operation: Operation,
        number: u32,
        leader: &str,
    ) -> Result<Request, RunError> {
        let asked = operation::ask(&self.subject, operation, number, leader).await?;
        self.note(operation, number, FaultStep::Injected, "");
        if let Operation::GrowTooFar { then, .. } = operation {
            let growth = TooLarge::of(&self.subject, operation, asked, then);
            let told = growth.refused().await?;
            self.lab.live.say(&told);
            self.note(operation, number, FaultStep::Effective, &told);
            return Ok(Request::TooLarge(Box::new(growth)));
        }
        let told = asked.begun().await?;
        self.note(operation, number, FaultStep::Effective, &told.text);
        Ok(Request::Ops(asked))
    }

    /// Waits for its end, which must be success.
    async fn see_through(
        &mut self,
        operation: Operation,
        number: u32,
        request: &mut Request,
    ) -> Result<(), RunError> {
        let limit = timeouts::patient(timeouts::OPERATION);
        if !matches!(request, Request::Ops(_)) {
            self.note(operation, number, FaultStep::Healing, "");
        }
        let seen = match request {
            Request::Ops(asked) => {
                return Box::pin(self.see_request_through(operation, number, asked)).await;
            }
            Request::BackUp(backup) => backup.ended(limit).await?,
            Request::Archive(archive) => archive.ended(limit).await?,
            Request::Rotation(rotation) => rotation.ended(&self.subject, operation.limit()).await?,
            Request::Moving(moving) => moving.ended(limit).await?,
            Request::TooLarge(growth) => {
                let seen = growth.ended(limit).await?;
                Box::pin(self.grown(&self.subject, growth.then)).await?;
                seen
            }
        };
        self.proved(operation, number, &seen);
        Ok(())
    }

    /// The same, of an OpsRequest.
    async fn see_request_through(
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
        self.log.phase(&format!("operation_{number}_done"));
        let after = operation.members_after(self.subject.members);
        let subject = self.subject.with_members(after);
        let replaced = asked.replaced.as_ref();
        operation.proof(&subject, &asked.before, replaced).await?;
        match (operation, &self.outside) {
            (Operation::Balance, Some(outside)) => {
                Box::pin(outside.reach(&subject, &operation::exposed())).await
            }
            (Operation::Grow(mebibytes), _) => Box::pin(self.grown(&subject, mebibytes)).await,
            _ => Ok(()),
        }
    }

    /// Whether etcd of each pod sees the larger file system.
    async fn grown(&self, subject: &Subject, mebibytes: u32) -> Result<(), RunError> {
        let found = growth::look(&self.lab.cluster, subject).await?;
        let told: Vec<String> = found.iter().map(|(pod, n)| format!("{pod} {n}")).collect();
        self.lab
            .live
            .say(format!("bytes of file systems: {}", told.join(", ")));
        match growth::lacking(&found, subject.members, mebibytes) {
            None => Ok(()),
            Some(wrong) => Err(RunError::Wait(format!(
                "volumes of {mebibytes}Mi, which the request says that there are: {wrong}"
            ))),
        }
    }

    /// What was asked for has been seen to be done.
    fn proved(&mut self, operation: Operation, number: u32, seen: &str) {
        self.lab.live.say(seen);
        self.note(operation, number, FaultStep::Healed, seen);
        self.log.phase(&format!("operation_{number}_done"));
    }

    fn note(&mut self, operation: Operation, number: u32, step: FaultStep, text: &str) {
        let evidence = match text {
            "" => Evidence::new(),
            text => Evidence::new().with("told", text),
        };
        self.log.told.push(Record::Fault(FaultRecord {
            t: self.log.now(),
            fault: number,
            name: operation.word(),
            target: subject::CLUSTER.to_owned(),
            step,
            evidence: evidence.into_map(),
            writes: Vec::new(),
        }));
    }
}
