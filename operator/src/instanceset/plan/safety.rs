//! Which members may not be stopped now, and why: computed once, here, for every module that stops one. Every step that
//! deletes a pod or a claim, or defragments a member, goes through the [`Gate`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use etcd_operator_api::names;

use super::roster::Roster;
use super::steps::Via;
use super::{Grace, Plan, Removal, Step, Waiting};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{ClaimSeen, Observed, PodSeen, Reading};

/// Seconds after which a pod that has brought about nothing may be replaced although no member can be asked.
pub(crate) const PATIENCE: i64 = 30;

/// A voter that takes part now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Voter {
    /// Raft index it has applied.
    pub applied: u64,
    /// Where its agent is.
    pub ip: Option<IpAddr>,
    /// True when its pod has the newest revision.
    pub updated: bool,
    /// True when its pod is ready.
    pub ready: bool,
}

/// Why a pod must not be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unsafe {
    /// The member list is not known.
    MembersUnknown(String),
    /// Too few voters would be left.
    Quorum {
        /// Voters that would be left.
        left: usize,
        /// Voters that are needed.
        needed: usize,
    },
    /// Its data goes with it, and without it no majority has the data.
    LastData,
    /// It is listed at another address than its pod's: it might not be reached again.
    Misplaced(Box<Waiting>),
    /// Another member is stopped in this round.
    OneARound,
    /// It leads, and another can: leadership moves first.
    Leads,
}

impl Unsafe {
    /// The reason for status; `None` for what the next round sees to.
    pub(crate) fn waiting(&self, pod: &str, what: String) -> Option<Waiting> {
        match self {
            Unsafe::MembersUnknown(why) => Some(Waiting::MembersUnknown(why.clone())),
            Unsafe::Quorum { left, needed } => Some(Waiting::Quorum {
                what,
                healthy: *left,
                needed: *needed,
            }),
            Unsafe::LastData => Some(Waiting::ClaimGoing(pod.to_owned())),
            Unsafe::Misplaced(fault) => Some((**fault).clone()),
            Unsafe::OneARound | Unsafe::Leads => None,
        }
    }
}

/// The cluster's margin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Safety {
    /// Voters on the list.
    pub voters: usize,
    /// Voters that take part, by pod.
    pub healthy: BTreeMap<String, Voter>,
    /// The pod that leads.
    pub leader: Option<String>,
    /// Pods of voters that take part; one that is being defragmented, too: the disruption budget counts it.
    counted: BTreeSet<String>,
    /// Pods of voters, whether they take part or not.
    voting: BTreeSet<String>,
    /// Pods whose claims are going: their data lasts as long as they do.
    going: BTreeSet<String>,
    /// Why the list is not known, if so.
    unknown: Option<String>,
    /// True when the list is not known and no pod takes part: there is no quorum to lose.
    outage: bool,
    /// Pods whose members are listed elsewhere.
    misplaced: BTreeMap<String, Waiting>,
}

/// Votes that a decision needs.
pub(crate) fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

impl Safety {
    /// Weighs the list against what members say.
    pub(crate) fn of(desired: &Desired, seen: &Observed, roster: &Roster) -> Self {
        let revision = super::revision::revision(desired);
        let listed = roster.members.known();
        let voters = listed
            .into_iter()
            .flatten()
            .filter(|(_, member)| !member.is_learner);
        let part: Vec<(&String, &PodSeen, Voter)> = voters
            .clone()
            .filter_map(|(pod, member)| {
                let pod = pod.as_ref()?;
                let there = seen.pods.get(pod)?;
                let status = there.status().filter(|_| there.takes_part())?;
                let own = status.member_id == member.id && !status.is_learner;
                own.then(|| (pod, there, voter(there, status.applied_index, &revision)))
            })
            .collect();
        let counted = part.iter().map(|(pod, ..)| (*pod).clone()).collect();
        let serving = part.into_iter().filter(|(_, pod, _)| !pod.defragments());
        let healthy: BTreeMap<String, Voter> = serving
            .map(|(pod, _, voter)| (pod.clone(), voter))
            .collect();
        let pods = seen.pods.keys();
        Self {
            voters: voters.clone().count(),
            leader: leader(seen, &healthy),
            healthy,
            counted,
            voting: voters.filter_map(|(pod, _)| pod.clone()).collect(),
            going: pods
                .filter(|pod| data_is_going(desired, seen, pod))
                .cloned()
                .collect(),
            unknown: match &roster.members {
                Reading::Unknown(why) => Some(why.clone()),
                Reading::Known(_) => None,
            },
            outage: roster.members.known().is_none()
                && !seen.pods.values().any(|pod| pod.takes_part() || pod.ready),
            misplaced: roster.misplaced.clone(),
        }
    }

    /// True for the pod of a voter.
    pub(crate) fn votes(&self, pod: &str) -> bool {
        self.voting.contains(pod)
    }

    /// True when a pod may still become ready without help: in an outage the first ones wait for the last.
    pub(crate) fn may_come(&self, pod: &PodSeen) -> bool {
        !self.outage || pod.age_seconds <= PATIENCE
    }

    /// Healthy voters that would be left without `pod`.
    pub(crate) fn healthy_without(&self, pod: &str) -> usize {
        self.healthy.keys().filter(|name| *name != pod).count()
    }

    /// The agent to ask for a change: the leader's, else that of the healthy voter that is furthest (M7, B7).
    pub(crate) fn via(&self, except: Option<&str>) -> Option<Via> {
        self.healthy
            .iter()
            .filter(|(pod, _)| Some(pod.as_str()) != except)
            .filter_map(|(pod, voter)| Some((pod, voter.ip?, voter.applied)))
            .max_by_key(|(pod, _, applied)| (Some(*pod) == self.leader.as_ref(), *applied))
            .map(|(pod, ip, _)| Via {
                pod: pod.clone(),
                ip,
            })
    }

    /// The voter that is to lead instead of `from`: ready if one is, of the newest revision if possible, furthest.
    pub(crate) fn successor(&self, from: &str) -> Option<&str> {
        self.healthy
            .iter()
            .filter(|(pod, _)| *pod != from)
            .max_by_key(|(_, voter)| (voter.ready, voter.updated, voter.applied))
            .map(|(pod, _)| pod.as_str())
    }

    /// Why a pod must not be stopped when those of `stopped` are stopped too. A pod in which nothing can vote costs
    /// nothing, unless its data goes with it.
    fn objection(&self, name: &str, pod: &PodSeen, stopped: &BTreeSet<String>) -> Option<Unsafe> {
        if pod.ended || pod.node.is_dead() {
            return None;
        }
        let loses_data = self.going.contains(name);
        if pod.is_idle() && !loses_data {
            return None;
        }
        if let Some(why) = &self.unknown {
            // Its etcd does not answer its own agent, and no other does: its disk stays, and no quorum is lost.
            let mute = self.outage && pod.status().is_none() && !self.may_come(pod);
            return match (mute && !loses_data, stopped.is_empty()) {
                (true, true) => None,
                (true, false) => Some(Unsafe::OneARound),
                (false, _) => Some(Unsafe::MembersUnknown(why.clone())),
            };
        }
        if !self.voting.contains(name) {
            return None;
        }
        let staying = |other: &&String| *other != name && !stopped.contains(*other);
        let left = self.healthy.keys().filter(staying).count();
        let needed = quorum(self.voters);
        if self.voters == 1 {
            return loses_data.then_some(Unsafe::LastData);
        }
        if left < needed {
            return Some(if loses_data {
                Unsafe::LastData
            } else {
                Unsafe::Quorum { left, needed }
            });
        }
        if let Some(fault) = self.misplaced.get(name).filter(|_| !pod.is_idle()) {
            return Some(Unsafe::Misplaced(Box::new(fault.clone())));
        }
        if !stopped.is_empty() && self.healthy.contains_key(name) {
            return Some(Unsafe::OneARound);
        }
        (self.leader.as_deref() == Some(name)).then_some(Unsafe::Leads)
    }
}

/// Lets steps that delete pods and claims into a plan, or says why not.
pub(crate) struct Gate<'a> {
    rule: Rule<'a>,
    seen: &'a Observed,
    stopped: BTreeSet<String>,
}

/// What a gate keeps.
enum Rule<'a> {
    /// The quorum and the data.
    Keep(&'a Safety),
    /// Who takes part: the cluster has not formed, or it is not known yet that it has.
    Forming,
    /// Nothing: all members are to be deleted or stopped.
    Nothing,
}

impl<'a> Gate<'a> {
    /// The gate of a cluster that must stay available.
    pub(crate) fn guarded(safety: &'a Safety, seen: &'a Observed) -> Self {
        Self::of(Rule::Keep(safety), seen)
    }

    /// The gate before the cluster has formed.
    pub(crate) fn forming(seen: &'a Observed) -> Self {
        Self::of(Rule::Forming, seen)
    }

    /// The gate of a cluster that its owner has deleted or stopped.
    pub(crate) fn open(seen: &'a Observed) -> Self {
        Self::of(Rule::Nothing, seen)
    }

    fn of(rule: Rule<'a>, seen: &'a Observed) -> Self {
        Self {
            rule,
            seen,
            stopped: BTreeSet::new(),
        }
    }

    /// Deletes this incarnation of a pod.
    ///
    /// # Errors
    /// Why it must not be stopped now.
    pub(crate) fn delete_pod(
        &mut self,
        name: &str,
        pod: &PodSeen,
        grace: Grace,
        why: &str,
        plan: &mut Plan,
    ) -> Result<(), Unsafe> {
        let no = match self.rule {
            Rule::Keep(safety) => safety.objection(name, pod, &self.stopped),
            Rule::Forming => pod
                .takes_part()
                .then(|| Unsafe::MembersUnknown("the cluster has just formed".to_owned())),
            Rule::Nothing => None,
        };
        if let Some(no) = no {
            return Err(no);
        }
        if !pod.is_idle() {
            self.stopped.insert(name.to_owned());
        }
        plan.steps.push(Step::DeletePod {
            name: name.to_owned(),
            uid: pod.uid.clone(),
            grace,
            how: self.removal(name),
            why: why.to_owned(),
        });
        Ok(())
    }

    /// The budget counts the pods of voters. It is asked for one that takes part, and for no other: a member that is
    /// dead with its data, a pod that is no member or was forced away keep no quorum, and what is stopped or deleted as
    /// a whole must not be held by the budget of what was.
    fn removal(&self, name: &str) -> Removal {
        match self.rule {
            Rule::Keep(safety) if safety.counted.contains(name) => Removal::Evict,
            Rule::Keep(_) | Rule::Forming | Rule::Nothing => Removal::Delete,
        }
    }

    /// Defragments a member, which is as good as stopped meanwhile.
    ///
    /// # Errors
    /// Why it must not be stopped now.
    pub(crate) fn defragment(
        &mut self,
        of: &Via,
        pod: &PodSeen,
        request: Option<&str>,
        plan: &mut Plan,
    ) -> Result<(), Unsafe> {
        let no = match self.rule {
            Rule::Keep(safety) => safety.objection(&of.pod, pod, &self.stopped),
            Rule::Forming | Rule::Nothing => {
                Some(Unsafe::MembersUnknown("nothing is formed".to_owned()))
            }
        };
        if let Some(no) = no {
            return Err(no);
        }
        self.stopped.insert(of.pod.clone());
        plan.steps.push(Step::Defragment {
            via: of.clone(),
            request: request.map(str::to_owned),
        });
        Ok(())
    }

    /// Deletes this incarnation of a claim, once no pod and no member that was started needs it. False when one does.
    pub(crate) fn delete_claim(
        &self,
        of: &Holder<'_>,
        name: &str,
        claim: &ClaimSeen,
        plan: &mut Plan,
    ) -> bool {
        let needed = match self.rule {
            Rule::Keep(safety) => {
                safety.unknown.is_some() || of.started || self.seen.pods.contains_key(of.pod)
            }
            Rule::Forming => true,
            Rule::Nothing => false,
        };
        if !needed {
            let (name, uid) = (name.to_owned(), claim.uid.clone());
            plan.steps.push(Step::DeleteClaim { name, uid });
        }
        !needed
    }
}

/// Whose a claim is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'a> {
    /// The pod.
    pub pod: &'a str,
    /// True when the list holds its member, and it was started.
    pub started: bool,
}

/// True when a claim of the pod is gone or going: its data does not outlive the pod.
pub(crate) fn data_is_going(desired: &Desired, seen: &Observed, pod: &str) -> bool {
    desired.claims.iter().any(|template| {
        let claim = seen.claims.get(&names::claim(&template.name, pod));
        claim.is_none_or(|claim| claim.terminating)
    })
}

fn voter(pod: &PodSeen, applied: u64, revision: &str) -> Voter {
    Voter {
        applied,
        ip: pod.ip.as_ref().and_then(|ip| ip.parse().ok()),
        updated: pod.revision == revision,
        ready: pod.ready,
    }
}

/// The pod of the highest term that claims to lead it.
fn leader(seen: &Observed, healthy: &BTreeMap<String, Voter>) -> Option<String> {
    healthy
        .keys()
        .filter_map(|pod| Some((pod, seen.pods.get(pod)?.status()?)))
        .filter(|(_, status)| status.leader_id == Some(status.member_id))
        .max_by_key(|(_, status)| status.term)
        .map(|(pod, _)| pod.clone())
}
