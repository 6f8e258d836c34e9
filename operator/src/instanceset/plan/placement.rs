//! The node that a user has named for a member that is rebuilt: on record before the member goes, because the mark
//! that says so goes with its claim, and kept until the new member votes or has not started there in time: a node that
//! has no space would be tried for ever.
//!
//! It binds the new member's pod by node affinity, not by `nodeName`: the scheduler still has its say, and a volume
//! that waits for its first consumer is made on that node. It is the one pod's own, so that the template's revision,
//! and with it what counts as outdated, knows nothing of it. From the vote on, the pod is placed as the template says.

use etcd_operator_api::instance_set::Placement;
use etcd_operator_api::names;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use kbagent_protocol::{Id, Member};

use super::Waiting;
use super::roster::{self, Roster};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{ClaimSeen, NodeSeen, Observed, PodSeen};

/// Field of a node that its name stands in.
const NAME: &str = "metadata.name";

/// What is to be on record.
#[must_use]
pub(crate) fn record(desired: &Desired, seen: &Observed, roster: &Roster) -> Vec<Placement> {
    let before = &desired.recorded.placements;
    if roster.members.known().is_none() {
        return before.clone();
    }
    let of = |pod: &String| {
        let known = before.iter().find(|placement| placement.pod_name == *pod);
        let Some(member) = roster.member(pod) else {
            // Between two members; one whose slot is disputed is not known.
            return known.cloned();
        };
        let claims = claims_of(desired, seen, pod, member);
        if let Some(marked) = claims.iter().find(|claim| claim.to_rebuild()) {
            let node = marked.rebuild_on()?;
            return Some(Placement {
                pod_name: pod.clone(),
                node_name: node.to_owned(),
                member_id: member.id.to_string(),
            });
        }
        let known = known?;
        let is_old = member.id.to_string() == known.member_id;
        // The mark was taken back, unless it went with the claim.
        let taken_back = is_old && !claims.is_empty();
        let votes = !is_old && !member.is_learner && !member.name.is_empty();
        let pod = seen.pods.get(pod);
        let late = !is_old && pod.is_some_and(|pod| roster::is_late(pod, member));
        (!taken_back && !votes && !late).then(|| known.clone())
    };
    desired.members.iter().filter_map(of).collect()
}

/// The claims that hold, or will hold, the member's data.
fn claims_of<'a>(
    desired: &Desired,
    seen: &'a Observed,
    pod: &str,
    member: &Member,
) -> Vec<&'a ClaimSeen> {
    let all = desired.claims.iter();
    let all = all.filter_map(|template| seen.claims.get(&names::claim(&template.name, pod)));
    // A new member may find a claim of the one before it, until that is deleted.
    let own = |claim: &&ClaimSeen| !member.name.is_empty() || claim.join() == Some(member.id);
    all.filter(|claim| claim.owned && !claim.terminating)
        .filter(own)
        .collect()
}

/// The node for the pod of a member that joins.
#[must_use]
pub(crate) fn node_of<'a>(desired: &'a Desired, pod: &str, join: Option<Id>) -> Option<&'a str> {
    let join = join?.to_string();
    let mut placements = desired.recorded.placements.iter();
    let own = placements.find(|own| own.pod_name == pod && own.member_id != join)?;
    Some(&own.node_name)
}

/// What is said of a pod that the named node does not take, and why not.
#[must_use]
pub(crate) fn refused(desired: &Desired, name: &str, pod: &PodSeen, why: &str) -> Option<Waiting> {
    let node = node_of(desired, name, pod.join).filter(|_| pod.node == NodeSeen::Unassigned)?;
    Some(Waiting::NodeRefuses {
        pod: name.to_owned(),
        node: node.to_owned(),
        why: why.to_owned(),
    })
}

/// Binds a pod to a node, beside what the template asks for.
pub(crate) fn bind(spec: &mut PodSpec, node: &str) {
    let affinity = spec.affinity.get_or_insert_default();
    let affinity = affinity.node_affinity.get_or_insert_default();
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_default();
    // Terms are alternatives.
    let terms = &mut required.node_selector_terms;
    if terms.is_empty() {
        terms.push(NodeSelectorTerm::default());
    }
    for term in terms {
        let named = NodeSelectorRequirement {
            key: NAME.to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        };
        term.match_fields.get_or_insert_default().push(named);
    }
}
