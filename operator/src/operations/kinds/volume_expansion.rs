//! VolumeExpansion: volumes grow while they are used. Whether their class can is rehearsed before the edit.

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::instance_set::VolumeStatus;
use etcd_operator_api::ops_request::{
    LargerClaim, LastConfiguration, OpsRequestSpec, VolumeExpansion as Asked,
};
use etcd_operator_api::quantity::amount;
use etcd_operator_api::{InstanceSetStatus, OpsRequest};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::operations::edit::Field;
use crate::operations::facts::{Facts, Row, View};
use crate::operations::kind::{Edited, Kind};
use crate::operations::observed::Seen;
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

/// The part of a volume that its file system leaves to files, at least: the rest is its own.
const LEAST: f64 = 0.85;

pub(super) struct VolumeExpansion;

impl Kind for VolumeExpansion {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = spec.volume_expansion.iter();
        let names = names.map(|ops| ops.component_name.clone());
        ("volumeExpansion", names.collect())
    }

    fn started(&self) -> (ConditionType, Reason) {
        (
            ConditionType::VolumeExpanding,
            Reason::VolumeExpansionStarted,
        )
    }

    /// A volume grows in full under a pod that runs.
    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::MEMBERS
    }

    fn check(
        &self,
        request: &OpsRequest,
        _seen: &Seen,
        before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        for asked in &request.spec.volume_expansion {
            let Some(last) = before.components.get(&asked.component_name) else {
                continue;
            };
            let names: Vec<&String> = asked
                .volume_claim_templates
                .iter()
                .map(|t| &t.name)
                .collect();
            for (at, name) in names.iter().enumerate() {
                if names[..at].contains(name) {
                    let (component, name) = (asked.component_name.clone(), (*name).clone());
                    return Err(Refused::TemplateTwice { component, name });
                }
                if !last.storage.contains_key(*name) {
                    let known: Vec<&str> = last.storage.keys().map(String::as_str).collect();
                    return Err(Refused::NoTemplate {
                        component: asked.component_name.clone(),
                        name: (*name).clone(),
                        known: known.join(", "),
                    });
                }
            }
        }
        Ok(())
    }

    fn fields(&self, edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        let claims = asked(edited.spec, edited.component).iter();
        let field = |claim: &LargerClaim| Field::Storage(claim.name.clone(), claim.storage.clone());
        Ok(claims.map(field).collect())
    }

    /// Each claim has the size, and so has the file system that its pod sees.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let only = facts.set.spec.volume_claim_templates.len() == 1;
        let pods = facts.status.update_revisions.keys();
        let row = |pod: &String| {
            let mut claims = asked(facts.spec, facts.component).iter();
            let lacks =
                claims.find_map(|claim| lacking(claim, volume(facts.status, claim, pod), only));
            let pod = pod.clone();
            Row { pod, lacks }
        };
        pods.map(row).collect()
    }

    /// What pods see of it.
    fn outcome(&self, view: &View<'_>) -> Result<String, String> {
        let mut told = Vec::new();
        for expansion in &view.request.spec.volume_expansion {
            let set = view.seen.sets.get(&expansion.component_name);
            let status = set.and_then(|set| set.status.as_ref());
            let named = |volume: &&VolumeStatus| {
                let mut claims = expansion.volume_claim_templates.iter();
                claims.any(|claim| claim.name == volume.name)
            };
            for volume in status
                .iter()
                .flat_map(|status| &status.volumes)
                .filter(named)
            {
                let capacity = volume.capacity.as_deref().unwrap_or("no volume");
                let bytes = volume.file_system_bytes;
                let bytes =
                    bytes.map_or(String::new(), |n| format!(", a file system of {n} bytes"));
                told.push(format!(
                    "{}-{}: {capacity}{bytes}",
                    volume.name, volume.pod_name
                ));
            }
        }
        Ok(told.join("; "))
    }
}

fn asked<'a>(spec: &'a OpsRequestSpec, component: &str) -> &'a [LargerClaim] {
    let mut of = spec.volume_expansion.iter();
    let found = of.find(|asked: &&Asked| asked.component_name == component);
    found.map_or(&[], |asked| asked.volume_claim_templates.as_slice())
}

fn volume<'a>(
    status: &'a InstanceSetStatus,
    claim: &LargerClaim,
    pod: &str,
) -> Option<&'a VolumeStatus> {
    let mut volumes = status.volumes.iter();
    volumes.find(|volume| volume.name == claim.name && volume.pod_name == pod)
}

fn lacking(wanted: &LargerClaim, volume: Option<&VolumeStatus>, only: bool) -> Option<String> {
    let (name, size) = (&wanted.name, &wanted.storage.0);
    let bytes = amount(&wanted.storage).unwrap_or_default();
    let Some(volume) = volume else {
        return Some(format!("its claim {name} was not seen yet"));
    };
    let capacity = volume.capacity.clone().map(Quantity);
    if capacity
        .as_ref()
        .and_then(amount)
        .is_none_or(|has| has < bytes)
    {
        let has = capacity.map_or("none".to_owned(), |capacity| capacity.0);
        return Some(format!(
            "the volume of its claim {name} has {has}, not {size}"
        ));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
    match volume.file_system_bytes {
        _ if !only => None,
        None => Some("the size of its file system was not seen yet".to_owned()),
        Some(has) if (has as f64) < bytes * LEAST => Some(format!(
            "its file system has {has} bytes, and its volume {size}"
        )),
        Some(_) => None,
    }
}
