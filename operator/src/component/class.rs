//! PURE: whether members can move to another storage class: they are replaced one at a time, and copy the data from the
//! others. None moves because another class has become the default one.

use etcd_operator_api::instance_set::VolumeStatus;
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{ComponentSpec, InstanceSet};
use kube::ResourceExt;

/// Members cannot move to the class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadClass {
    #[error(
        "volumeClaimTemplates[{name}].spec.storageClassName cannot be taken out again: name {from:?}, in which members are, or \
         the class that they are to move to"
    )]
    TakenOut { name: String, from: String },
    #[error(
        "volumeClaimTemplates[{name}].spec.storageClassName cannot change to {to:?} before the cluster has formed: its first \
         claims are made already; set it back, or delete the Cluster and make it with that class"
    )]
    NotFormed { name: String, to: String },
    #[error(
        "volumeClaimTemplates[{name}].spec.storageClassName cannot change to {to:?} with one member: no other one has its \
         data while it is replaced; set replicas to 3 first, and back afterwards"
    )]
    OnlyMember { name: String, to: String },
    #[error(
        "replicas cannot go to 1 before {pod} has moved to storage class {to:?}: no other member would have its data \
         while it is replaced; wait for that{or}"
    )]
    LastMoves { pod: String, to: String, or: String },
}

/// Whether members are to move for the template. An error says why they cannot.
pub(super) fn check(
    its: &InstanceSet,
    wish: &ComponentSpec,
    old: &VolumeClaimTemplate,
    new: &VolumeClaimTemplate,
) -> Result<bool, BadClass> {
    let (from, to) = (old.spec.class(), new.spec.class());
    if from == to {
        return match last_moves(its, wish, new) {
            Some(refused) => Err(refused),
            None => Ok(moves(its, new)),
        };
    }
    let name = new.name.clone();
    let Some(to) = to else {
        let from = from.unwrap_or_default().to_owned();
        return Err(BadClass::TakenOut { name, from });
    };
    let mut volumes = staying(its, wish, new).peekable();
    let is_there = |volume: &VolumeStatus| volume.storage_class_name.as_deref() == Some(to);
    if volumes.peek().is_some() && volumes.all(is_there) {
        return Ok(false);
    }
    let to = to.to_owned();
    let status = its.status.as_ref();
    if status.is_none_or(|status| status.cluster_id.is_none()) {
        return Err(BadClass::NotFormed { name, to });
    }
    if wish.replicas == 1 {
        return Err(BadClass::OnlyMember { name, to });
    }
    Ok(true)
}

/// Why members that move may not be reduced to one: it would be left in its old class for ever.
fn last_moves(
    its: &InstanceSet,
    wish: &ComponentSpec,
    template: &VolumeClaimTemplate,
) -> Option<BadClass> {
    if wish.replicas != 1 || its.spec.replicas == 1 {
        return None;
    }
    let left = staying(its, wish, template).find(|volume| is_elsewhere(volume, template))?;
    let class = left.storage_class_name.as_deref();
    let back = |class: &str| {
        let name = &template.name;
        format!(", or set volumeClaimTemplates[{name}].spec.storageClassName back to {class:?}")
    };
    // No template leads back to a claim without a class.
    let or = class.filter(|class| !class.is_empty()).map(back);
    Some(BadClass::LastMoves {
        pod: left.pod_name.clone(),
        to: template.spec.class().unwrap_or_default().to_owned(),
        or: or.unwrap_or_default(),
    })
}

/// What is known of the template's volumes of pods that are wanted.
fn staying<'a>(
    its: &'a InstanceSet,
    wish: &ComponentSpec,
    template: &'a VolumeClaimTemplate,
) -> impl Iterator<Item = &'a VolumeStatus> {
    let count = u32::try_from(wish.replicas).unwrap_or_default();
    let name = ComponentName::existing(&its.name_any());
    let pods = name.pods(count, &wish.offline_instances);
    // None are wanted of what is stopped, and all come back.
    volumes(its, template).filter(move |volume| count == 0 || pods.contains(&volume.pod_name))
}

/// True while claims of the template are known to be of another class than the one that it names.
pub(super) fn moves(its: &InstanceSet, template: &VolumeClaimTemplate) -> bool {
    volumes(its, template).any(|volume| is_elsewhere(volume, template))
}

/// True for a volume that is replaced by one of the class that the template names.
pub(super) fn is_elsewhere(volume: &VolumeStatus, template: &VolumeClaimTemplate) -> bool {
    let class = volume.storage_class_name.as_deref();
    let named = template.spec.class();
    class.is_some() && named.is_some() && class != named
}

/// What is known of the template's volumes.
pub(super) fn volumes<'a>(
    its: &'a InstanceSet,
    template: &'a VolumeClaimTemplate,
) -> impl Iterator<Item = &'a VolumeStatus> {
    let volumes = its.status.iter().flat_map(|status| &status.volumes);
    volumes.filter(move |volume| volume.name == template.name)
}
