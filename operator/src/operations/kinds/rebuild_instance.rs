//! RebuildInstance: members are replaced by new ones of the same name, which copy all data from the others.
//!
//! A mark on the claims asks for it: InstanceSet's planner removes the member by its identifier, when the others can
//! spare it, and lets a new one of that name join as a learner (M3, M10, M13). The mark says on which node, where the
//! request names one.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::ops_request::{
    LastConfiguration, OpsRequestSpec, Rebuild, RebuildInstance as RebuiltInstance,
};
use etcd_operator_api::{ClusterPhase, InstanceSet, OpsRequest, names};

use crate::operations::facts::{Facts, Row, has_newest_revision};
use crate::operations::kind::Kind;
use crate::operations::observed::Seen;
use crate::operations::obstacle::Needs;
use crate::operations::places::Asked;
use crate::operations::refusal::Refused;

pub(super) struct RebuildInstance;

impl Kind for RebuildInstance {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = spec.rebuild_from.iter();
        let names = names.map(|ops| ops.component_name.clone());
        ("rebuildFrom", names.collect())
    }

    fn begins_in(&self, phase: ClusterPhase) -> bool {
        use ClusterPhase::{Abnormal, Failed, Updating};
        matches!(phase, Failed | Abnormal | Updating)
    }

    fn started(&self) -> (ConditionType, Reason) {
        (
            ConditionType::InstancesRebuilding,
            Reason::StartToRebuildInstances,
        )
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::MEMBERS
    }

    /// Puts on record whose disk it is about. Claims are known by UID, so that a mark that is late never meets the new
    /// member's disk.
    fn check(
        &self,
        request: &OpsRequest,
        seen: &Seen,
        before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        for asked in &request.spec.rebuild_from {
            let component = asked.component_name.clone();
            let (Some(last), Some(set)) = (
                before.components.get_mut(&component),
                seen.sets.get(&component),
            ) else {
                continue;
            };
            let members = set
                .status
                .as_ref()
                .map(|s| s.members.as_slice())
                .unwrap_or_default();
            for (at, instance) in asked.instances.iter().enumerate() {
                let name = instance.name.clone();
                if asked.instances[..at].iter().any(|other| other.name == name) {
                    return Err(Refused::InstanceTwice { component, name });
                }
                let member = members.iter().find(|member| member.pod_name == name);
                let Some(member) = member else {
                    let known = last.instances.join(", ");
                    return Err(Refused::NoMember {
                        component,
                        name,
                        known,
                    });
                };
                if !others_vote(members, &name) {
                    return Err(Refused::OnlyMember { component, name });
                }
                let own = set.spec.volume_claim_templates.iter();
                let own = own.map(|template| names::claim(&template.name, &name));
                let found: BTreeMap<String, String> = own
                    .filter_map(|claim| Some((claim.clone(), seen.claims.get(&claim)?.clone())))
                    .collect();
                if found.is_empty() {
                    return Err(Refused::NoClaim { component, name });
                }
                if let Some(node) = target(asked, instance, set, seen)? {
                    let claims = found.keys().cloned();
                    last.rebuilt_nodes
                        .extend(claims.map(|claim| (claim, node.clone())));
                }
                last.rebuilt_claims.extend(found);
                last.rebuilt_members.insert(name, member.member_id.clone());
            }
        }
        Ok(())
    }

    /// There is another member of that name, it votes, and its pod is on the node that was named.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let target = |pod: &String| {
            let asked = facts.spec.rebuild_from.iter();
            let mut asked = asked
                .filter(|asked| asked.component_name == facts.component)
                .flat_map(|asked| &asked.instances);
            asked.find(|instance| instance.name == *pod)?.target()
        };
        let elsewhere = |pod: &String| {
            let target = target(pod)?;
            let spec = facts.pods.get(pod).and_then(|pod| pod.spec.as_ref());
            let node = spec.and_then(|spec| spec.node_name.as_deref());
            (node != Some(target)).then(|| {
                let node = node.unwrap_or("no node");
                format!("its pod is on {node}, not on {target}")
            })
        };
        let row = |(pod, old): (&String, &String)| {
            let new = |m: &&KnownMember| m.pod_name == *pod && m.member_id != *old;
            let member = facts.status.members.iter().find(new);
            let lacks = match member {
                None => Some(format!("member {old} is not replaced yet")),
                Some(member) if member.is_learner => Some("it has no vote yet".to_owned()),
                Some(_) => has_newest_revision(facts.status, pod)
                    .err()
                    .or_else(|| elsewhere(pod)),
            };
            let pod = pod.clone();
            Row { pod, lacks }
        };
        facts.last.rebuilt_members.iter().map(row).collect()
    }
}

/// The node that the new member is placed on, which must be able to take it.
fn target(
    asked: &Rebuild,
    instance: &RebuiltInstance,
    set: &InstanceSet,
    seen: &Seen,
) -> Result<Option<String>, Refused> {
    let Some(node) = instance.target() else {
        return Ok(None);
    };
    let named = asked.instances.iter();
    let targets = named.filter_map(|instance| Some((instance.name.as_str(), instance.target()?)));
    let placed = Asked {
        set,
        targets: targets.collect(),
        pods: &seen.pods,
        places: &seen.places,
    };
    match placed.check(&instance.name) {
        Ok(()) => Ok(Some(node.to_owned())),
        Err(why) => Err(Refused::Node {
            component: asked.component_name.clone(),
            name: instance.name.clone(),
            node: node.to_owned(),
            why: Box::new(why),
        }),
    }
}

fn others_vote(members: &[KnownMember], name: &str) -> bool {
    members
        .iter()
        .any(|member| member.pod_name != name && !member.is_learner)
}

/// What cannot be taken back of a rebuild, for a message: members that are removed already.
pub(in super::super) fn begun(
    recorded: &LastConfiguration,
    sets: &BTreeMap<String, InstanceSet>,
) -> String {
    let mut text = String::new();
    for (component, last) in &recorded.components {
        let status = sets.get(component).and_then(|set| set.status.as_ref());
        for (pod, old) in &last.rebuilt_members {
            let mut members = status.into_iter().flat_map(|status| &status.members);
            text += &match members.any(|member| member.member_id == *old) {
                true => format!("; {pod} stays as it is"),
                false => {
                    let placements = status.into_iter().flat_map(|status| &status.placements);
                    let mut own = placements.filter(|own| own.pod_name == *pod);
                    let on = own
                        .next()
                        .map_or(String::new(), |own| format!(" on node {}", own.node_name));
                    format!(
                        "; {pod} had begun: member {old} is removed, and a new one takes its place{on}"
                    )
                }
            };
        }
    }
    text
}
