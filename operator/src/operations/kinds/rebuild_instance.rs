//! RebuildInstance: members are replaced by new ones of the same name, which copy all data from the others.
//!
//! A mark on the claims asks for it: InstanceSet's planner removes the member by its identifier, when the others can
//! spare it, and lets a new one of that name join as a learner (M3, M10, M13).

use std::collections::BTreeMap;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::ops_request::{LastConfiguration, OpsRequestSpec};
use etcd_operator_api::{ClusterPhase, InstanceSet, OpsRequest, names};

use crate::operations::facts::{Facts, Row, has_newest_revision};
use crate::operations::kind::Kind;
use crate::operations::observed::Seen;
use crate::operations::obstacle::Needs;
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
            for instance in &asked.instances {
                let name = instance.name.clone();
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
                last.rebuilt_claims.extend(found);
                last.rebuilt_members.insert(name, member.member_id.clone());
            }
        }
        Ok(())
    }

    /// There is another member of that name, and it votes.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let row = |(pod, old): (&String, &String)| {
            let new = |m: &&KnownMember| m.pod_name == *pod && m.member_id != *old;
            let member = facts.status.members.iter().find(new);
            let lacks = match member {
                None => Some(format!("member {old} is not replaced yet")),
                Some(member) if member.is_learner => Some("it has no vote yet".to_owned()),
                Some(_) => has_newest_revision(facts.status, pod).err(),
            };
            let pod = pod.clone();
            Row { pod, lacks }
        };
        facts.last.rebuilt_members.iter().map(row).collect()
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
                false => format!(
                    "; {pod} had begun: member {old} is removed, and a new one takes its place"
                ),
            };
        }
    }
    text
}
