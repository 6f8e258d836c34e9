//! Members move to another storage class, because their owner names one: each is replaced by a new one whose claims are
//! of that class, followers first, the leader last (M21). Where a member stands is read off its claims each time, so
//! that a move may be taken back, or lead elsewhere, in the middle.
//!
//! It is what a rebuild does, and the last thing to be done: a member that has its data is given up for no failure, so
//! nothing else is in progress and every other member is healthy.

use std::cmp::Reverse;

use super::membership::{self, Basis, is_in_sync, newest_index};
use super::{Plan, Step, Waiting, pods, rollout, volumes};

/// Why a cluster of one does not move.
const ALONE: &str =
    "no other member has the data of the only one: scale it to 3 first, and back afterwards";
/// What every move waits for.
const BESIDE: &str = "the next one waits until nothing else is in progress, and every member votes, is ready and in sync and \
                      has the newest template";

/// Plans the next move; `quiet` is true when no change of membership is due.
pub(crate) fn plan(basis: &Basis<'_>, quiet: bool, plan: &mut Plan) {
    let (desired, safety) = (basis.desired, basis.safety);
    let members = desired.members.iter();
    let mut left: Vec<(&String, String)> = members
        .filter_map(|pod| Some((pod, volumes::elsewhere(desired, basis.seen, pod)?)))
        .collect();
    left.sort_by_key(|(pod, _)| {
        let leads = safety.leader.as_ref() == Some(*pod);
        (leads, Reverse(desired.name.ordinal(pod)))
    });
    let Some((next, text)) = left.first() else {
        return;
    };
    let mut is_next = None;
    let told = if desired.members.len() <= 1 {
        ALONE.to_owned()
    } else if let Some(never) = rollout::never_made(basis.seen) {
        never.to_string()
    } else if let Some(version) = &desired.minor_awaited {
        // The source of a backup that comes first may be the next to go.
        format!(
            "the next one waits until etcd has changed its minor: pods stay of {version} until what comes before is \
             done (condition UpdateHeld of the Component)"
        )
    } else if !(quiet && is_alone(basis, plan)) {
        BESIDE.to_owned()
    } else if let Some(why) = &basis.seen.refused_move {
        format!("no member is given up, because what replaces {next} cannot be had: {why}")
    } else {
        match membership::replace(basis, next, text) {
            Ok(step) => {
                plan.steps.push(step);
                is_next = Some((*next).clone());
                format!("{next} is next")
            }
            Err(why) => why.to_string(),
        }
    };
    let left = left.iter().map(|(pod, text)| format!("{pod} ({text})"));
    let left = left.collect::<Vec<_>>().join(", ");
    plan.waiting.push(Waiting::Moving {
        left,
        told,
        next: is_next,
    });
}

/// True when nothing else is done or waited for, and every member is as it is to be.
fn is_alone(basis: &Basis<'_>, plan: &Plan) -> bool {
    let (desired, seen, safety) = (basis.desired, basis.seen, basis.safety);
    let newest = newest_index(seen);
    let is_good = |pod: &String| {
        let there = seen.pods.get(pod);
        let votes = safety.healthy.get(pod);
        there.is_some_and(|there| pods::is_current(desired, pod, there))
            && rollout::why_lacking(desired, seen, pod).is_none()
            && votes.is_some_and(|voter| is_in_sync(voter.applied, newest))
    };
    let listed = basis.roster.members.known().map_or(0, Vec::len);
    let waits = |why: &Waiting| !matches!(why, Waiting::Held);
    // An owner who goes to another minor gets there first.
    let keeps_minor = desired.downgrade.is_none() && desired.upgrade.is_none();
    let grows = |step: &Step| matches!(step, Step::GrowClaim { .. });
    keeps_minor
        && plan.is_idle()
        && !plan.steps.iter().any(grows)
        && !plan.waiting.iter().any(waits)
        && listed == desired.members.len()
        && safety.voters == listed
        && desired.members.iter().all(is_good)
}
