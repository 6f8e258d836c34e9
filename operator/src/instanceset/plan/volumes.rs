//! The claim of a pod. Builder only.

use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{labels, names};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use kbagent_protocol::Id;
use kube::api::ObjectMeta;

use super::pods;
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;

/// A claim for `pod`; `join` is the learner it is made for, `None` at bootstrap.
#[must_use]
pub fn build(
    desired: &Desired,
    template: &VolumeClaimTemplate,
    pod: &str,
    join: Option<Id>,
) -> PersistentVolumeClaim {
    let mut labels = pods::labels(desired, pod);
    labels.extend(template.labels.clone());
    labels.insert(
        labels::VOLUME_CLAIM_TEMPLATE.to_owned(),
        template.name.clone(),
    );
    let mut annotations = template.annotations.clone();
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
    let amounts = |map: &std::collections::BTreeMap<_, _>| (!map.is_empty()).then(|| map.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::claim(&template.name, pod)),
            namespace: Some(desired.namespace.clone()),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
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
