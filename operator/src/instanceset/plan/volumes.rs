//! The claim of a pod, and what keeps existing ones in line with the policy.

use std::collections::BTreeMap;

use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{labels, names};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use kbagent_protocol::Id;
use kube::api::ObjectMeta;

use super::{Plan, Step, Waiting, template};
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{ClaimSeen, Observed};

/// Claims go with the InstanceSet or outlive it as the policy says now: what deletes the InstanceSet may take them
/// before the operator notices.
pub fn keep(desired: &Desired, seen: &Observed, plan: &mut Plan) {
    for (name, claim) in &seen.claims {
        let (name, uid) = (name.clone(), claim.uid.clone());
        let is_own = claim.home() == Some(desired.cluster_uid.as_str());
        if !claim.owned || claim.terminating {
            continue;
        }
        if claim.bound && desired.keep_when_deleted {
            plan.steps.push(Step::ReleaseClaim { name, uid });
        } else if !claim.bound && !desired.keep_when_deleted && is_own {
            plan.steps.push(Step::BindClaim { name, uid });
        }
    }
}

/// Why a claim that stands in the way is left alone.
pub fn left_alone(desired: &Desired, name: &str, claim: &ClaimSeen) -> Waiting {
    let name = name.to_owned();
    match claim.home() {
        Some(home) if home != desired.cluster_uid => Waiting::LeftBehind(name),
        _ => Waiting::NotOurs {
            kind: "claim",
            name,
        },
    }
}

/// Labels and annotations of a claim, those of its template and which these are.
pub fn metadata(
    desired: &Desired,
    template: &VolumeClaimTemplate,
    pod: &str,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut labels = template::labels(desired, pod);
    labels.extend(template.labels.clone());
    labels.insert(
        labels::VOLUME_CLAIM_TEMPLATE.to_owned(),
        template.name.clone(),
    );
    let mut annotations = template.annotations.clone();
    let home = (labels::CLUSTER_UID.to_owned(), desired.cluster_uid.clone());
    annotations.extend([home]);
    template::record(&labels, &mut annotations);
    (labels, annotations)
}

/// A claim for `pod`; `join` is the learner it is made for, `None` at bootstrap.
pub fn build(
    desired: &Desired,
    template: &VolumeClaimTemplate,
    pod: &str,
    join: Option<Id>,
) -> PersistentVolumeClaim {
    let (labels, mut annotations) = metadata(desired, template, pod);
    if let Some(member) = join {
        annotations.insert(keys::JOIN.to_owned(), member.to_string());
    }
    let spec = &template.spec;
    let modes = if spec.access_modes.is_empty() {
        vec!["ReadWriteOnce".to_owned()]
    } else {
        spec.access_modes.clone()
    };
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let amounts = |map: &BTreeMap<_, _>| (!map.is_empty()).then(|| map.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::claim(&template.name, pod)),
            namespace: Some(desired.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: (!desired.keep_when_deleted).then(|| vec![desired.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(modes),
            // An empty class means the default class, as KubeBlocks reads it.
            storage_class_name: some(&spec.storage_class_name),
            volume_mode: some(&spec.volume_mode),
            volume_attributes_class_name: some(&spec.volume_attributes_class_name),
            resources: Some(VolumeResourceRequirements {
                limits: amounts(&spec.resources.limits),
                requests: amounts(&spec.resources.requests),
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
