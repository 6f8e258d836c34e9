//! Brings pods to the newest revision: followers first, the leader last and only after it has handed over (P9).
//!
//! A pod that cannot run is replaced at once: a broken template must not stand in the way of its repair (P8).

use super::safety::{Safety, Unsafe};
use super::slots::delete_pod;
use super::{Grace, Plan, Step, Via, Waiting, pods};
use crate::instanceset::desired::Desired;
use crate::instanceset::names::CATCH_UP;
use crate::instanceset::observed::{Observed, PodSeen};

/// Plans the next part of an update; `quiet` is true when no change of membership is due.
pub fn plan(desired: &Desired, seen: &Observed, safety: &Safety, quiet: bool, plan: &mut Plan) {
    let revision = pods::revision(desired);
    let members = || {
        desired
            .members
            .iter()
            .filter_map(|pod| Some((pod, seen.pods.get(pod)?)))
    };
    let mut outdated: Vec<(&String, &PodSeen)> = members()
        .filter(|(_, pod)| pod.revision != revision && !pod.terminating && pod.owned)
        .collect();
    if outdated.is_empty() {
        return;
    }
    if !desired.update.rolling {
        plan.waiting.push(Waiting::OnDelete(outdated.len()));
        return;
    }
    if replace_broken(&outdated, plan) || !quiet {
        return;
    }
    let updated = members()
        .filter(|(_, pod)| pod.revision == revision)
        .count();
    let open = desired.update.replicas.saturating_sub(updated);
    let absent = lacking(desired, seen, plan);
    let room = desired.update.at_a_time.saturating_sub(absent).min(open);
    outdated.sort_by_key(|(name, _)| {
        let leads = safety.leader.as_deref() == Some(name.as_str());
        (leads, std::cmp::Reverse(desired.name.ordinal(name)))
    });
    let mut spare = safety.spare();
    for (name, pod) in outdated.into_iter().take(room) {
        match safety.unsafe_to_stop.get(name) {
            Some(Unsafe::Leads) => {
                // Others may have been stopped in this very plan: they are no successors.
                if plan.steps.is_empty() {
                    hand_over(name, safety, plan);
                }
                return;
            }
            Some(Unsafe::Quorum { left, needed }) => {
                let what = format!("the update of {name}");
                plan.waiting.push(Waiting::Quorum {
                    what,
                    healthy: *left,
                    needed: *needed,
                });
                return;
            }
            Some(Unsafe::MembersUnknown(why)) => {
                plan.waiting.push(Waiting::MembersUnknown(why.clone()));
                return;
            }
            None => {
                if safety.healthy.contains_key(name) {
                    if spare == 0 {
                        return;
                    }
                    spare -= 1;
                }
                plan.steps
                    .push(delete_pod(name, pod, Grace::Template, "it is updated"));
            }
        }
    }
}

/// Deletes outdated pods whose containers cannot run. They serve nobody, so no margin is lost.
fn replace_broken(outdated: &[(&String, &PodSeen)], plan: &mut Plan) -> bool {
    let mut any = false;
    for (name, pod) in outdated {
        if let Some(why) = &pod.broken
            && !pod.takes_part()
            && !pod.ended
            && !pod.node.is_dead()
        {
            any = true;
            plan.steps.push(delete_pod(
                name,
                pod,
                Grace::Template,
                &format!("it cannot run: {why}"),
            ));
        }
    }
    any
}

/// Counts pods that are not back yet: not there, not ready, or behind the log at which they were made.
fn lacking(desired: &Desired, seen: &Observed, plan: &mut Plan) -> usize {
    let mut lacking = 0;
    for name in &desired.members {
        let why = match seen.pods.get(name) {
            None => "it is not there",
            Some(pod) if pod.terminating => "it is terminating",
            Some(pod) if !pod.ready => "it is not ready",
            Some(pod) if pod.ready_seconds < desired.min_ready_seconds => "it is not available",
            Some(pod) if !caught_up(pod) => "its member has not caught up",
            Some(_) => continue,
        };
        lacking += 1;
        plan.waiting.push(Waiting::Update {
            pod: name.clone(),
            why: why.to_owned(),
        });
    }
    lacking
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

fn hand_over(from: &str, safety: &Safety, plan: &mut Plan) {
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
            let what = format!("the update of the leader {from}");
            plan.waiting.push(Waiting::NoVoter { what });
        }
    }
}
