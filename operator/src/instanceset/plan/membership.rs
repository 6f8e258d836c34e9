//! Changes of etcd's membership: one at a time, by identifier, from a list read just now (M1-M19).
//!
//! Order: finish or drop what is going on; remove members whose data is lost; add what is missing, as learners;
//! remove what is too many, highest ordinal first, never the leader before leadership has moved. What shall be made anew
//! comes last: it has its data, and whoever is missing is needed more.

use kbagent_protocol::Member;

use super::safety::{Safety, quorum};
use super::slots::Facts;
use super::{Plan, Step, Waiting};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{Observed, PodSeen, Reading};

/// Seconds after which a learner that has never started is dropped and made anew (M9). Longer than the startup
/// probe's budget: a large snapshot may be on its way.
const LEARNER_DEADLINE: i64 = 900;
/// Share of the leader's log, in hundredths, that etcd wants a learner to have before it may vote.
const IN_SYNC_PERCENT: u64 = 90;

/// Plans at most one change. True when nothing is going on and nothing is due.
pub fn plan(
    desired: &Desired,
    seen: &Observed,
    facts: &Facts,
    safety: &Safety,
    plan: &mut Plan,
) -> bool {
    let list = match &facts.members {
        Reading::Known(list) => list,
        Reading::Unknown(why) => {
            plan.waiting.push(Waiting::MembersUnknown(why.clone()));
            return false;
        }
    };
    let change = Change {
        desired,
        seen,
        facts,
        safety,
        list,
    };
    change.plan(plan)
}

struct Change<'a> {
    desired: &'a Desired,
    seen: &'a Observed,
    facts: &'a Facts,
    safety: &'a Safety,
    list: &'a [(Option<String>, Member)],
}

impl Change<'_> {
    fn plan(&self, plan: &mut Plan) -> bool {
        for (_, member) in self.list.iter().filter(|(pod, _)| pod.is_none()) {
            plan.waiting.push(Waiting::Stranger(member.id.to_string()));
        }
        let learner = self.list.iter().find(|(_, member)| member.is_learner);
        if let Some((pod, member)) = learner {
            self.learner(pod.as_deref(), member, plan);
            return false;
        }
        if let Some((pod, member, why)) = self.facts.lost.first() {
            self.remove(pod, member, why, plan);
            return false;
        }
        let unstarted = self.list.iter().find(|(_, member)| member.name.is_empty());
        if let Some((pod, member)) = unstarted {
            // A voter of the bootstrap set that is still on its way.
            let pod = pod.clone().unwrap_or_else(|| member.id.to_string());
            plan.waiting.push(Waiting::MemberStarting(pod));
            return false;
        }
        if let Some(pod) = self.facts.missing.first() {
            self.add(pod, plan);
            return false;
        }
        if let Some((pod, member)) = self.surplus() {
            self.leave(pod, member, plan);
            return false;
        }
        if let Some((pod, member, why)) = self.facts.condemned.first() {
            self.remove(pod, member, why, plan);
            return false;
        }
        true
    }

    /// The one learner: it gets its vote, or goes, before anything else is begun (M1, M17).
    fn learner(&self, pod: Option<&str>, member: &Member, plan: &mut Plan) {
        let Some(pod) = pod else {
            // A stranger's: reported above, and only its owner can tell what it is for.
            return;
        };
        let mut given_up = self.facts.lost.iter().chain(&self.facts.condemned);
        let lost = given_up.find(|(_, lost, _)| lost.id == member.id);
        if let Some((_, _, why)) = lost {
            return self.remove(pod, member, why, plan);
        }
        if !self.desired.wants(pod) {
            return self.remove(pod, member, "it is not wanted any more", plan);
        }
        let there = self.seen.pods.get(pod);
        let started = there.and_then(|there| there.status());
        let Some(status) = started.filter(|status| status.member_id == member.id) else {
            // A learner whose first publication came back to it in a snapshot does not serve clients for another request
            // timeout of etcd (6 s). It is ready long before: a linearizable read has passed through it, for which it
            // had applied all there was. Whether it is in sync is the leader's to say in any case.
            // One that says it is somebody else has proven nothing for this member.
            let silent = |there: &&PodSeen| there.status().is_none();
            let ready = there.filter(silent);
            let ready = ready.is_some_and(|there| there.ready && !there.terminating);
            if ready && !member.name.is_empty() {
                return self.vote(pod, member, plan);
            }
            let late = there.is_some_and(|there| there.age_seconds > LEARNER_DEADLINE);
            if late && member.name.is_empty() {
                return self.remove(pod, member, "it did not start in time", plan);
            }
            return plan.waiting.push(Waiting::MemberStarting(pod.to_owned()));
        };
        let indexes = self
            .seen
            .pods
            .values()
            .filter_map(|pod| Some(pod.status()?.raft_index));
        let leader = indexes.max().unwrap_or_default();
        let applied = status.applied_index;
        let in_sync = applied.saturating_mul(100) >= leader.saturating_mul(IN_SYNC_PERCENT);
        if member.name.is_empty() || status.leader_id.is_none() || !in_sync {
            let pod = pod.to_owned();
            return plan.waiting.push(Waiting::CatchingUp {
                pod,
                applied,
                leader,
            });
        }
        self.vote(pod, member, plan);
    }

    fn vote(&self, pod: &str, member: &Member, plan: &mut Plan) {
        match self.safety.via(Some(pod)) {
            None => plan.waiting.push(Waiting::NoVoter {
                what: format!("the vote of {pod}"),
            }),
            Some(via) => {
                let (pod, member) = (pod.to_owned(), member.id);
                plan.steps.push(Step::Promote { via, pod, member });
            }
        }
    }

    /// Removes a member by identifier, if the others can decide it and go on without it (M13, M18).
    fn remove(&self, pod: &str, member: &Member, why: &str, plan: &mut Plan) {
        let what = format!("removal of member {pod} ({why})");
        if !member.is_learner {
            if self.safety.voters <= 1 {
                return plan.waiting.push(Waiting::DataLost(pod.to_owned()));
            }
            // The old set decides the removal, the victim's own vote included; the new one must live after it.
            let (all, left) = (self.safety.healthy.len(), self.safety.healthy_without(pod));
            for (healthy, needed) in [
                (all, quorum(self.safety.voters)),
                (left, quorum(self.safety.voters - 1)),
            ] {
                if healthy < needed {
                    return plan.waiting.push(Waiting::Quorum {
                        what,
                        healthy,
                        needed,
                    });
                }
            }
            if self.safety.leader.as_deref() == Some(pod) {
                return self.step_down(pod, &what, plan);
            }
        }
        match self.safety.via(Some(pod)) {
            None => plan.waiting.push(Waiting::NoVoter { what }),
            Some(via) => plan.steps.push(Step::RemoveMember {
                via,
                pod: pod.to_owned(),
                host: format!("{pod}.{}", self.desired.domain()),
                member: member.id,
                why: why.to_owned(),
            }),
        }
    }

    fn add(&self, pod: &str, plan: &mut Plan) {
        let what = format!("joining of {pod}");
        let (healthy, needed) = (self.safety.healthy.len(), quorum(self.safety.voters));
        if healthy < needed {
            return plan.waiting.push(Waiting::Quorum {
                what,
                healthy,
                needed,
            });
        }
        match self.safety.via(None) {
            None => plan.waiting.push(Waiting::NoVoter { what }),
            Some(via) => plan.steps.push(Step::AddLearner {
                via,
                pod: pod.to_owned(),
                host: format!("{pod}.{}", self.desired.domain()),
            }),
        }
    }

    /// The member with the highest ordinal that is not wanted. Desired size comes from the spec only (M16).
    fn surplus(&self) -> Option<(&str, &Member)> {
        self.list
            .iter()
            .filter_map(|(pod, member)| Some((pod.as_deref()?, member)))
            .filter(|(pod, _)| !self.desired.wants(pod))
            .max_by_key(|(pod, _)| self.desired.name.ordinal(pod))
    }

    fn leave(&self, pod: &str, member: &Member, plan: &mut Plan) {
        self.remove(pod, member, "the cluster was made smaller", plan);
    }

    fn step_down(&self, from: &str, what: &str, plan: &mut Plan) {
        let successor = self
            .safety
            .healthy
            .iter()
            .filter(|(pod, voter)| *pod != from && voter.ready)
            .max_by_key(|(pod, voter)| (self.desired.wants(pod), voter.applied))
            .map(|(pod, _)| pod.clone());
        let via = self.safety.healthy.get(from).and_then(|voter| voter.ip);
        match (successor, via) {
            (Some(to), Some(ip)) => {
                let via = super::Via {
                    pod: from.to_owned(),
                    ip,
                };
                plan.steps.push(Step::Switchover {
                    via,
                    from: from.to_owned(),
                    to,
                });
            }
            _ => plan.waiting.push(Waiting::NoVoter {
                what: what.to_owned(),
            }),
        }
    }
}
