//! Runs on the cluster. While one is saved and judged, the cluster of the next is set up on a thread and a runtime of
//! its own; its traffic waits for its turn.

use std::sync::OnceLock;
use std::thread::JoinHandle;

use e2e::relay::Runs;
use harness::cluster::Choice;
use harness::scenario::{
    Interrupt, Lab, Live, Measured, Plan, RunError, TrialResult, Turn, TurnGiver, ahead, measure,
};
use tokio::runtime::Runtime;

use crate::{flag, runtime};

/// How runs are made on the cluster.
pub(crate) struct OnCluster {
    interrupt: Interrupt,
    /// All that will run, in their order; not set where nothing is set up ahead.
    order: OnceLock<Vec<Plan>>,
}

/// A run that is measured, and the runtime that its connections belong to.
pub(crate) struct Attempt {
    runtime: Runtime,
    measured: Measured,
}

/// A run that is being set up.
pub(crate) struct Ahead {
    trial: String,
    live: Live,
    turn: TurnGiver,
    thread: JoinHandle<anyhow::Result<Attempt>>,
}

impl OnCluster {
    pub(crate) fn new(interrupt: Interrupt) -> Self {
        Self {
            interrupt,
            order: OnceLock::new(),
        }
    }

    /// From now on the next of these is set up ahead.
    pub(crate) fn look_ahead(&self, order: Vec<Plan>) {
        let _ = self.order.set(order);
    }
}

impl Runs for OnCluster {
    type Plan = Plan;
    type Ahead = Ahead;
    type Measured = Attempt;
    type Ended = TrialResult;
    type Error = anyhow::Error;

    fn make(&self, plan: &Plan) -> anyhow::Result<Attempt> {
        make(plan, voice(), &self.interrupt, Turn::now())
    }

    fn next(&self, plan: &Plan, attempt: &Attempt) -> Option<Plan> {
        // What went wrong may be made again, or has left something behind.
        if !attempt.measured.is_well() || self.interrupt.is_asked() {
            return None;
        }
        let workers = attempt.measured.workers();
        ahead::next(self.order.get()?, &plan.trial(), workers).cloned()
    }

    fn begin(&self, plan: &Plan) -> Option<Ahead> {
        let live = voice().held();
        let (giver, turn) = Turn::later();
        let (of, said, interrupt) = (plan.clone(), live.clone(), self.interrupt.clone());
        let work = move || make(&of, said, &interrupt, turn);
        match std::thread::Builder::new().spawn(work) {
            Ok(thread) => Some(Ahead {
                trial: plan.trial(),
                live,
                turn: giver,
                thread,
            }),
            Err(error) => {
                eprintln!("nothing is set up ahead: {error}");
                None
            }
        }
    }

    fn go_on(&self, ahead: Ahead) -> anyhow::Result<Attempt> {
        ahead.live.release();
        ahead.turn.give();
        match ahead.thread.join() {
            Ok(attempt) => attempt,
            // A panic there is a panic of this trial.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn give_up(&self, ahead: Ahead) {
        drop(ahead.turn);
        // A panic has been printed by its thread, and is not the failure of the trial that runs now.
        if let Ok(Err(error)) = ahead.thread.join()
            && !matches!(error.downcast_ref(), Some(RunError::GivenUp))
        {
            eprintln!("{} was given up: {error:#}", ahead.trial);
        }
    }

    fn judge(&self, attempt: Attempt) -> anyhow::Result<TrialResult> {
        Ok(attempt.runtime.block_on(attempt.measured.judge())?)
    }
}

/// A run to where nothing of it is measured any more.
fn make(plan: &Plan, live: Live, interrupt: &Interrupt, turn: Turn) -> anyhow::Result<Attempt> {
    let runtime = runtime()?;
    let measured = runtime.block_on(async {
        let lab = Lab::attach(&Choice::from_env(), live).await?;
        let lab = Lab {
            interrupt: interrupt.clone(),
            turn,
            ..lab
        };
        anyhow::Ok(Box::pin(measure(lab, plan.clone())).await?)
    })?;
    Ok(Attempt { runtime, measured })
}

fn voice() -> Live {
    if flag("E2E_QUIET") {
        Live::quiet()
    } else {
        Live::loud()
    }
}
