//! Brings pods to the newest revision: followers first, the leader last and only after leadership has moved (P9).
//!
//! A pod that cannot run is replaced at once, and one that is not ready before all that are: a broken template must
//! not stand in the way of its repair (P8).

use std::cmp::Reverse;

use etcd_operator_api::labels;

use super::safety::{Gate, Safety, Unsafe};
use super::{Grace, Plan, Step, Via, Waiting, pods, resize};
use crate::instanceset::desired::Desired;
use crate::instanceset::names::CATCH_UP;
use crate::instanceset::observed::{Observed, PodSeen};

/// Plans the next part of an update; `quiet` is true when no change of membership is due.
pub(crate) fn plan(
    desired: &Desired,
    seen: &Observed,
    safety: &Safety,
    gate: &mut Gate<'_>,
    quiet: bool,
    plan: &mut Plan,
) {
    let names = || desired.members.iter();
    let members = || names().filter_map(|pod| Some((pod, seen.pods.get(pod)?)));
    let is_current = |name: &String, pod: &PodSeen| pods::is_current(desired, name, pod);
    let is_outdated =
        |(name, pod): &(&String, &PodSeen)| !pod.terminating && pod.owned && !is_current(name, pod);
    let outdated: Vec<_> = members().filter(is_outdated).collect();
    if outdated.is_empty() {
        return;
    }
    if !desired.update.rolling {
        plan.waiting.push(Waiting::OnDelete(outdated.len()));
        return;
    }
    if let Some(why) = never_made(seen) {
        plan.waiting.push(why);
        return;
    }
    if replace_idle(&outdated, gate, plan) {
        return;
    }
    let updated = members().filter(|(name, pod)| is_current(name, pod));
    let mut room = Room {
        most: desired.update.replicas,
        updated: updated.count(),
        at_a_time: desired.update.at_a_time,
        absent: 0,
    };
    let rank = |(name, pod): &(&String, &PodSeen)| rank(desired, safety, name, pod);
    let (mut unwell, mut well): (Vec<_>, Vec<_>) =
        outdated.into_iter().partition(|(_, pod)| !pod.ready);
    unwell.sort_by_key(rank);
    well.sort_by_key(rank);
    let lacking = lacking(desired, seen, plan);
    plan.waiting
        .extend(room.restricted(unwell.len() + well.len()));
    // Those that are not ready are missed already: they wait for the margin, and for pods that were just recreated.
    let missed = |name: &&&String| {
        let is_unwell = unwell.iter().any(|(pod, _)| pod == *name);
        let comes = match seen.pods.get(**name) {
            Some(pod) => safety.may_come(pod),
            None => safety.votes(name),
        };
        !is_unwell && comes
    };
    room.absent = lacking.iter().filter(missed).count();
    let changing =
        |step: &Step| step.changes_membership() || matches!(step, Step::Switchover { .. });
    if !plan.steps.iter().any(changing) {
        room.replace(unwell, safety, gate, plan);
    }
    room.absent = lacking.len();
    let (in_place, well): (Vec<_>, Vec<_>) = well
        .into_iter()
        .partition(|(_, pod)| resize::fits(desired, pod));
    // Amounts that have just been given are waited for, however many others may change.
    let given = resize::is_given(desired, &in_place);
    if quiet && !given && !well.is_empty() {
        room.replace(well, safety, gate, plan);
    } else if given || (quiet && plan.is_idle() && room.left() > 0) {
        resize::plan(desired, &in_place, plan);
    }
}

/// Why no pod of the template can be made: then none of the old one is stopped.
pub(super) fn never_made(seen: &Observed) -> Option<Waiting> {
    let no_node = seen.no_node.clone().map(Waiting::NoNode);
    no_node.or_else(|| seen.refused_template.clone().map(Waiting::TemplateRefused))
}

/// Who is updated later: the leader last, before it roles of a greater priority, then lower ordinals.
fn rank(
    desired: &Desired,
    safety: &Safety,
    name: &str,
    pod: &PodSeen,
) -> (bool, i32, Reverse<Option<u32>>) {
    let role = pod.labels.get(labels::ROLE);
    let mut roles = desired.roles.iter();
    let role = roles.find(|known| Some(&known.name) == role);
    let priority = role.map_or(0, |role| role.update_priority);
    let leads = safety.leader.as_deref() == Some(name);
    (leads, priority, Reverse(desired.name.ordinal(name)))
}

/// How many pods an update may take now.
struct Room {
    /// How many may have the new revision.
    most: usize,
    /// How many have it.
    updated: usize,
    at_a_time: usize,
    absent: usize,
}

impl Room {
    /// How many more may get the new revision.
    fn open(&self) -> usize {
        self.most.saturating_sub(self.updated)
    }

    /// Why those that are `left` keep their revision, when no more may get the new one.
    fn restricted(&self, left: usize) -> Option<Waiting> {
        let (most, updated) = (self.most, self.updated);
        (self.open() == 0).then_some(Waiting::Restricted {
            most,
            updated,
            left,
        })
    }

    fn left(&self) -> usize {
        self.at_a_time.saturating_sub(self.absent).min(self.open())
    }

    fn replace(
        &self,
        pods: Vec<(&String, &PodSeen)>,
        safety: &Safety,
        gate: &mut Gate<'_>,
        plan: &mut Plan,
    ) {
        for (name, pod) in pods.into_iter().take(self.left()) {
            match gate.delete_pod(name, pod, Grace::Template, "it is updated", plan) {
                Ok(()) => {}
                Err(Unsafe::Leads) => {
                    // Others may have been stopped in this very plan: they are no successors.
                    if plan.is_idle() {
                        let what = format!("the update of the leader {name}");
                        hand_over(name, &what, safety, plan);
                    }
                    return;
                }
                Err(no) => {
                    plan.waiting
                        .extend(no.waiting(name, format!("the update of {name}")));
                    return;
                }
            }
        }
    }
}

/// Deletes outdated pods in which no etcd runs. They have no vote to give, so no margin is lost.
fn replace_idle(outdated: &[(&String, &PodSeen)], gate: &mut Gate<'_>, plan: &mut Plan) -> bool {
    let mut any = false;
    for (name, pod) in outdated {
        // Dead nodes and ended containers have been seen to; lost data is a matter of membership.
        let by_rule = pod.ended || pod.node.is_dead() || is_lost(pod);
        if by_rule || !pod.is_idle() {
            continue;
        }
        let refused = pod.refused().map(|(code, _)| code);
        let why = pod.broken.as_deref().or(refused);
        let why = why.unwrap_or("its containers have not started");
        let why = format!("it cannot run: {why}");
        match gate.delete_pod(name, pod, Grace::Template, &why, plan) {
            Ok(()) => any = true,
            Err(no) => plan
                .waiting
                .extend(no.waiting(name, format!("the update of {name}"))),
        }
    }
    any
}

/// True when the launcher has found that the pod's data is not its member's.
fn is_lost(pod: &PodSeen) -> bool {
    let codes = ["DataLost", "RemovedMember", "NotAMember"];
    pod.refused().is_some_and(|(code, _)| codes.contains(&code))
}

/// Pods that are not back yet.
fn lacking<'a>(desired: &'a Desired, seen: &Observed, plan: &mut Plan) -> Vec<&'a String> {
    let mut lacking = Vec::new();
    for name in &desired.members {
        if let Some(why) = why_lacking(desired, seen, name) {
            lacking.push(name);
            let (pod, why) = (name.clone(), why.to_owned());
            plan.waiting.push(Waiting::Update { pod, why });
        }
    }
    lacking
}

/// Why a pod is not back yet: not there, not ready, or behind the log at which it was made.
pub(super) fn why_lacking(desired: &Desired, seen: &Observed, name: &str) -> Option<&'static str> {
    match seen.pods.get(name) {
        None => Some("it is not there"),
        Some(pod) if pod.terminating => Some("it is terminating"),
        Some(pod) if !pod.ready => Some("it is not ready"),
        Some(pod) if pod.ready_seconds < desired.min_ready_seconds => Some("it is not available"),
        Some(pod) if !caught_up(pod) => Some("its member has not caught up"),
        Some(_) => None,
    }
}

fn caught_up(pod: &PodSeen) -> bool {
    let due: u64 = pod
        .annotations
        .get(CATCH_UP)
        .and_then(|due| due.parse().ok())
        .unwrap_or(0);
    pod.status()
        .is_some_and(|status| status.applied_index >= due)
}

/// Moves leadership away from a pod, for `what` comes next.
pub(super) fn hand_over(from: &str, what: &str, safety: &Safety, plan: &mut Plan) {
    let ip = safety.healthy.get(from).and_then(|voter| voter.ip);
    match (safety.successor(from), ip) {
        (Some(to), Some(ip)) => {
            let via = Via {
                pod: from.to_owned(),
                ip,
            };
            let (from, to) = (from.to_owned(), to.to_owned());
            plan.steps.push(Step::Switchover { via, from, to });
        }
        _ => {
            let what = what.to_owned();
            plan.waiting.push(Waiting::NoVoter { what });
        }
    }
}
