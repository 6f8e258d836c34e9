//! Rounds as the reconciler carries them out: steps with the guards that the API server and etcd hold against them.

use std::collections::BTreeMap;

use kbagent_protocol::{Id, Member};

use super::super::super::desired::Desired;
use super::super::refused::Refused;
use super::super::{Plan, Step};
use super::{NUMBERS, World, url};
use crate::instanceset::events::summary;

impl World {
    /// Takes a round's plan as the reconciler does: what must be on record first is recorded first, a step that fails
    /// ends the round, one that is refused ends what needs it, and the record is guarded by what it was when the plan
    /// was made. `upto` steps, then a crash, unless the round is `finished`.
    pub(in super::super) fn advance(
        &mut self,
        before: &Desired,
        plan: &Plan,
        upto: usize,
        finished: bool,
    ) {
        let current = self.desired.recorded == before.recorded;
        let draft = plan.status.as_ref();
        if let Some(draft) = draft.filter(|draft| draft.first) {
            if !current {
                return;
            }
            self.desired.recorded = draft.status.clone();
        }
        let mut refused = Refused::default();
        let mut steps = plan.steps.iter().take(upto);
        let taken = steps.all(|step| {
            if !refused.allows(step) {
                return true;
            }
            if self.refuses(step) {
                refused.note(step);
                return true;
            }
            self.attempt(step)
        });
        if let (true, true, true, Some(draft)) = (finished, taken, current, draft) {
            self.desired.recorded = draft.status.clone();
        }
    }

    /// True for a step that the API server refuses, whatever is there.
    fn refuses(&self, step: &Step) -> bool {
        let told = summary(step);
        self.refuses.iter().any(|begin| told.starts_with(begin))
    }

    /// Takes a step as the API server and etcd take it. False when its guard forbids it; then nothing has happened.
    fn attempt(&mut self, step: &Step) -> bool {
        let same =
            |known: Option<u64>, uid: &str| known.is_none_or(|known| known.to_string() == uid);
        let there = match step {
            Step::CreateClaim(claim) => {
                let name = claim.metadata.name.as_deref().unwrap_or_default();
                !self.disks.contains_key(name)
            }
            Step::CreatePod(pod) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                !self.pods.contains_key(name)
            }
            Step::DeleteClaim { name, uid }
            | Step::RetireClaim { name, uid }
            | Step::GrowClaim { name, uid, .. } => {
                same(self.disks.get(name).map(|disk| disk.uid), uid)
            }
            Step::DeletePod { name, uid, .. } => same(self.pods.get(name).map(|pod| pod.uid), uid),
            Step::AddLearner { via, pod, .. } => {
                // The agent answers that it is done when the member is there.
                let known = self.members.iter().any(|m| m.peer_urls[0] == url(pod));
                let free = !self.members.iter().any(|m| m.is_learner);
                return self.answers(&via.pod) && (known || free && self.taken(step));
            }
            Step::Promote { via, member, .. } => {
                let in_sync = self.pods.values().any(|pod| pod.running == Some(*member));
                self.answers(&via.pod) && in_sync
            }
            Step::RemoveMember { via, member, .. } => {
                self.answers(&via.pod) && self.may_remove(*member)
            }
            Step::Switchover { via, from, to } => {
                self.answers(&via.pod) && self.leader.as_ref() == Some(from) && self.answers(to)
            }
            _ => self.cares(step),
        };
        there && self.taken(step)
    }

    fn taken(&mut self, step: &Step) -> bool {
        self.step(step);
        true
    }

    /// True when a member of the quorum runs in the pod.
    pub(super) fn answers(&self, pod: &str) -> bool {
        let member = self.pods.get(pod).and_then(|pod| pod.running);
        self.quorate() && member.is_some_and(|id| self.members.iter().any(|m| m.id == id))
    }

    /// etcd's `--strict-reconfig-check`: the members that are left must have a quorum that runs.
    fn may_remove(&self, member: Id) -> bool {
        let left = |known: &&Member| !known.is_learner && known.id != member;
        let runs = |known: &&Member| self.pods.values().any(|pod| pod.running == Some(known.id));
        let voters = self.members.iter().filter(left).count();
        let running = self.members.iter().filter(left).filter(runs).count();
        running > voters / 2
    }

    /// Everything that tells worlds apart, in text, numbers as they are.
    pub(in super::super) fn text(&self) -> String {
        let image = self.desired.template.spec.as_ref();
        let image = image.and_then(|spec| spec.containers[0].image.as_ref());
        format!(
            "{:?}",
            (
                (
                    &self.pods,
                    &self.disks,
                    &self.members,
                    self.formed,
                    (&self.leader, &self.databases, self.refuses, &self.off)
                ),
                (
                    &self.desired.members,
                    self.desired.stop,
                    (image, &self.desired.cluster_domain, &self.desired.recovery),
                    (&self.desired.claims, &self.desired.defragmentation),
                    &self.desired.recorded
                ),
            )
        )
    }
}

/// The text with each number that a world gave out, decimal or hexadecimal, replaced by its rank: what differs in the
/// numbers alone is the same.
pub(in super::super) fn renumbered(text: &str) -> String {
    let given = |number: &u64| (NUMBERS..NUMBERS + 0x10_0000).contains(number);
    let mut order = BTreeMap::new();
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let end = word
            .trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
            .len();
        let (word, tail) = word.split_at(end);
        let decimal = word.parse().ok().filter(given);
        let number = decimal.or_else(|| u64::from_str_radix(word, 16).ok().filter(given));
        match number {
            Some(number) => {
                let rank = order.len();
                let rank = *order.entry(number).or_insert(rank);
                out.push('#');
                out.push_str(&rank.to_string());
            }
            None => out.push_str(word),
        }
        out.push_str(tail);
    }
    out
}
