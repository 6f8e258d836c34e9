//! Operations and faults under load, phase by phase: warm up, fault, heal, settle, final.
//!
//! Whatever fails becomes a verdict and the run continues to its end as far as it can: faults are healed and the
//! history is fetched in any case.

mod faults;
mod finish;
mod operations;
mod replacement;
mod set_up;
mod state;

use std::time::Duration;

use etcd_history::History;

use crate::faults::FaultContext;
use crate::observe::MachineLog;
use crate::scenario::outcome::Found;
use crate::scenario::subject;
use crate::scenario::under_fault;
use crate::timeouts;

pub(super) use state::TrialRun;

/// Time under load between two rounds.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);

impl TrialRun<'_> {
    /// Runs it: set-up, warm-up, faults or operations, settling, final reads.
    pub(super) async fn run(mut self) -> Found {
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
                self.log.judge_set_up(&error);
                return self.found(History::default());
            }
        };
        self.log.phase("warm_up");
        let look = async {
            let namespace = &self.subject.namespace;
            let context = FaultContext::new(&self.lab.cluster, namespace, subject::CLUSTER).await;
            let context = context
                .with_seed(self.plan.seed)
                .with_dead_man(under_fault::dead_man(
                    self.trial,
                    &self.plan.scenario.promise,
                ));
            context.look().await;
            context
        };
        let (context, ()) = tokio::join!(look, self.rest(self.trial.warm_up));
        if self.trial.operations.is_empty() {
            self.repeat(&context).await;
        } else {
            self.log.phase("fault");
            self.operate(&context).await;
            self.recover().await;
        }
        self.log.phase("settle");
        self.rest(self.trial.settle).await;
        self.log.phase("final");
        let history = self.finish(stage).await;
        self.found(history)
    }

    /// The faults, round by round, until one does not take effect or the cluster does not recover.
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
            self.log.phase("fault");
            // Another seed, so that it is not the same follower each time.
            let seed = self.plan.seed.wrapping_add(u64::from(round));
            let context = context.clone().with_seed(seed);
            let active = self.inject_faults(&context, round * each).await;
            self.log.phase("heal");
            let all = active.len() == self.trial.faults.len();
            self.heal(active).await;
            if !self.recover().await || !all {
                return;
            }
            Box::pin(self.judge_return()).await;
        }
    }

    /// All members ready and labelled again; false when they are not.
    async fn recover(&mut self) -> bool {
        self.log.phase("recover");
        let limit = timeouts::patient(self.plan.scenario.promise.whole_again());
        let begin = self.lab.live.seconds();
        let whole = self.whole(limit).await;
        let took = self.lab.live.seconds() - begin;
        if whole.is_ok() {
            self.lab.live.say(format!("recovered after {took:.1} s"));
        }
        self.log.judge("recovery", whole.as_ref());
        if whole.is_ok() {
            self.log.phase("recovered");
        }
        whole.is_ok()
    }
}
