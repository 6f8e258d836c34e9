//! Bootstrap as a phase (B1-B6): static, with the set of members frozen until the cluster's identifier is latched.
//!
//! After the latch nothing here runs any more: every further member joins as a learner.

use etcd_operator_api::names;
use etcd_operator_api::restore::{FILLED_AGAIN, NOT_FILLED};

use super::latch::Latch;
use super::next_pod::{self, PodTurn};
use super::pods::{self, Purpose};
use super::safety::{Gate, PATIENCE, quorum};
use super::{Grace, Plan, Step, Waiting, revision, volumes};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{NodeSeen, Observed, PodSeen};

/// Makes the claims and pods of the frozen set.
pub(crate) fn plan(desired: &Desired, seen: &Observed, latch: &Latch, plan: &mut Plan) {
    let mut frozen = latch.frozen.iter();
    let unfilled = frozen.find_map(|pod| unfilled(desired, seen, pod));
    let seeded = unfilled.is_none();
    plan.waiting.extend(unfilled);
    plan.waiting
        .push(Waiting::Bootstrap(latch.frozen.join(", ")));
    // Claims come before pods, so a claim that is missing while a pod is there was lost: a new disk under the old
    // identity would forget its vote (M11). The others form the cluster, then the member is replaced by rule.
    let begun = latch.frozen.iter().any(|name| seen.pods.contains_key(name));
    let mut whole = Vec::new();
    for pod in &latch.frozen {
        if claims(desired, seen, pod, begun, plan) {
            whole.push(pod);
        }
    }
    if begin_again(desired, seen, latch, plan) {
        return;
    }
    cannot_form(desired, seen, latch, plan);
    let refused = seen.refused_template.clone();
    plan.waiting.extend(refused.map(Waiting::TemplateRefused));
    let mut gate = Gate::forming(seen);
    let mut all_there = true;
    let mut outdated = Vec::new();
    for pod in whole {
        let there = seen.pods.get(pod);
        match next_pod::pod_turn(seen, pod, &mut gate, plan) {
            PodTurn::Absent if seen.no_node.is_some() => {
                all_there = false;
                plan.waiting
                    .extend(seen.no_node.clone().map(Waiting::NoNode));
            }
            PodTurn::Absent if !seeded => all_there = false,
            PodTurn::Absent => {
                all_there = false;
                // With a backup the data is there. Were it not, the launcher must not begin with none.
                let purpose = Purpose {
                    bootstrap: desired.seed.is_none().then_some(latch.frozen.as_slice()),
                    ..Purpose::default()
                };
                plan.steps.push(Step::CreatePod(Box::new(pods::build(
                    desired, pod, &purpose,
                ))));
            }
            PodTurn::Lives => {
                plan.waiting
                    .extend(there.and_then(|there| foreign(pod, there)));
                let can = seen.no_node.is_none() && seen.refused_template.is_none();
                let stale = there.filter(|there| can && is_corrected(desired, there));
                outdated.extend(stale.map(|there| (pod, there)));
            }
            PodTurn::Busy => all_there = false,
        }
    }
    // One at a time: while another pod of the set is there, a missing claim is known to be lost.
    let alone = |name: &String| {
        !latch
            .frozen
            .iter()
            .any(|other| other != name && seen.pods.contains_key(other))
    };
    if let (true, Some((name, pod))) = (all_there, outdated.pop())
        && (latch.frozen.len() == 1 || !alone(name))
    {
        let why = "its template has changed before the cluster has formed";
        next_pod::remove_pod(name, pod, Grace::Template, why, &mut gate, plan);
    }
}

/// Says so when claims of so many members were lost that the others are no majority.
fn cannot_form(desired: &Desired, seen: &Observed, latch: &Latch, plan: &mut Plan) {
    let early = |why: &Waiting| matches!(why, Waiting::ClaimLostEarly(_));
    if !plan.waiting.iter().any(early) {
        return;
    }
    let lost = latch.frozen.iter().filter(|pod| {
        let mut claims = desired.claims.iter();
        claims.any(|template| !seen.claims.contains_key(&names::claim(&template.name, pod)))
    });
    let lost: Vec<&str> = lost.map(String::as_str).collect();
    let all = latch.frozen.len();
    if all - lost.len() < quorum(all) {
        plan.waiting.retain(|why| !early(why));
        plan.waiting.push(Waiting::CannotForm {
            lost: lost.join(", "),
            all: latch.frozen.join(", "),
        });
    }
}

/// Deletes the pods of a set of which no claim is there, when none of them was ever placed on a node: there is no disk
/// that could hold anything, and without pods the set begins again.
fn begin_again(desired: &Desired, seen: &Observed, latch: &Latch, plan: &mut Plan) -> bool {
    let there = latch.frozen.iter();
    let there = there.filter_map(|name| Some((name, seen.pods.get(name)?)));
    let there: Vec<(&String, &PodSeen)> = there.collect();
    let has_disk = |pod: &String| {
        let mut claims = desired.claims.iter();
        claims.any(|template| seen.claims.contains_key(&names::claim(&template.name, pod)))
    };
    let is_new = |pod: &PodSeen| pod.owned && pod.node == NodeSeen::Unassigned;
    if desired.claims.is_empty()
        || there.is_empty()
        || latch.frozen.iter().any(has_disk)
        || !there.iter().all(|(_, pod)| is_new(pod))
    {
        return false;
    }
    let mut gate = Gate::forming(seen);
    for (name, pod) in there.into_iter().filter(|(_, pod)| !pod.terminating) {
        let why = "the claims of all members were lost before any of them had started";
        next_pod::remove_pod(name, pod, Grace::Template, why, &mut gate, plan);
    }
    true
}

/// Why the member's claims do not hold the backup yet that it begins with.
fn unfilled(desired: &Desired, seen: &Observed, pod: &str) -> Option<Waiting> {
    let seed = desired.seed.as_deref()?;
    let claim = names::claim(desired.data_claim(), pod);
    let there = seen.claims.get(&claim);
    if there.is_some_and(|there| !there.terminating && there.filled() == Some(seed)) {
        return None;
    }
    let noted = |key: &str| there.and_then(|there| there.annotations.get(key).cloned());
    let tried = noted(FILLED_AGAIN);
    Some(match noted(NOT_FILLED) {
        Some(why) => Waiting::SeedFailed { claim, why },
        None => Waiting::Seed { claim, tried },
    })
}

/// What the launcher found: the volume holds data of another cluster.
fn foreign(name: &str, pod: &PodSeen) -> Option<Waiting> {
    let (_, message) = pod.refused().filter(|(code, _)| *code == "ForeignData")?;
    let (pod, message) = (name.to_owned(), message.to_owned());
    Some(Waiting::ForeignData { pod, message })
}

/// True when a pod of an older template stands in the way of its correction. Its claims stay, so what it may have
/// written is found again (B3); only a pod that knows of lost data must keep that knowledge (M11).
fn is_corrected(desired: &Desired, pod: &PodSeen) -> bool {
    let knows_of_loss = pod.refused().is_some_and(|(code, _)| code == "DataLost");
    let outdated = desired.update.rolling && pod.revision != revision::revision(desired);
    outdated && !knows_of_loss && (pod.is_idle() || pod.age_seconds > PATIENCE)
}

/// Plans the claims of a pod; true when all are there or will be.
fn claims(desired: &Desired, seen: &Observed, pod: &str, begun: bool, plan: &mut Plan) -> bool {
    let mut whole = true;
    for template in &desired.claims {
        let name = names::claim(&template.name, pod);
        match seen.claims.get(&name) {
            Some(claim) if claim.terminating => {
                plan.waiting.push(Waiting::ClaimTerminating(name));
                whole = false;
            }
            Some(claim) if !claim.owned => {
                let why = volumes::left_alone(desired, &name, claim);
                plan.waiting.push(why);
                whole = false;
            }
            Some(_) => {}
            None if begun => {
                plan.waiting.push(Waiting::ClaimLostEarly(name));
                whole = false;
            }
            None => {
                let claim = volumes::build(desired, template, pod, None);
                plan.steps.push(Step::CreateClaim(Box::new(claim)));
            }
        }
    }
    whole
}
