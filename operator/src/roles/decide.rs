//! Which role labels must be written, and in which order. PURE: pods and knowledge in, writes out.
//!
//! The rule that keeps two pods from ever being labelled leader at one version, with any number of operators
//! writing and no lease between them:
//!
//! 1. The decision is made on a snapshot of all pods that is younger than the knowledge of the term.
//! 2. Every other pod of the snapshot first gets the term stamped on it, and no leader label with it.
//! 3. Then the leader's pod is labelled, guarded by its version in the snapshot.
//! 4. Stamps never go back, and a snapshot with a higher stamp than the known term makes a decision void.
//! 5. A pod that was never stamped is labelled leader on its own agent's word only.
//! 6. When the labelled leader of term T is known to have lost it, every pod is fenced at T + 1 together with the
//!    strip, while the election runs. The leader of T + 1 is then labelled by one write on any snapshot: there is no
//!    term between the two, any pod labelled up to T is fenced off or was stamped at T, and T + 1 has one leader.
//!    What its agent said before it had seen T proves nothing of T: a fence in front of a living leader would never
//!    be reached.
//!
//! Two operators that want different leaders must each write the other's pod before their own, so one of the
//! guards fails. A pod that is not in a snapshot was made after it; by (5) its claim can only be to a term
//! that was elected after that, and the operator that labels it takes a snapshot that holds the other pod.

use kbagent_protocol::Role;

use super::facts::PodFacts;
use super::knowledge::{AgentReports, Leader};

/// A new role and term for one version of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// The pod and the version that the write is valid for.
    pub pod: PodFacts,
    /// The label; `None` takes it away.
    pub role: Option<String>,
    /// The annotation; `None` leaves a pod that was never stamped as it is.
    pub term: Option<u64>,
    /// The other annotation; `None` leaves a pod that was never fenced as it is.
    pub fence: Option<u64>,
}

impl Write {
    /// True when the pod already has it.
    fn is_done(&self) -> bool {
        self.role == self.pod.role && self.term == self.pod.term && self.fence == self.pod.fence
    }
}

/// Writes in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Writes that take a leader label away or stamp a term, in any order among themselves.
    pub first: Vec<Write>,
    /// The one write that makes a leader; void unless all of `first` have succeeded.
    pub then: Option<Write>,
    /// True when `then` is all there is to do and needs no younger snapshot (6).
    pub at_once: bool,
}

impl Decision {
    /// True when the labels are as they should be.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.then.is_none()
    }
}

/// Compares what is labelled with what is known.
pub(crate) fn decide(pods: &[PodFacts], knowledge: &AgentReports) -> Decision {
    let lost = pods.iter().filter(|pod| has_lost_label(pod, knowledge));
    let over = lost.filter_map(|pod| pod.term).max();
    let fences = pods.iter().filter_map(|pod| pod.fence);
    let fence = fences.chain(over.map(|term| term.saturating_add(1))).max();
    let floor = pods.iter().map(PodFacts::floor).max().max(fence);
    let recorded = pods.iter().filter_map(|pod| pod.term).max().unwrap_or(0);
    match knowledge.leader(recorded, pods.len() == 1) {
        // Another operator knew of a higher term: nothing is written until it is known here, too.
        Some(leader) if Some(leader.term) >= floor => with_leader(pods, knowledge, &leader),
        Some(_) | None => Decision {
            first: strips(pods, knowledge, fence),
            ..Decision::default()
        },
    }
}

fn with_leader(pods: &[PodFacts], knowledge: &AgentReports, leader: &Leader) -> Decision {
    let grant = pods
        .iter()
        .find(|pod| pod.name == leader.name)
        .filter(|pod| may_lead(pod, knowledge, leader.term))
        .map(|pod| Write {
            pod: pod.clone(),
            role: Some(Role::Leader.as_str().to_owned()),
            term: Some(leader.term),
            fence: pod.fence,
        });
    let keeps = |pod: &PodFacts| {
        // The leader's own pod is left alone unless it is known to have lost what its label says.
        pod.name == leader.name && !has_lost_label(pod, knowledge)
    };
    let pending = grant.as_ref().is_some_and(|grant| !grant.is_done());
    let first: Vec<Write> = pods
        .iter()
        .filter(|pod| !keeps(pod))
        .map(|pod| {
            let owed = (pending && pod.floor() < leader.term) || pod.is_labelled_leader();
            let term = if owed || pod.role.as_deref() != role_of(pod, knowledge).as_deref() {
                Some(pod.term.unwrap_or(0).max(leader.term))
            } else {
                pod.term
            };
            Write {
                pod: pod.clone(),
                role: role_of(pod, knowledge),
                term,
                fence: pod.fence,
            }
        })
        .filter(|write| !write.is_done())
        .collect();
    let then = grant.filter(|grant| !grant.is_done());
    let fenced = |grant: &Write| grant.pod.fence == Some(leader.term);
    Decision {
        at_once: first.is_empty() && then.as_ref().is_some_and(fenced),
        first,
        then,
    }
}

/// With no leader known, only labels that are known to be wrong go, and what is over is fenced off.
fn strips(pods: &[PodFacts], knowledge: &AgentReports, fence: Option<u64>) -> Vec<Write> {
    pods.iter()
        .map(|pod| Write {
            pod: pod.clone(),
            role: if has_lost_label(pod, knowledge) {
                role_of(pod, knowledge)
            } else {
                pod.role.clone()
            },
            term: pod.term,
            fence: if Some(pod.floor()) < fence {
                fence
            } else {
                pod.fence
            },
        })
        .filter(|write| !write.is_done())
        .collect()
}

/// Whether the pod may be labelled leader of `term`, which a member of its name leads.
fn may_lead(pod: &PodFacts, knowledge: &AgentReports, term: u64) -> bool {
    if knowledge.has_lost(&pod.uid, term) {
        return false;
    }
    let heard = knowledge.of(&pod.name, &pod.uid);
    if let Some(heard) = heard
        && heard.etcd_is_gone()
    {
        return false;
    }
    let own = heard.and_then(|heard| heard.running().map(|status| (heard, status)));
    match own {
        Some((_, status)) if status.term == term && status.role() == Role::Leader => true,
        // It answers, at this term or a later one, and does not claim to lead: its next report claims it, or none will.
        Some((heard, status)) if !heard.silent && status.term >= term => false,
        // For a pod that is older than the term, reports of other members are enough.
        _ => pod.term.is_some_and(|stamped| stamped < term),
    }
}

/// Whether the pod's own agent has said that it does not lead the term its label was written for.
fn has_lost_label(pod: &PodFacts, knowledge: &AgentReports) -> bool {
    if !pod.is_labelled_leader() {
        return false;
    }
    let labelled = pod.term.unwrap_or(0);
    let Some(heard) = knowledge.of(&pod.name, &pod.uid) else {
        return false;
    };
    let deposed = heard
        .running()
        .is_some_and(|status| status.term > labelled && status.role() != Role::Leader);
    deposed || heard.went_at(labelled) || knowledge.has_lost(&pod.uid, labelled)
}

/// The role of a pod that does not lead: its own word, else what it was before.
fn role_of(pod: &PodFacts, knowledge: &AgentReports) -> Option<String> {
    let heard = knowledge.of(&pod.name, &pod.uid);
    if let Some(heard) = heard
        && heard.etcd_is_gone()
        && pod.is_labelled_leader()
    {
        return None;
    }
    match heard.and_then(super::knowledge::Heard::running) {
        Some(status) if status.is_learner => Some(Role::Learner.as_str().to_owned()),
        Some(_) => Some(Role::Follower.as_str().to_owned()),
        None if pod.is_labelled_leader() => Some(Role::Follower.as_str().to_owned()),
        None => pod.role.clone(),
    }
}
