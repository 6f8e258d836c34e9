//! The order in which the parts of a plan are made.

use super::latch::{Latch, latch};
use super::{
    Plan, Step, Waiting, bootstrap, check, downgrade, membership, next_pod, recovery, relabel,
    rollout, roster, safety, services, status, teardown, upgrade, upkeep, volumes,
};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::Observed;

/// Decides.
#[must_use]
pub(crate) fn plan(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = Plan::default();
    if desired.deleting {
        teardown::plan(desired, seen, &mut plan);
        return plan;
    }
    let latch = latch(desired, seen);
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
    (latch, recovery): (&Latch, &recovery::Reading),
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
    plan.waiting.extend(cannot_run(seen));
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
    let view = next_pod::plan(desired, seen, &roster, &mut gate, plan);
    let basis = membership::Basis {
        desired,
        seen,
        view: &view,
        roster: &roster,
        safety: &safety,
    };
    let quiet = membership::plan(&basis, plan);
    if downgrade::plan(&basis, quiet, plan) {
        rollout::plan(desired, seen, &safety, &mut gate, quiet, plan);
    }
    upgrade::plan(&basis, quiet, plan);
    upkeep::plan(&basis, quiet, &mut gate, plan);
    let growth = volumes::grow(desired, seen);
    // The last thing to do: what the API server refuses of it holds nothing else up.
    if plan.steps.is_empty() {
        plan.steps.extend(growth.step);
    }
    plan.waiting.extend(growth.waiting);
}

/// What Kubernetes says of pods that it cannot start, told at once.
fn cannot_run(seen: &Observed) -> impl Iterator<Item = Waiting> {
    let pods = seen.pods.iter();
    let pods = pods.filter(|(_, pod)| pod.owned && !pod.ready && !pod.terminating);
    pods.filter_map(|(name, pod)| {
        Some(Waiting::CannotRun {
            pod: name.clone(),
            why: pod.broken.clone()?,
        })
    })
}
