//! The claim of a pod, and what keeps existing ones in line with the policy.

use std::collections::BTreeMap;

use etcd_operator_api::instance_set::VolumeStatus;
use etcd_operator_api::quantity::amount;
use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{labels, names};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kbagent_protocol::Id;
use kube::api::ObjectMeta;

use super::asked_class::asked;
use super::{Plan, Step, Waiting, template};
use crate::definition::{is_ours, is_own_label};
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{ClaimSeen, Observed};

/// The resource that a volume is made of.
const STORAGE: &str = "storage";

/// Claims go with the InstanceSet or outlive it as the policy says now: what deletes the InstanceSet may take them
/// before the operator notices.
pub(crate) fn keep(desired: &Desired, seen: &Observed, plan: &mut Plan) {
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

/// What is to be done for larger volumes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Growth {
    /// The next one to ask for.
    pub step: Option<Step>,
    /// One that is asked to grow to less than it was.
    back: Option<Step>,
    /// What is being waited for.
    pub waiting: Vec<Waiting>,
}

/// Lets claims grow to what their templates ask for, one after the other: what goes wrong with one spares the others.
/// A claim that has more than its template asks for is left alone, for no volume shrinks. One that asked for more than
/// it has got yet asks for less again, because what was asked for may never come.
#[must_use]
pub(crate) fn grow(desired: &Desired, seen: &Observed) -> Growth {
    let mut growth = Growth::default();
    for template in &desired.claims {
        let Some(wanted) = template.spec.resources.requests.get(STORAGE) else {
            continue;
        };
        for pod in &desired.members {
            let name = names::claim(&template.name, pod);
            let claim = seen.claims.get(&name).filter(|claim| claim.is_used());
            // The claim that takes its place has the size from the start.
            if let Some(claim) =
                claim.filter(|claim| !is_elsewhere((desired, seen), template, claim))
            {
                grow_one(&name, claim, wanted, &mut growth);
            }
        }
    }
    if !growth.waiting.is_empty() {
        growth.step = None;
    }
    growth.step = growth.back.take().or(growth.step);
    growth
}

/// True when the template names a class, and the claim was made for another one and is not of it. The default class is
/// not compared: it may be another one any day.
fn is_elsewhere(
    (desired, seen): (&Desired, &Observed),
    template: &VolumeClaimTemplate,
    claim: &ClaimSeen,
) -> bool {
    let named = template.spec.class();
    named.is_some_and(|named| asked((desired, seen), template, claim).class() != named)
}

/// Why the pod's member is to be replaced by one whose claims are of the class that is named (M21).
#[must_use]
pub(crate) fn elsewhere(desired: &Desired, seen: &Observed, pod: &str) -> Option<String> {
    desired.claims.iter().find_map(|template| {
        let name = names::claim(&template.name, pod);
        let claim = seen.claims.get(&name).filter(|claim| claim.is_used())?;
        let named = template.spec.class()?;
        let class = claim.class.as_deref().unwrap_or("none");
        is_elsewhere((desired, seen), template, claim)
            .then(|| format!("claim {name} is of storage class {class}, not of {named}"))
    })
}

fn grow_one(name: &str, claim: &ClaimSeen, wanted: &Quantity, growth: &mut Growth) {
    let size = &claim.size;
    // Without a volume there is nothing that could grow.
    let (Some(requested), Some(capacity)) = (&size.requested, &size.capacity) else {
        return;
    };
    let less = |one: &Quantity, other: &Quantity| match (amount(one), amount(other)) {
        (Some(one), Some(other)) => one < other,
        _ => false,
    };
    let step = || Step::GrowClaim {
        name: name.to_owned(),
        uid: claim.uid.clone(),
        to: wanted.clone(),
    };
    if less(capacity, requested) {
        let mut told = match size.told.as_str() {
            "" => String::new(),
            told => format!(": {told}"),
        };
        // Kubernetes takes no request of what a volume has, or less.
        if less(capacity, wanted) && less(wanted, requested) {
            growth.back.get_or_insert_with(step);
        } else if less(wanted, requested) {
            told += &format!(
                "; {} is asked for now, and a claim that has {} takes only more than that: ask for more, or rebuild the member",
                wanted.0, capacity.0
            );
        }
        growth.waiting.push(Waiting::Growing {
            claim: name.to_owned(),
            to: requested.0.clone(),
            told,
        });
    } else if less(requested, wanted) {
        growth.step.get_or_insert_with(step);
    }
}

/// The pods whose volumes are on record. Members that are stopped keep theirs: whether a size or a class can be taken
/// back, and which quota volumes leave, is asked about them then, too.
fn holders(desired: &Desired) -> Vec<&String> {
    let recorded = &desired.recorded;
    if !desired.stop {
        return desired.members.iter().collect();
    }
    let mut pods: Vec<&String> = recorded.volumes.iter().map(|v| &v.pod_name).collect();
    if pods.is_empty() {
        // Releases before this one forgot the volumes of members that were stopped.
        pods = recorded.members.iter().map(|m| &m.pod_name).collect();
    }
    pods.sort_by_key(|pod| desired.name.ordinal(pod));
    pods.dedup();
    pods
}

/// What is on record of the volumes: no figure that moves by itself (C6).
#[must_use]
pub(crate) fn status(desired: &Desired, seen: &Observed) -> Vec<VolumeStatus> {
    // The agent looks at the file system of etcd's data.
    let only = desired.claims.len() == 1;
    let pods = holders(desired);
    let mut all = Vec::new();
    for template in &desired.claims {
        for &pod in &pods {
            let claim = seen.claims.get(&names::claim(&template.name, pod));
            let Some(claim) = claim.filter(|claim| claim.owned && claim.size.requested.is_some())
            else {
                continue;
            };
            let text = |size: &Option<Quantity>| size.as_ref().map(|size| size.0.clone());
            let view = seen.pods.get(pod).and_then(|pod| pod.view.as_ref());
            let bytes = view
                .and_then(|view| view.file_system_bytes)
                .filter(|_| only);
            all.push(VolumeStatus {
                name: template.name.clone(),
                pod_name: pod.clone(),
                storage_class_name: Some(claim.class.clone().unwrap_or_default()),
                requested: text(&claim.size.requested),
                capacity: text(&claim.size.capacity),
                file_system_bytes: bytes.and_then(|bytes| i64::try_from(bytes).ok()),
            });
        }
    }
    all
}

/// Why a claim that stands in the way is left alone.
pub(crate) fn left_alone(desired: &Desired, name: &str, claim: &ClaimSeen) -> Waiting {
    let name = name.to_owned();
    match claim.home() {
        Some(home) if home != desired.cluster_uid => Waiting::LeftBehind(name),
        _ => Waiting::NotOurs {
            kind: "claim",
            name,
        },
    }
}

/// Labels and annotations of a claim, those of its template and which these are. The template has no say in the
/// operator's own, by which claims are found and members are replaced: this holds whatever admission let through.
pub(crate) fn metadata(
    desired: &Desired,
    template: &VolumeClaimTemplate,
    pod: &str,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut labels = template::labels(desired, pod);
    let is_free = |key: &String| !is_own_label(key) && !desired.labels.contains_key(key);
    let given = template.labels.iter().filter(|(key, _)| is_free(key));
    labels.extend(given.map(|(key, value)| (key.clone(), value.clone())));
    labels.insert(
        labels::VOLUME_CLAIM_TEMPLATE.to_owned(),
        template.name.clone(),
    );
    let mut annotations = template.annotations.clone();
    annotations.retain(|key, _| !is_ours(key));
    let home = (labels::CLUSTER_UID.to_owned(), desired.cluster_uid.clone());
    annotations.extend([home]);
    template::record(&labels, &mut annotations);
    (labels, annotations)
}

/// A claim for `pod`; `join` is the learner it is made for, `None` at bootstrap.
pub(crate) fn build(
    desired: &Desired,
    template: &VolumeClaimTemplate,
    pod: &str,
    join: Option<Id>,
) -> PersistentVolumeClaim {
    let (labels, mut annotations) = metadata(desired, template, pod);
    let class = template.spec.class().unwrap_or_default();
    annotations.insert(keys::CLASS.to_owned(), class.to_owned());
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
