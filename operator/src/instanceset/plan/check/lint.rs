//! What the rules look at: the raw observation, read without the planner's code.

use etcd_operator_api::names;
use etcd_operator_api::volume::VolumeClaimTemplate;
use kbagent_protocol::{Id, Member};

use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{ClaimSeen, NodeSeen, Observed, PodSeen, Reading};
use crate::instanceset::plan::Plan;

/// A rule that a plan breaks.
pub(crate) type Violation = String;

/// A plan, and what it was made from.
pub(super) struct Lint<'a> {
    pub(super) desired: &'a Desired,
    pub(super) seen: &'a Observed,
    pub(super) plan: &'a Plan,
}

impl Lint<'_> {
    pub(super) fn members(&self) -> Option<&[Member]> {
        match &self.seen.members {
            Reading::Known(list) => Some(&list.members),
            Reading::Unknown(_) => None,
        }
    }

    /// The member that lives in the pod: what its etcd says it is, what its claim was made for, what is on record; then
    /// the one whose peer URL names it.
    pub(super) fn member_of(&self, pod: &str) -> Option<&Member> {
        let listed = |id: Id| self.members()?.iter().find(|member| member.id == id);
        let own = self.identifiers(pod).into_iter().find_map(listed);
        let host = format!("//{pod}.");
        let elsewhere = |member: &Member| {
            let others = self.seen.pods.keys().filter(|other| *other != pod);
            let mut others = others.flat_map(|other| self.identifiers(other));
            others.any(|id| id == member.id)
        };
        own.or_else(|| {
            let mut named = self.members()?.iter();
            named.find(|m| m.peer_urls.iter().any(|url| url.contains(&host)) && !elsewhere(m))
        })
    }

    /// All identifiers that anything knows for the pod.
    pub(super) fn identifiers(&self, pod: &str) -> Vec<Id> {
        let view = self.seen.pods.get(pod).and_then(|pod| pod.view.as_ref());
        let told = view.and_then(|view| Some(view.status.as_ref()?.member_id));
        let claims = self.desired.claims.iter().filter_map(|template| {
            let claim = names::claim(&template.name, pod);
            self.seen.claims.get(&claim)?.join()
        });
        let recorded = self.desired.recorded.members.iter();
        let recorded = recorded.filter(|known| known.pod_name == pod);
        let recorded = recorded.filter_map(|known| known.member_id.parse().ok());
        told.into_iter().chain(claims).chain(recorded).collect()
    }

    pub(super) fn takes_part(&self, member: &Member) -> bool {
        self.seen.pods.values().any(|pod| {
            pod.takes_part()
                && !pod.defragments()
                && pod
                    .status()
                    .is_some_and(|status| status.member_id == member.id)
        })
    }

    pub(super) fn bootstrapped(&self) -> bool {
        self.desired.recorded.cluster_id.is_some()
            || self.seen.pods.values().any(PodSeen::takes_part)
    }

    /// Whether the claim was made for another storage class than its template names, and is not of that. One of an
    /// earlier operator, without a record of its class, moves only where that operator has begun to.
    pub(super) fn moves(&self, template: &VolumeClaimTemplate, claim: &ClaimSeen) -> bool {
        let named = template.spec.class();
        let (asked, known) = (claim.annotations.get(keys::CLASS), &self.desired.recorded);
        let mut reasons = known.waiting_on.iter().map(|why| why.reason.as_str());
        let begun = reasons.any(|why| why == "MovingVolumes");
        let in_spec = claim.class_in_spec.as_ref();
        let other = [in_spec, claim.class.as_ref()];
        let other = other.iter().all(|class| class.map(String::as_str) != named);
        let made = self.seen.made_class.get(&template.name);
        let other = other && (made.is_none() || made != in_spec);
        named.is_some() && other && (asked.is_some() || begun)
    }

    /// True when the pod's containers or its volume may still hold data: its node is there, and it has not ended. One
    /// that was never placed on a node, and of which no claim is left, holds nothing.
    pub(super) fn holds(&self, pod: &str) -> bool {
        let mut claims = self.desired.claims.iter();
        let has_claim = claims.any(|t| self.seen.claims.contains_key(&names::claim(&t.name, pod)));
        let pod = self.seen.pods.get(pod);
        pod.is_some_and(|pod| {
            let empty = pod.node == NodeSeen::Unassigned && !has_claim;
            !pod.ended && !pod.node.is_dead() && !empty
        })
    }

    pub(super) fn is_last_of_its_data(&self, pod: &str) -> bool {
        let mut claims = self.desired.claims.iter();
        claims.any(|template| {
            let claim = self.seen.claims.get(&names::claim(&template.name, pod));
            claim.is_none_or(|claim| claim.terminating)
        })
    }
}
