//! The order in which the parts of a plan are made.

use super::latch::{Latch, latch};
use super::{
    Plan, Step, Waiting, asked_class, bootstrap, check, downgrade, membership, moving, next_pod,
    placement, recovery, relabel, rollout, roster, safety, services, status, teardown, upgrade,
    upkeep, volumes,
};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::Observed;

/// Decides.
#[must_use]
pub(crate) fn plan(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = Plan::default();
    if desired.deleting {
        teardown::plan(desired, seen, &mut plan);
        plan.status = desired
            .has_finalizer
            .then(|| status::going(desired, seen, &plan));
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

/// The pod whose member is given up next to move to another storage class, if what replaces it can be had; or one of
/// whose claim that would say what was asked for.
#[must_use]
pub(crate) fn next_to_move(desired: &Desired, seen: &Observed) -> Option<String> {
    let doubted = asked_class::doubted(desired, seen);
    if let Some(pod) = doubted.filter(|_| !desired.paused) {
        return Some(pod);
    }
    let is_elsewhere = |pod: &String| volumes::elsewhere(desired, seen, pod).is_some();
    if !desired.members.iter().any(is_elsewhere) {
        return None;
    }
    let told = plan(desired, seen).waiting;
    told.into_iter().find_map(|why| match why {
        Waiting::Moving { next, .. } => next,
        _ => None,
    })
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
    plan.waiting.extend(cannot_run(desired, seen));
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
    let (idle, at) = (plan.is_idle(), plan.steps.len());
    upkeep::plan(&basis, quiet, &mut gate, plan);
    let growth = volumes::grow(desired, seen);
    // Before the care of databases, which may fail for as long as a volume is too small.
    let step = growth.step.filter(|_| idle);
    plan.steps.splice(at..at, step);
    plan.waiting.extend(growth.waiting);
    moving::plan(&basis, quiet, plan);
}

/// What Kubernetes says of pods that it cannot start, told at once.
fn cannot_run(desired: &Desired, seen: &Observed) -> impl Iterator<Item = Waiting> {
    let pods = seen.pods.iter();
    let pods = pods.filter(|(_, pod)| pod.owned && !pod.ready && !pod.terminating);
    pods.filter_map(|(name, pod)| {
        let why = pod.broken.clone()?;
        let refused = placement::refused(desired, name, pod, &why);
        Some(refused.unwrap_or(Waiting::CannotRun {
            pod: name.clone(),
            why,
        }))
    })
}
