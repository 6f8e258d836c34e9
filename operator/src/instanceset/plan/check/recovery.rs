//! The second opinion on a quorum that is given up (D11).

use etcd_operator_api::labels;
use etcd_operator_api::recovery::{Recovery, RecoveryStep};
use k8s_openapi::api::core::v1::Pod;
use kbagent_protocol::Id;

use super::{Lint, Violation};
use crate::instanceset::names as keys;
use crate::instanceset::observed::PodSeen;
use crate::instanceset::plan::Step;

/// What will be on record when the steps are taken.
fn recorded<'a>(lint: &'a Lint<'_>) -> Option<&'a Recovery> {
    let draft = lint.plan.status.as_ref();
    match draft.filter(|draft| draft.first) {
        Some(draft) => draft.status.recovery.as_ref(),
        None => lint.desired.recorded.recovery.as_ref(),
    }
}

/// True while members are stopped because their quorum is given up.
pub(super) fn gives_up(lint: &Lint<'_>) -> bool {
    use RecoveryStep::{Chosen, Isolated};
    recorded(lint).is_some_and(|recovery| matches!(recovery.step, Chosen | Isolated))
}

/// True when this member was given up for a survivor, which leads: only a list that etcd did not clean still has it.
pub(super) fn gave_up(lint: &Lint<'_>, id: Id) -> bool {
    let record = recorded(lint).filter(|recovery| recovery.step == RecoveryStep::Forced);
    let Some(record) = record else { return false };
    let survivor = record.survivor.as_deref().unwrap_or_default();
    let status = lint.seen.pods.get(survivor).and_then(PodSeen::status);
    let leads = status.is_some_and(|status| status.leader_id == Some(status.member_id));
    let on_record = |id: &Id| id.to_string();
    let of_survivor = record.member_id == Some(on_record(&id));
    let listed = record
        .standings
        .iter()
        .any(|other| other.member_id == on_record(&id));
    leads && listed && !of_survivor
}

pub(super) fn check(lint: &Lint<'_>, found: &mut Vec<Violation>) {
    if gives_up(lint) {
        stops(lint, found);
    }
    for (at, step) in lint.plan.steps.iter().enumerate() {
        let Step::CreatePod(pod) = step else {
            continue;
        };
        match (mark(pod), gives_up(lint)) {
            (Some(mark), _) => forces(lint, (pod, &mark), at, found),
            (None, true) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                found.push(format!("D11: {name} is made while its quorum is given up"));
            }
            (None, false) => {}
        }
    }
}

/// Before the survivor is started nothing is stopped of a cluster that has a leader.
fn stops(lint: &Lint<'_>, found: &mut Vec<Violation>) {
    let chosen = recorded(lint).is_some_and(|recovery| recovery.step == RecoveryStep::Chosen);
    let quorum = lint.members().is_some() || lint.seen.pods.values().any(PodSeen::takes_part);
    let stops = |step: &&Step| matches!(step, Step::DeletePod { .. });
    if let (true, true, Some(step)) = (chosen, quorum, lint.plan.steps.iter().find(stops)) {
        found.push(format!("D11: a quorum is there, and yet: {step:?}"));
    }
    let chosen = chosen
        && lint
            .plan
            .steps
            .iter()
            .any(|s| matches!(s, Step::RetireClaim { .. }));
    if chosen {
        found.push("D11: a volume is given up while its member may come back".to_owned());
    }
}

fn mark(pod: &Pod) -> Option<String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut env = containers.flat_map(|container| container.env.iter().flatten());
    env.find(|variable| variable.name == keys::ENV_FORCE)?
        .value
        .clone()
}

/// A member becomes the only one when it was chosen, no other can run, and none of their volumes is used again.
fn forces(lint: &Lint<'_>, (pod, mark): (&Pod, &str), at: usize, found: &mut Vec<Violation>) {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut wrong = |text: &str| found.push(format!("D11: {name} is made the only member {text}"));
    let due = recorded(lint).filter(|recovery| {
        recovery.step == RecoveryStep::Isolated && recovery.survivor.as_ref() == Some(&name)
    });
    if due.is_none_or(|recovery| mark != format!("{}-{}", recovery.token, recovery.attempt)) {
        wrong("and that is not on record");
    }
    if lint.members().is_some() {
        wrong("of a cluster that has a quorum");
    }
    if let Some(other) = lint.seen.pods.keys().next() {
        wrong(&format!("while pod {other} is there"));
    }
    let before = &lint.plan.steps[..at];
    let marks = |claim: &String| {
        let mut steps = before.iter();
        steps.any(|step| matches!(step, Step::RetireClaim { name, .. } if name == claim))
    };
    let mut claims = lint.seen.claims.iter();
    let used = claims.find(|(claim, seen)| {
        let other = seen
            .labels
            .get(labels::POD_NAME)
            .is_some_and(|pod| *pod != name);
        let unmarked = !seen.annotations.contains_key(keys::RETIRED) && !marks(claim);
        other && seen.owned && !seen.terminating && unmarked
    });
    if let Some((claim, _)) = used {
        wrong(&format!("and claim {claim} of another one is not marked"));
    }
}
