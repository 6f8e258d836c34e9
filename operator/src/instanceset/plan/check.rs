//! A second opinion on a plan: rules that no plan may break, whatever the state of the world.
//!
//! Shares no code with the rooms that make plans, reads the raw observation only, and knows nothing of progress:
//! an empty plan is always fine. Tests and debug builds run it on every plan.

use std::collections::BTreeSet;

use etcd_operator_api::{labels, names};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kbagent_protocol::{Id, Member};

use super::{Grace, Plan, Step};
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{Observed, PodSeen, Reading};

/// A rule that a plan breaks.
pub type Violation = String;

/// Finds broken rules.
#[must_use]
pub fn lint(desired: &Desired, seen: &Observed, plan: &Plan) -> Vec<Violation> {
    let lint = Lint {
        desired,
        seen,
        plan,
    };
    let mut found = Vec::new();
    lint.one_change(&mut found);
    for step in &plan.steps {
        lint.step(step, &mut found);
    }
    lint.margin(&mut found);
    found
}

struct Lint<'a> {
    desired: &'a Desired,
    seen: &'a Observed,
    plan: &'a Plan,
}

impl Lint<'_> {
    fn one_change(&self, found: &mut Vec<Violation>) {
        let changes = self
            .plan
            .steps
            .iter()
            .filter(|step| step.changes_membership())
            .count();
        if changes > 1 {
            found.push(format!("M1: {changes} changes of membership in one plan"));
        }
    }

    fn step(&self, step: &Step, found: &mut Vec<Violation>) {
        match step {
            Step::AddLearner { pod, .. } => self.add(pod, found),
            Step::Promote { member, .. } => self.promote(*member, found),
            Step::RemoveMember { pod, member, .. } => self.remove(pod, *member, found),
            Step::CreatePod(pod) => self.create_pod(pod, found),
            Step::CreateClaim(claim) => self.create_claim(claim, found),
            Step::DeleteClaim { name, uid } => self.delete_claim(name, uid, found),
            Step::DeletePod {
                name, uid, grace, ..
            } => match self.seen.pods.get(name) {
                Some(pod) if pod.uid == *uid => {
                    if *grace == Grace::Dead && !pod.node.is_dead() {
                        found.push(format!(
                            "P5: {name} is forced away from a node that may live"
                        ));
                    }
                }
                _ => found.push(format!("C2: {name} is deleted in an incarnation not seen")),
            },
            Step::RemoveFinalizer => {
                if !self.desired.deleting {
                    found.push("C4: the finalizer goes from an object that stays".to_owned());
                }
            }
            Step::AddFinalizer
            | Step::ApplyService(_)
            | Step::RetireClaim { .. }
            | Step::ReleaseClaim { .. }
            | Step::LabelPod { .. }
            | Step::Switchover { .. } => {}
        }
    }

    fn members(&self) -> Option<&[Member]> {
        match &self.seen.members {
            Reading::Known(list) => Some(&list.members),
            Reading::Unknown(_) => None,
        }
    }

    /// The member whose peer URL names the pod.
    fn member_of(&self, pod: &str) -> Option<&Member> {
        let host = format!("//{pod}.");
        self.members()?
            .iter()
            .find(|m| m.peer_urls.iter().any(|url| url.contains(&host)))
    }

    fn add(&self, pod: &str, found: &mut Vec<Violation>) {
        let Some(members) = self.members() else {
            found.push(format!("M5: {pod} is added while the list is unknown"));
            return;
        };
        if members
            .iter()
            .any(|member| member.is_learner || member.name.is_empty())
        {
            found.push(format!(
                "M1: {pod} is added while another change is going on"
            ));
        }
        if self.member_of(pod).is_some() {
            found.push(format!("M4: {pod} is added and is a member already"));
        }
        if !self.desired.wants(pod) {
            found.push(format!("M16: {pod} is added and is not wanted"));
        }
        if self.seen.pods.contains_key(pod) {
            found.push(format!("M10: {pod} is added while its old pod is there"));
        }
        for template in &self.desired.claims {
            if self
                .seen
                .claims
                .contains_key(&names::claim(&template.name, pod))
            {
                found.push(format!("M10: {pod} is added while its old claim is there"));
            }
        }
    }

    fn promote(&self, id: Id, found: &mut Vec<Violation>) {
        let learner = self
            .members()
            .into_iter()
            .flatten()
            .find(|member| member.id == id);
        if !learner.is_some_and(|member| member.is_learner && !member.name.is_empty()) {
            found.push(format!(
                "M2: {id} gets a vote and is no learner that has started"
            ));
        }
        let says = |pod: &PodSeen| pod.status().is_some_and(|status| status.member_id == id);
        let shows = |name: &str, pod: &PodSeen| {
            pod.ready
                && pod.status().is_none()
                && self.member_of(name).is_some_and(|member| member.id == id)
        };
        let alive = self
            .seen
            .pods
            .iter()
            .any(|(name, pod)| says(pod) || shows(name, pod));
        if !alive {
            found.push(format!(
                "M2: {id} gets a vote, and nothing says that it has caught up"
            ));
        }
    }

    fn remove(&self, pod: &str, id: Id, found: &mut Vec<Violation>) {
        let Some(members) = self.members() else {
            found.push(format!("M5: {id} is removed while the list is unknown"));
            return;
        };
        let Some(victim) = members.iter().find(|member| member.id == id) else {
            found.push(format!("M4: {id} is removed and is no member"));
            return;
        };
        if self.member_of(pod).is_none_or(|member| member.id != id) {
            found.push(format!("M4: {id} is removed as {pod}, whose it is not"));
        }
        if victim.is_learner {
            return;
        }
        let voters: Vec<&Member> = members.iter().filter(|member| !member.is_learner).collect();
        let rest = voters.len() - 1;
        let healthy = voters
            .iter()
            .filter(|m| m.id != id && self.takes_part(m))
            .count();
        let deciding = healthy + usize::from(self.takes_part(victim));
        if rest == 0 || healthy < rest / 2 + 1 || deciding < voters.len() / 2 + 1 {
            found.push(format!(
                "M13: {id} is removed and {healthy} of {rest} others are healthy"
            ));
        }
    }

    fn takes_part(&self, member: &Member) -> bool {
        self.seen.pods.values().any(|pod| {
            pod.takes_part()
                && pod
                    .status()
                    .is_some_and(|status| status.member_id == member.id)
        })
    }

    fn bootstrapped(&self) -> bool {
        self.desired.recorded.cluster_id.is_some()
            || self.seen.pods.values().any(PodSeen::takes_part)
    }

    fn create_pod(&self, pod: &Pod, found: &mut Vec<Violation>) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        if self.seen.pods.contains_key(&name) {
            found.push(format!("M11: {name} is made while its old pod is there"));
        }
        let environment = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut environment = environment.flat_map(|container| container.env.iter().flatten());
        let bootstrap = environment
            .find(|variable| variable.name == keys::ENV_BOOTSTRAP)
            .and_then(|variable| variable.value.clone());
        if let Some(set) = bootstrap {
            let frozen = &self.desired.recorded.bootstrap_members;
            if self.bootstrapped() {
                found.push(format!("B2: {name} bootstraps a cluster that has formed"));
            }
            let first = self.plan.status.as_ref().is_none_or(|draft| draft.first);
            if set != frozen.join(",") && !first && !self.seen.pods.is_empty() {
                found.push(format!(
                    "B1: {name} bootstraps with another set than the frozen one"
                ));
            }
        }
        for template in &self.desired.claims {
            let claim = names::claim(&template.name, &name);
            let there = self
                .seen
                .claims
                .get(&claim)
                .is_some_and(|claim| !claim.terminating);
            let made = self.plan.steps.iter().any(|step| {
                matches!(step, Step::CreateClaim(new) if new.metadata.name.as_ref() == Some(&claim))
            });
            if !there && !made {
                found.push(format!("M19: {name} is made without its claim"));
            }
        }
    }

    fn create_claim(&self, claim: &PersistentVolumeClaim, found: &mut Vec<Violation>) {
        let name = claim.metadata.name.clone().unwrap_or_default();
        if self.seen.claims.contains_key(&name) {
            found.push(format!(
                "M19: claim {name} is made while its old one is there"
            ));
        }
        if !self.bootstrapped() {
            return;
        }
        let annotations = claim.metadata.annotations.iter().flatten();
        let join = annotations
            .clone()
            .find(|(key, _)| *key == keys::JOIN)
            .map(|(_, id)| id);
        let join = join.and_then(|id| id.parse::<Id>().ok());
        let pod = claim.metadata.labels.iter().flatten();
        let pod = pod
            .clone()
            .find(|(key, _)| *key == labels::POD_NAME)
            .map(|(_, pod)| pod);
        let member = pod.and_then(|pod| self.member_of(pod));
        let fresh = member.is_some_and(|member| {
            Some(member.id) == join && member.is_learner && member.name.is_empty()
        });
        if !fresh {
            found.push(format!(
                "M11: claim {name} is a new disk under an old identity"
            ));
        }
    }

    fn delete_claim(&self, name: &str, uid: &str, found: &mut Vec<Violation>) {
        if self
            .seen
            .claims
            .get(name)
            .is_none_or(|claim| claim.uid != uid)
        {
            found.push(format!(
                "C2: claim {name} is deleted in an incarnation not seen"
            ));
        }
        let claim = self.seen.claims.get(name);
        let Some(pod) = claim.and_then(|claim| claim.labels.get(labels::POD_NAME)) else {
            return;
        };
        if self.seen.pods.contains_key(pod) {
            found.push(format!(
                "M19: claim {name} is deleted before its pod is gone"
            ));
        }
        if self.desired.deleting {
            return;
        }
        if self.members().is_none() {
            found.push(format!(
                "M5: claim {name} is deleted while the list is unknown"
            ));
        }
        if self
            .member_of(pod)
            .is_some_and(|member| !member.name.is_empty())
        {
            found.push(format!("M10: claim {name} of a member is deleted"));
        }
    }

    /// Members that take part and are stopped by this plan leave a quorum.
    fn margin(&self, found: &mut Vec<Violation>) {
        if self.desired.deleting || self.desired.stop {
            return;
        }
        let Some(members) = self.members() else {
            let stopped = self.plan.steps.iter().find_map(|step| match step {
                Step::DeletePod { name, .. } => self
                    .seen
                    .pods
                    .get(name)
                    .filter(|pod| pod.takes_part() && !pod.node.is_dead()),
                _ => None,
            });
            if stopped.is_some() && self.bootstrapped() {
                found.push("M5: a healthy member is stopped while the list is unknown".to_owned());
            }
            return;
        };
        let voters: Vec<&Member> = members.iter().filter(|member| !member.is_learner).collect();
        let stopped: BTreeSet<&String> = self
            .plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::DeletePod { name, .. } => Some(name),
                _ => None,
            })
            .collect();
        let votes = |pod: &&String| {
            let status = self.seen.pods.get(*pod).filter(|pod| pod.takes_part());
            let status = status.and_then(PodSeen::status);
            status.is_some_and(|status| voters.iter().any(|m| m.id == status.member_id))
        };
        let healthy = voters
            .iter()
            .filter(|member| self.takes_part(member))
            .count();
        let ending = stopped.iter().filter(|pod| {
            votes(pod)
                && self
                    .seen
                    .pods
                    .get(**pod)
                    .is_some_and(|p| !p.node.is_dead() && !p.ended)
        });
        let ending = ending.count();
        if ending > 0 && voters.len() > 1 && healthy - ending < voters.len() / 2 + 1 {
            found.push(format!(
                "P9: {ending} of {healthy} healthy voters are stopped at once"
            ));
        }
    }
}
