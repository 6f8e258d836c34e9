//! Which members may not be stopped now, and why: computed once, here, for every room that stops one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::slots::Facts;
use super::steps::Via;
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{Observed, PodSeen};

/// A voter that takes part now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
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
pub enum Unsafe {
    /// The member list is not known.
    MembersUnknown(String),
    /// Too few voters would be left.
    Quorum {
        /// Voters that would be left.
        left: usize,
        /// Voters that are needed.
        needed: usize,
    },
    /// It leads, and another can: leadership moves first.
    Leads,
}

/// The cluster's margin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safety {
    /// Voters on the list.
    pub voters: usize,
    /// Voters that take part, by pod.
    pub healthy: BTreeMap<String, Voter>,
    /// The pod that leads.
    pub leader: Option<String>,
    /// Pods that must not be stopped, and why.
    pub unsafe_to_stop: BTreeMap<String, Unsafe>,
}

/// Votes that a decision needs.
#[must_use]
pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

impl Safety {
    /// Weighs the list against what members say.
    #[must_use]
    pub fn of(desired: &Desired, seen: &Observed, facts: &Facts) -> Self {
        let revision = super::pods::revision(desired);
        let listed = facts.members.known();
        let voters = listed
            .into_iter()
            .flatten()
            .filter(|(_, member)| !member.is_learner);
        let healthy: BTreeMap<String, Voter> = voters
            .clone()
            .filter_map(|(pod, member)| {
                let pod = pod.as_ref()?;
                let there = seen.pods.get(pod)?;
                let status = there.status().filter(|_| there.takes_part())?;
                let own = status.member_id == member.id && !status.is_learner;
                own.then(|| (pod.clone(), voter(there, status.applied_index, &revision)))
            })
            .collect();
        let mut safety = Self {
            voters: voters.count(),
            leader: leader(seen, &healthy),
            healthy,
            unsafe_to_stop: BTreeMap::new(),
        };
        safety.unsafe_to_stop = seen
            .pods
            .keys()
            .filter_map(|pod| Some((pod.clone(), safety.verdict(pod, facts)?)))
            .collect();
        safety
    }

    /// How many more healthy voters may stop.
    #[must_use]
    pub fn spare(&self) -> usize {
        match self.voters {
            1 => 1,
            voters => self.healthy.len().saturating_sub(quorum(voters)),
        }
    }

    /// Healthy voters that would be left without `pod`.
    #[must_use]
    pub fn healthy_without(&self, pod: &str) -> usize {
        self.healthy.keys().filter(|name| *name != pod).count()
    }

    /// The agent to ask for a change: the leader's, else that of the healthy voter that is furthest (M7, B7).
    #[must_use]
    pub fn via(&self, except: Option<&str>) -> Option<Via> {
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

    /// The voter that shall lead instead of `from`: ready, of the newest revision if possible, furthest.
    #[must_use]
    pub fn successor(&self, from: &str) -> Option<&str> {
        self.healthy
            .iter()
            .filter(|(pod, voter)| *pod != from && voter.ready)
            .max_by_key(|(_, voter)| (voter.updated, voter.applied))
            .map(|(pod, _)| pod.as_str())
    }

    fn verdict(&self, pod: &str, facts: &Facts) -> Option<Unsafe> {
        if let crate::instanceset::observed::Reading::Unknown(why) = &facts.members {
            return Some(Unsafe::MembersUnknown(why.clone()));
        }
        if !self.healthy.contains_key(pod) || self.voters == 1 {
            return None;
        }
        let (left, needed) = (self.healthy_without(pod), quorum(self.voters));
        if left < needed {
            return Some(Unsafe::Quorum { left, needed });
        }
        (self.leader.as_deref() == Some(pod)).then_some(Unsafe::Leads)
    }
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
