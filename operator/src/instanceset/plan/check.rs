//! A second opinion on a plan: rules that no plan may break, whatever the state of the world.
//!
//! Shares no code with the modules that make plans, reads the raw observation only, and knows nothing of progress:
//! an empty plan is always fine. Tests and debug builds run it on every plan.

use std::collections::BTreeSet;

use etcd_operator_api::restore::FILLED;
use etcd_operator_api::{labels, names};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kbagent_protocol::{Id, Member};

use super::{Grace, Plan, Removal, Step};
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{NodeSeen, Observed, PodSeen};

mod lint;
mod moving;
pub(super) mod placement;
mod recovery;
mod upkeep;
mod versions;
mod volumes;

pub(crate) use lint::Violation;

use lint::Lint;

/// Finds broken rules.
#[must_use]
pub(crate) fn lint(desired: &Desired, seen: &Observed, plan: &Plan) -> Vec<Violation> {
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
    lint.contradicted(&mut found);
    recovery::check(&lint, &mut found);
    found
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
            Step::RemoveMember { pod, member, .. } => {
                self.remove(pod, *member, found);
                moving::check(self, pod, *member, found);
            }
            Step::CreatePod(pod) => self.create_pod(pod, found),
            Step::CreateClaim(claim) => self.create_claim(claim, found),
            Step::DeleteClaim { name, uid } => self.delete_claim(name, uid, found),
            Step::DeletePod {
                name,
                uid,
                grace,
                how,
                ..
            } => match self.seen.pods.get(name) {
                Some(pod) if pod.uid == *uid => {
                    self.delete_pod(name, pod, *grace, found);
                    self.ask_budget(name, pod, (*grace, *how), found);
                    self.move_first(name, pod, *grace, found);
                    versions::replace(self, (name, pod), *grace, found);
                }
                _ => found.push(format!("C2: {name} is deleted in an incarnation not seen")),
            },
            Step::RemoveFinalizer => {
                if !self.desired.deleting {
                    found.push("C4: the finalizer goes from an object that stays".to_owned());
                }
            }
            Step::Compact { .. } | Step::Defragment { .. } | Step::Disarm { .. } => {
                upkeep::check(self, step, found);
            }
            Step::Downgrade { to, .. } => versions::begin(self, *to, found),
            Step::GrowClaim { name, uid, to } => volumes::check(self, (name, uid), to, found),
            Step::AddFinalizer
            | Step::ApplyService(_)
            | Step::RetireClaim { .. }
            | Step::ReleaseClaim { .. }
            | Step::BindClaim { .. }
            | Step::Relabel { .. }
            | Step::Resize { .. }
            | Step::CancelDowngrade { .. }
            | Step::AppendToLog { .. }
            | Step::Switchover { .. } => {}
        }
    }

    fn delete_pod(&self, name: &str, pod: &PodSeen, grace: Grace, found: &mut Vec<Violation>) {
        if grace == Grace::Dead && !pod.node.is_dead() {
            found.push(format!(
                "P5: {name} is forced away from a node that may live"
            ));
        }
        let listed = |id: &Id| self.members().into_iter().flatten().any(|m| m.id == *id);
        let own = self.identifiers(name);
        if grace == Grace::Moment
            && let Some(id) = own.iter().find(|id| listed(id))
        {
            found.push(format!(
                "M4: {name} is deleted as no member, and {id} is in the list"
            ));
        }
        if grace == Grace::Moment && self.members().is_none() {
            found.push(format!("M5: {name} is deleted as no member of no list"));
        }
    }

    /// A voter that takes part is evicted, and nothing else is.
    fn ask_budget(
        &self,
        name: &str,
        pod: &PodSeen,
        how: (Grace, Removal),
        found: &mut Vec<Violation>,
    ) {
        let id = pod.status().map(|status| status.member_id);
        let mut list = self.members().into_iter().flatten();
        let votes = list.any(|m| Some(m.id) == id && !m.is_learner);
        let counts = votes && pod.takes_part() && !pod.node.is_dead() && !self.all_go();
        match how {
            (Grace::Template, Removal::Delete) if counts => {
                found.push(format!("P4: the budget is not asked for {name}, a voter"));
            }
            (_, Removal::Evict) if !counts => {
                found.push(format!(
                    "P4: the budget could hold {name}, which has no vote"
                ));
            }
            _ => {}
        }
    }

    /// A leader is not stopped while another voter could lead.
    fn move_first(&self, name: &str, pod: &PodSeen, grace: Grace, found: &mut Vec<Violation>) {
        let leads = pod
            .status()
            .is_some_and(|status| status.leader_id == Some(status.member_id));
        let others = self.seen.pods.iter().filter(|(other, _)| *other != name);
        let votes = |pod: &PodSeen| pod.status().is_some_and(|status| !status.is_learner);
        let mut able = others.filter(|(_, pod)| pod.takes_part() && pod.ready && votes(pod));
        let planned = grace == Grace::Template && !self.all_go();
        if leads && planned && pod.takes_part() && able.next().is_some() {
            found.push(format!(
                "P9: {name} leads and is stopped before leadership has moved"
            ));
        }
    }

    /// A member that takes part and is not in the list: nothing is decided on such a list.
    fn contradicted(&self, found: &mut Vec<Violation>) {
        let Some(members) = self.members() else {
            return;
        };
        let part = self.seen.pods.values().filter(|pod| pod.takes_part());
        let mut part = part.filter_map(|pod| Some(pod.status()?.member_id));
        let Some(id) = part.find(|id| !members.iter().any(|member| member.id == *id)) else {
            return;
        };
        let decided = |step: &&Step| match step {
            Step::DeletePod { name, .. } => self.may_vote(name) && !self.all_go(),
            Step::DeleteClaim { .. } => !self.desired.deleting,
            step => step.changes_membership(),
        };
        if let Some(step) = self.plan.steps.iter().find(decided) {
            found.push(format!(
                "M5: {id} takes part and is not listed, and yet: {step:?}"
            ));
        }
    }

    fn all_go(&self) -> bool {
        self.desired.deleting || self.desired.stop
    }

    /// True unless it is certain that no etcd runs in the pod.
    fn may_vote(&self, pod: &str) -> bool {
        self.seen.pods.get(pod).is_some_and(|pod| {
            let ended = pod.ended || pod.refused().is_some();
            let nowhere = pod.node.is_dead() || pod.node == NodeSeen::Unassigned;
            let down = pod.node == NodeSeen::Ready && !pod.runs && pod.status().is_none();
            !(ended || nowhere || down)
        })
    }

    /// True when the data of the pod goes with it.
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
                "M1: {pod} is added while another change is in progress"
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
        let home = format!(".svc.{}:", self.desired.cluster_domain);
        let ours = format!(
            ".{}.{}.svc.",
            self.desired.name.headless(),
            self.desired.namespace
        );
        let mut urls = members.iter().flat_map(|member| &member.peer_urls);
        if let Some(url) = urls.find(|url| url.contains(&ours) && !url.contains(&home)) {
            found.push(format!("N: {pod} is added in another domain than {url}"));
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
        let votes = |pod: &str| {
            let member = self.member_of(pod);
            member.is_some_and(|member| !member.is_learner)
        };
        let mut others = self.desired.members.iter().filter(|other| *other != pod);
        if self.desired.wants(pod)
            && self.takes_part(victim)
            && let Some(other) = others.find(|other| !votes(other))
        {
            found.push(format!(
                "M3: {id}, which takes part and is wanted, is removed while {other} has no vote"
            ));
        }
        let rest = voters.len() - 1;
        let healthy = voters
            .iter()
            .filter(|m| m.id != id && self.takes_part(m))
            .count();
        let deciding = healthy + usize::from(self.takes_part(victim));
        let margin = rest > 0 && healthy > rest / 2 && deciding > voters.len() / 2;
        if !margin && !recovery::gave_up(self, id) {
            found.push(format!(
                "M13: {id} is removed and {healthy} of {rest} others are healthy"
            ));
        }
    }

    fn create_pod(&self, pod: &Pod, found: &mut Vec<Violation>) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        placement::check(self, (&name, pod), found);
        if self.seen.pods.contains_key(&name) {
            found.push(format!("M11: {name} is made while its old pod is there"));
        }
        let environment = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut environment = environment.flat_map(|container| container.env.iter().flatten());
        let bootstrap = environment
            .find(|variable| variable.name == keys::ENV_BOOTSTRAP)
            .and_then(|variable| variable.value.clone());
        let begins = bootstrap.is_some();
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
        if let (Some(seed), false) = (&self.desired.seed, self.bootstrapped()) {
            let mut claims = self.seen.claims.iter();
            let filled = claims.any(|(claim, seen)| {
                claim.ends_with(&name) && seen.annotations.get(FILLED) == Some(seed)
            });
            if !filled {
                found.push(format!(
                    "D1: {name} is made before its disk holds the backup"
                ));
            }
            if begins {
                found.push(format!("D1: {name} may begin without the backup"));
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

    /// Members that may vote and are stopped by this plan leave a quorum, and no data goes that is needed.
    fn margin(&self, found: &mut Vec<Violation>) {
        if self.all_go() || recovery::gives_up(self) {
            return;
        }
        let deleted = self.plan.steps.iter().filter_map(|step| match step {
            Step::DeletePod { name, .. } => Some(name),
            _ => None,
        });
        let deleted: BTreeSet<&String> = deleted.collect();
        let part = |pod: &&&String| self.seen.pods.get(**pod).is_some_and(PodSeen::takes_part);
        let ending: Vec<_> = deleted.iter().filter(part).collect();
        if ending.len() > 1 {
            found.push(format!("P9: {ending:?} are stopped in one round"));
        }
        let Some(members) = self.members() else {
            if !ending.is_empty() {
                found.push("M5: a healthy member is stopped while the list is unknown".to_owned());
            }
            let going = |pod: &&&String| self.is_last_of_its_data(pod) && self.holds(pod);
            if let Some(pod) = deleted.iter().find(going) {
                found.push(format!(
                    "D: the data of {pod} goes, and the list is unknown"
                ));
            }
            return;
        };
        let voters: Vec<&Member> = members.iter().filter(|member| !member.is_learner).collect();
        let is_stopped = |member: &Member| {
            let mut stopped = deleted.iter();
            stopped.any(|pod| self.member_of(pod).is_some_and(|m| m.id == member.id))
        };
        let left = voters
            .iter()
            .filter(|m| self.takes_part(m) && !is_stopped(m));
        let left = left.count();
        if left > voters.len() / 2 {
            return;
        }
        for pod in deleted {
            let Some(member) = self.member_of(pod).filter(|member| !member.is_learner) else {
                continue;
            };
            if self.holds(pod) && self.is_last_of_its_data(pod) {
                found.push(format!("D: the data of {} goes with {pod}", member.id));
            }
            if self.may_vote(pod) && voters.len() > 1 {
                let all = voters.len();
                found.push(format!(
                    "P9: without {pod} {left} of {all} voters take part"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
