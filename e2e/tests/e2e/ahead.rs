//! One run ahead: while a trial's run is saved and judged, the cluster of the next trial is set up, on a thread and a
//! runtime of its own. Its traffic waits for its trial. What goes wrong in it is that trial's failure.

use std::thread::JoinHandle;

use harness::cluster::Choice;
use harness::scenario::{
    Ended, Interrupt, Lab, Live, Measured, Plan, RunError, Turn, TurnGiver, measure,
};
use tokio::runtime::Runtime;

use crate::{flag, runtime};

/// A run that is measured, and the runtime that its connections belong to.
pub(crate) struct Attempt {
    runtime: Runtime,
    measured: Measured,
}

/// A run that is being set up.
pub(crate) struct Ahead {
    plan: Plan,
    live: Live,
    turn: TurnGiver,
    thread: JoinHandle<anyhow::Result<Attempt>>,
}

impl Attempt {
    /// Makes a run, from its set-up to where nothing of it is measured any more.
    pub(crate) fn make(plan: &Plan, interrupt: &Interrupt) -> anyhow::Result<Self> {
        Self::make_in_turn(plan, voice(), interrupt, Turn::now())
    }

    fn make_in_turn(
        plan: &Plan,
        live: Live,
        interrupt: &Interrupt,
        turn: Turn,
    ) -> anyhow::Result<Self> {
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
        Ok(Self { runtime, measured })
    }

    /// What was measured.
    pub(crate) fn measured(&self) -> &Measured {
        &self.measured
    }

    /// Saves and judges it.
    pub(crate) fn judge(self) -> anyhow::Result<Ended> {
        Ok(self.runtime.block_on(self.measured.judge())?)
    }
}

impl Ahead {
    /// Begins to set up the cluster of a plan.
    pub(crate) fn begin(plan: &Plan, interrupt: &Interrupt) -> std::io::Result<Self> {
        let live = voice().held();
        let (giver, turn) = Turn::later();
        let (of, said, interrupt) = (plan.clone(), live.clone(), interrupt.clone());
        let make = move || Attempt::make_in_turn(&of, said, &interrupt, turn);
        Ok(Self {
            plan: plan.clone(),
            live,
            turn: giver,
            thread: std::thread::Builder::new().spawn(make)?,
        })
    }

    /// True when it is a run of this plan.
    pub(crate) fn is_of(&self, plan: &Plan) -> bool {
        self.plan == *plan
    }

    /// It is its turn: the run to its end.
    pub(crate) fn go_on(self) -> anyhow::Result<Attempt> {
        self.live.release();
        self.turn.give();
        match self.thread.join() {
            Ok(attempt) => attempt,
            // A panic there is a panic of this trial.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Its turn does not come: returns when its namespace is being deleted, or says why it is not.
    pub(crate) fn give_up(self) {
        drop(self.turn);
        // A panic has been told of by its thread, and is not the failure of the trial that runs now.
        if let Ok(Err(error)) = self.thread.join()
            && !matches!(error.downcast_ref(), Some(RunError::GivenUp))
        {
            eprintln!("{} was given up: {error:#}", self.plan.trial());
        }
    }
}

fn voice() -> Live {
    if flag("E2E_QUIET") {
        Live::quiet()
    } else {
        Live::loud()
    }
}
