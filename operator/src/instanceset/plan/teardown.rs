//! Taking members down: all permanently with the InstanceSet, or all for a while. Never touches membership (C4, M15).

use super::next_pod::{PodTurn, pod_turn, remove_pod};
use super::safety::{Gate, Holder, data_is_going, quorum};
use super::{Grace, Plan, Step, Waiting, volumes};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::Observed;

/// The InstanceSet is being deleted: pods, then claims by policy, then the finalizer.
pub(crate) fn plan(desired: &Desired, seen: &Observed, plan: &mut Plan) {
    if !desired.has_finalizer {
        return;
    }
    if desired.orphaning {
        // Pods and claims still name it as their owner: that is the garbage collector's to change.
        plan.steps.push(Step::RemoveFinalizer);
        return;
    }
    if desired.keep_when_deleted {
        volumes::keep(desired, seen, plan);
    }
    if stop_pods(seen, "the InstanceSet is being deleted", plan) {
        return;
    }
    let mut left = false;
    let gate = Gate::open(seen);
    for (name, claim) in seen.claims.iter().filter(|(_, claim)| claim.owned) {
        if desired.keep_when_deleted {
            continue;
        }
        left = true;
        if claim.terminating {
            plan.waiting.push(Waiting::ClaimTerminating(name.clone()));
        } else {
            let holder = Holder {
                pod: "",
                started: false,
            };
            gate.delete_claim(&holder, name, claim, plan);
        }
    }
    if !left {
        plan.steps.push(Step::RemoveFinalizer);
    }
}

/// Stops the members: deletes pods, keeps claims and membership (B3). They stay up while claims are being deleted
/// without which no majority would come back.
pub(crate) fn stop(desired: &Desired, seen: &Observed, plan: &mut Plan) {
    let voters = desired.recorded.members.iter().filter(|m| !m.is_learner);
    let (going, staying): (Vec<_>, Vec<_>) = voters
        .map(|member| &member.pod_name)
        .partition(|pod| seen.pods.contains_key(*pod) && data_is_going(desired, seen, pod));
    if !going.is_empty() && staying.len() < quorum(going.len() + staying.len()) {
        let held = going.into_iter().cloned().map(Waiting::ClaimGoing);
        plan.waiting.extend(held);
        return;
    }
    stop_pods(seen, "the component is stopped", plan);
}

/// True while any pod is there.
fn stop_pods(seen: &Observed, why: &str, plan: &mut Plan) -> bool {
    let mut gate = Gate::open(seen);
    for (name, pod) in seen.pods.iter().filter(|(_, pod)| pod.owned) {
        if pod_turn(seen, name, &mut gate, plan) == PodTurn::Lives {
            remove_pod(name, pod, Grace::Template, why, &mut gate, plan);
        }
    }
    seen.pods.values().any(|pod| pod.owned)
}
