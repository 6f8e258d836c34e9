//! Members that are made anew: which ones (pure), and the mark on their claims that asks for it.
//!
//! The mark is all: InstanceSet's planner removes the member by its identifier, when the others can spare it, and lets
//! a new one of that name join as a learner (M3, M10, M13). Claims are marked by UID, so that a mark that was late never
//! meets the new member's disk.

use std::collections::BTreeMap;

use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::ops_request::LastConfiguration;
use etcd_operator_api::{InstanceSet, OpsRequest, labels, names};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::wish::Refused;
use crate::controller::Context;

/// Puts on record whose disk it is about.
pub(super) fn record(
    request: &OpsRequest,
    before: &mut LastConfiguration,
    sets: &BTreeMap<String, InstanceSet>,
    claims: &BTreeMap<String, String>,
) -> Result<(), Refused> {
    for wish in &request.spec.rebuild_from {
        let component = wish.component_name.clone();
        let (Some(last), Some(set)) = (before.components.get_mut(&component), sets.get(&component))
        else {
            continue;
        };
        let members = set
            .status
            .as_ref()
            .map(|s| s.members.as_slice())
            .unwrap_or_default();
        for instance in &wish.instances {
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
                .filter_map(|claim| Some((claim.clone(), claims.get(&claim)?.clone())))
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

fn others_vote(members: &[KnownMember], name: &str) -> bool {
    members
        .iter()
        .any(|member| member.pod_name != name && !member.is_learner)
}

/// Marks the claims on record. One that is gone, or another by now, was replaced already.
pub(super) async fn mark(
    context: &Context,
    request: &OpsRequest,
    recorded: &LastConfiguration,
) -> kube::Result<()> {
    let namespace = request.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let all = recorded
        .components
        .values()
        .flat_map(|last| &last.rebuilt_claims);
    for (name, uid) in all {
        let mark = json!({ labels::REBUILD: request.uid().unwrap_or_default() });
        let body = json!({ "metadata": { "uid": uid, "annotations": mark } });
        let patched = claims
            .patch_metadata(name, &PatchParams::default(), &Patch::Merge(body))
            .await;
        match patched {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {}
            other => drop(other?),
        }
    }
    Ok(())
}
