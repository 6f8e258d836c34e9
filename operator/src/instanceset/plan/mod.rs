//! PURE: the desired state of an InstanceSet and what was seen of it -> what to do next, in order, and why not more.
//!
//! No client, no clock, no randomness, no environment. A plan leaves nothing to decide to `apply`; whatever is
//! not done carries a reason. Every rule of docs/hazards.md that concerns members has its home here.

pub mod bootstrap;
pub mod check;
pub mod membership;
pub mod pods;
pub mod recovery;
pub mod relabel;
pub mod resize;
pub mod revision;
pub mod rollout;
pub mod roster;
pub mod safety;
pub mod services;
pub mod slots;
pub mod status;
pub mod steps;
pub mod teardown;
pub mod upkeep;
pub mod volumes;

#[cfg(test)]
mod explore;
#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod upkeep_tests;
#[cfg(test)]
mod world;

pub use steps::{Grace, Plan, Removal, Step, Via, Waiting};

use super::desired::Desired;
use super::observed::Observed;

/// Decides.
#[must_use]
pub fn plan(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = Plan::default();
    if desired.deleting {
        teardown::plan(desired, seen, &mut plan);
        return plan;
    }
    let latch = bootstrap::latch(desired, seen);
    let recovery = recovery::record(desired, seen, &latch);
    decide(desired, seen, (&latch, &recovery), &mut plan);
    plan.status = Some(status::status(desired, seen, &latch, &plan));
    status::recover(&mut plan, desired, recovery.record);
    debug_assert!(
        check::lint(desired, seen, &plan).is_empty(),
        "the plan breaks a rule: {:?}",
        check::lint(desired, seen, &plan)
    );
    plan
}

fn decide(
    desired: &Desired,
    seen: &Observed,
    (latch, recovery): (&bootstrap::Latch, &recovery::Reading),
    plan: &mut Plan,
) {
    if desired.paused {
        plan.waiting.push(Waiting::Paused);
        return;
    }
    if !desired.has_finalizer {
        plan.steps.push(Step::AddFinalizer);
    }
    if desired.held {
        plan.waiting.push(Waiting::Held);
    }
    services::plan(desired, seen, plan);
    volumes::keep(desired, seen, plan);
    relabel::plan(desired, seen, plan);
    if let Some(mismatch) = latch.mismatch() {
        plan.waiting.push(mismatch);
        return;
    }
    if desired.stop {
        teardown::stop(desired, seen, plan);
        return;
    }
    if !latch.bootstrapped() {
        bootstrap::plan(desired, seen, latch, plan);
        return;
    }
    if recovery::plan(desired, seen, recovery, plan) {
        return;
    }
    let roster = roster::read(desired, seen, latch);
    let safety = safety::Safety::of(desired, seen, &roster);
    let mut gate = safety::Gate::guarded(&safety, seen);
    let facts = slots::plan(desired, seen, &roster, &mut gate, plan);
    let world = membership::World {
        desired,
        seen,
        facts: &facts,
        roster: &roster,
        safety: &safety,
    };
    let quiet = membership::plan(&world, plan);
    rollout::plan(desired, seen, &safety, &mut gate, quiet, plan);
    upkeep::plan(&world, quiet, &mut gate, plan);
}
