//! Changes of etcd's membership: one at a time, by identifier, from a list read just now (M1-M19).
//!
//! Order: finish or drop what is in progress; remove members whose data is lost, and those that are not wanted and do
//! not take part (M3); add what is missing, as learners; remove what is too many, highest ordinal first, never the
//! leader before leadership has moved. Rebuilds come last: such a member has its data, and one that is missing is
//! needed more. A change that cannot be made now does not hide one that can.

use kbagent_protocol::Member;

use super::next_pod::MembershipView;
use super::recovery;
use super::roster::{self, Roster};
use super::safety::{Safety, quorum};
use super::{Plan, Step, Waiting, volumes};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{Observed, PodSeen, Reading};

/// Share of the leader's log, in hundredths, that etcd wants a learner to have before it may vote.
const IN_SYNC_PERCENT: u64 = 90;

/// What a change is decided on.
#[derive(Clone, Copy)]
pub(crate) struct Basis<'a> {
    /// The desired state.
    pub desired: &'a Desired,
    /// What is there.
    pub seen: &'a Observed,
    /// What the members need.
    pub view: &'a MembershipView,
    /// The members.
    pub roster: &'a Roster,
    /// The margin.
    pub safety: &'a Safety,
}

/// Plans at most one change. True when nothing is in progress and nothing is due.
pub(crate) fn plan(basis: &Basis<'_>, plan: &mut Plan) -> bool {
    match Change::of(basis) {
        Ok(change) => change.plan(plan),
        Err(unknown) => {
            plan.waiting.push(unknown);
            false
        }
    }
}

/// The step that replaces a member which has its data, or transfers leadership first. The caller has seen to it that
/// nothing else is due.
///
/// # Errors
/// Why the others cannot spare it.
pub(super) fn replace(basis: &Basis<'_>, pod: &str, why: &str) -> Result<Step, Waiting> {
    let member = basis.roster.member(pod);
    let member = member.ok_or_else(|| Waiting::MemberStarting(pod.to_owned()))?;
    Change::of(basis)?.remove(pod, member, why)
}

/// The newest entry of the log that any member knows of.
pub(super) fn newest_index(seen: &Observed) -> u64 {
    let pods = seen.pods.values();
    let indexes = pods.filter_map(|pod| Some(pod.status()?.raft_index));
    indexes.max().unwrap_or_default()
}

/// True when so much of the log is applied that etcd would let a learner vote.
pub(super) fn is_in_sync(applied: u64, newest: u64) -> bool {
    applied.saturating_mul(100) >= newest.saturating_mul(IN_SYNC_PERCENT)
}

struct Change<'a> {
    desired: &'a Desired,
    seen: &'a Observed,
    view: &'a MembershipView,
    roster: &'a Roster,
    safety: &'a Safety,
    list: &'a [(Option<String>, Member)],
}

impl<'a> Change<'a> {
    fn of(basis: &Basis<'a>) -> Result<Self, Waiting> {
        let list = match &basis.roster.members {
            Reading::Known(list) => list,
            Reading::Unknown(why) => return Err(Waiting::MembersUnknown(why.clone())),
        };
        Ok(Self {
            desired: basis.desired,
            seen: basis.seen,
            view: basis.view,
            roster: basis.roster,
            safety: basis.safety,
            list,
        })
    }
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
        let mut held = Vec::new();
        match self.first(&mut held) {
            Some(step) => plan.steps.push(step),
            None if held.is_empty() => return true,
            None => plan.waiting.append(&mut held),
        }
        false
    }

    /// The first change that can be made; what is due before it and cannot be made yet is `held`.
    fn first(&self, held: &mut Vec<Waiting>) -> Option<Step> {
        let lost = self.view.lost.iter();
        let lost = lost.map(|(pod, member, why)| self.remove(pod, member, why));
        if let Some(step) = first_of(lost, held) {
            return Some(step);
        }
        let (dead, healthy): (Vec<_>, Vec<_>) = self
            .surplus()
            .into_iter()
            .partition(|(pod, _)| !self.safety.healthy.contains_key(*pod));
        let leave = |(pod, member): &(&str, &Member)| {
            self.remove(pod, member, "the cluster was made smaller")
        };
        if let Some(step) = first_of(dead.iter().map(leave), held) {
            return Some(step);
        }
        let unstarted = self.list.iter().find(|(pod, member)| {
            let wanted = pod.as_ref().is_none_or(|pod| self.desired.wants(pod));
            wanted && member.name.is_empty()
        });
        if let Some((pod, member)) = unstarted {
            // A voter of the bootstrap set that is still on its way.
            let pod = pod.clone().unwrap_or_else(|| member.id.to_string());
            held.push(Waiting::MemberStarting(pod));
            return None;
        }
        // They are alike: what forbids the first forbids all.
        let missing = self.view.missing.first().map(|pod| self.add(pod));
        if let Some(step) = first_of(missing.into_iter(), held) {
            return Some(step);
        }
        if !held.is_empty() {
            return None;
        }
        // A member that has its data is not given up while another is on its way: a new voter first, then the next.
        let awaited = self.desired.members.iter().find(|pod| !self.votes(pod));
        let replace = |(pod, member, why): &(String, Member, String)| match awaited {
            _ if self.safety.voters <= 1 => Err(Waiting::ClaimGoing(pod.clone())),
            Some(other) => Err(Waiting::ChangeGoingOn {
                what: format!("removal of member {pod} ({why})"),
                pod: other.clone(),
            }),
            None => self.remove(pod, member, why),
        };
        let wanted = |(pod, _, _): &&(String, Member, String)| self.desired.wants(pod);
        // The leader last: leadership then moves once, to a member that stays.
        let mut going: Vec<_> = self.view.going.iter().filter(wanted).collect();
        going.sort_by_key(|(pod, _, _)| self.safety.leader.as_ref() == Some(pod));
        if let Some(step) = first_of(going.into_iter().map(replace), held) {
            return Some(step);
        }
        let spare = self.safety.voters > self.desired.members.len() || awaited.is_none();
        let leaving = healthy.iter().filter(|_| spare);
        let step = first_of(leaving.map(leave), held);
        if step.is_some() || !held.is_empty() {
            return step;
        }
        first_of(self.view.to_rebuild.iter().map(replace), held)
    }

    fn votes(&self, pod: &str) -> bool {
        let member = self.roster.member(pod);
        member.is_some_and(|member| !member.is_learner)
    }

    /// The one learner: it gets its vote, or goes, before anything else is begun (M1, M17).
    fn learner(&self, pod: Option<&str>, member: &Member, plan: &mut Plan) {
        let Some(pod) = pod else {
            // An unknown member's: reported above, and only its owner knows what it is for.
            return;
        };
        let given_up = self.view.lost.iter().chain(&self.view.going);
        let mut given_up = given_up.chain(&self.view.to_rebuild);
        let lost = given_up.find(|(_, lost, _)| lost.id == member.id);
        if let Some((_, _, why)) = lost {
            return self.drop_learner(pod, member, why, plan);
        }
        if !self.desired.wants(pod) {
            return self.drop_learner(pod, member, "it is not wanted any more", plan);
        }
        let there = self.seen.pods.get(pod);
        let started = there.and_then(|there| there.status());
        let Some(status) = started.filter(|status| status.member_id == member.id) else {
            // A learner whose first publication came back to it in a snapshot does not serve clients for another
            // request timeout of etcd (6 s). It is ready long before: a linearizable read has passed through it, for
            // which it had applied all there was. Whether it is in sync is the leader's to say in any case.
            // One that reports another identity has proven nothing for this member.
            let silent = |there: &&PodSeen| there.status().is_none();
            let ready = there.filter(silent);
            let ready = ready.is_some_and(|there| there.ready && !there.terminating);
            if ready && !member.name.is_empty() {
                return self.vote(pod, member, plan);
            }
            if there.is_some_and(|there| roster::is_late(there, member)) {
                return self.drop_learner(pod, member, "it did not start in time", plan);
            }
            let waits = match member.name.as_str() {
                "" => Waiting::MemberStarting(pod.to_owned()),
                _ => Waiting::LearnerStarting(pod.to_owned()),
            };
            return self.wait_for_learner(pod, member, waits, plan);
        };
        let (applied, leader) = (status.applied_index, newest_index(self.seen));
        let in_sync = is_in_sync(applied, leader);
        if member.name.is_empty() || status.leader_id.is_none() || !in_sync {
            let waits = Waiting::CatchingUp {
                pod: pod.to_owned(),
                applied,
                leader,
            };
            return self.wait_for_learner(pod, member, waits, plan);
        }
        self.vote(pod, member, plan);
    }

    /// Waits for a learner that cannot vote yet, unless another class has been named since: its volume may never come,
    /// or may be what keeps it from catching up, and it would have to move once more.
    fn wait_for_learner(&self, pod: &str, member: &Member, waits: Waiting, plan: &mut Plan) {
        match volumes::elsewhere(self.desired, self.seen, pod) {
            Some(why) => self.drop_learner(pod, member, &why, plan),
            None => plan.waiting.push(waits),
        }
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

    fn drop_learner(&self, pod: &str, member: &Member, why: &str, plan: &mut Plan) {
        match self.remove(pod, member, why) {
            Ok(step) => plan.steps.push(step),
            Err(held) => plan.waiting.push(held),
        }
    }

    /// Removes a member by identifier, if the others can decide it and continue without it (M13, M18).
    fn remove(&self, pod: &str, member: &Member, why: &str) -> Result<Step, Waiting> {
        let what = format!("removal of member {pod} ({why})");
        if !member.is_learner {
            let given_up = recovery::was_given_up(self.desired, self.safety, member.id);
            if self.safety.voters <= 1 && !given_up {
                return Err(Waiting::DataLost(pod.to_owned()));
            }
            // The old set decides the removal, the victim's own vote included; the new one must live after it.
            let (all, left) = (self.safety.healthy.len(), self.safety.healthy_without(pod));
            for (healthy, needed) in [
                (all, quorum(self.safety.voters)),
                (left, quorum(self.safety.voters - 1)),
            ] {
                if healthy < needed && !given_up {
                    return Err(Waiting::Quorum {
                        what,
                        healthy,
                        needed,
                    });
                }
            }
            if self.safety.leader.as_deref() == Some(pod) {
                return self.step_down(pod, what);
            }
        }
        let Some(host) = roster::host_of(self.desired, pod, member) else {
            // Told among the list's faults, with what to do.
            return Err(Waiting::NoAddress { what });
        };
        let via = self
            .safety
            .via(Some(pod))
            .ok_or(Waiting::NoVoter { what })?;
        Ok(Step::RemoveMember {
            drain: self.drain(pod),
            via,
            pod: pod.to_owned(),
            host,
            member: member.id,
            why: why.to_owned(),
        })
    }

    /// The agent of a voter whose vote the removal does not need.
    fn drain(&self, pod: &str) -> Option<super::Via> {
        let ip = self.safety.healthy.get(pod)?.ip?;
        let without = self.safety.healthy_without(pod);
        let pod = pod.to_owned();
        (without >= quorum(self.safety.voters)).then_some(super::Via { pod, ip })
    }

    fn add(&self, pod: &str) -> Result<Step, Waiting> {
        let what = format!("joining of {pod}");
        if self.roster.domain_differs() {
            return Err(Waiting::NoAddress { what });
        }
        // etcd counts the new member as one that is down, but for a cluster of one.
        let voters = self.safety.voters;
        let needed = quorum(if voters == 1 { 1 } else { voters + 1 });
        let healthy = self.safety.healthy.len();
        if healthy < needed {
            return Err(Waiting::Quorum {
                what,
                healthy,
                needed,
            });
        }
        let via = self.safety.via(None).ok_or(Waiting::NoVoter { what })?;
        Ok(Step::AddLearner {
            via,
            pod: pod.to_owned(),
            host: format!("{pod}.{}", self.desired.domain()),
        })
    }

    /// Members that are not wanted, highest ordinal first. Desired size comes from the spec only (M16).
    fn surplus(&self) -> Vec<(&str, &Member)> {
        let ours = self.list.iter();
        let ours = ours.filter_map(|(pod, member)| Some((pod.as_deref()?, member)));
        let mut surplus: Vec<_> = ours.filter(|(pod, _)| !self.desired.wants(pod)).collect();
        surplus.sort_by_key(|(pod, _)| std::cmp::Reverse(self.desired.name.ordinal(pod)));
        surplus
    }

    fn step_down(&self, from: &str, what: String) -> Result<Step, Waiting> {
        let stays = |pod: &String| {
            let mut replaced = self.view.to_rebuild.iter().chain(&self.view.going);
            self.desired.wants(pod) && !replaced.any(|(other, _, _)| other == pod)
        };
        let successor = self
            .safety
            .healthy
            .iter()
            .filter(|(pod, _)| *pod != from)
            .max_by_key(|(pod, voter)| (voter.ready, stays(pod), voter.applied))
            .map(|(pod, _)| pod.clone());
        let via = self.safety.healthy.get(from).and_then(|voter| voter.ip);
        match (successor, via) {
            (Some(to), Some(ip)) => Ok(Step::Switchover {
                via: super::Via {
                    pod: from.to_owned(),
                    ip,
                },
                from: from.to_owned(),
                to,
            }),
            _ => Err(Waiting::NoVoter { what }),
        }
    }
}

/// The first that can be made; why those before it cannot is `held`.
fn first_of(
    mut changes: impl Iterator<Item = Result<Step, Waiting>>,
    held: &mut Vec<Waiting>,
) -> Option<Step> {
    changes.find_map(|change| change.map_err(|why| held.push(why)).ok())
}
