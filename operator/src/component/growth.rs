//! PURE: whether claims can grow to the size that is asked for. None ever shrinks.

use etcd_operator_api::InstanceSet;
use etcd_operator_api::instance_set::VolumeStatus;
use etcd_operator_api::quantity::amount;
use etcd_operator_api::volume::VolumeClaimTemplate;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::class;

/// Annotation that marks the default storage class.
pub(super) const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Claims cannot have the size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSize {
    #[error(
        "volumeClaimTemplates[{name}].spec.resources.requests.storage cannot shrink to {to:?}: no volume shrinks, and claims \
         have {least:?}; set that or more"
    )]
    Shrinks {
        name: String,
        to: String,
        least: String,
    },
    #[error(
        "volumeClaimTemplates[{name}].spec.resources.requests.storage cannot grow to {to:?}: storage class {class:?} does not \
         have allowVolumeExpansion: true; set it where its driver can, or ask for {least:?}, which claims of that class have"
    )]
    Fixed {
        name: String,
        to: String,
        class: String,
        least: String,
    },
    #[error(
        "volumeClaimTemplates[{name}].spec.resources.requests.storage cannot grow to {to:?}: it is not known whether its \
         volumes can, because storage class {class:?} does not exist"
    )]
    NoClass {
        name: String,
        to: String,
        class: String,
    },
}

/// Compares the size that is asked for with what claims have and ask for now.
pub(super) fn check(
    its: &InstanceSet,
    old: &VolumeClaimTemplate,
    new: &VolumeClaimTemplate,
    classes: &[StorageClass],
) -> Result<(), BadSize> {
    let (before, after) = (size(old), size(new));
    let bytes = |size: &Quantity| amount(size).unwrap_or_default();
    let moves = old.spec.class() != new.spec.class();
    if !moves && bytes(&before).total_cmp(&bytes(&after)).is_eq() {
        return Ok(());
    }
    let (name, to) = (new.name.clone(), after.0.clone());
    let formed = its.status.as_ref();
    let formed = formed.is_some_and(|status| status.cluster_id.is_some());
    let volumes: Vec<&VolumeStatus> = class::volumes(its, new).collect();
    let stays = |volume: &VolumeStatus| !class::is_elsewhere(volume, new);
    let any_stays = volumes.iter().any(|volume| stays(volume));
    // Claims that are made for another class have the size from the start.
    let new_ones = !any_stays && (moves || !volumes.is_empty());
    let counted = volumes.iter().filter(|volume| !any_stays || stays(volume));
    let held = counted.filter_map(|volume| held(volume, formed));
    let most = held.max_by(|one, other| bytes(one).total_cmp(&bytes(other)));
    // What no volume has yet can be taken back, and so can what only those have that move.
    let least = most.unwrap_or(before);
    if bytes(&after) < bytes(&least) {
        let least = least.0;
        return Err(BadSize::Shrinks { name, to, least });
    }
    if new_ones || bytes(&after) <= bytes(&least) {
        return Ok(());
    }
    let named = new.spec.class();
    let class = classes.iter().find(|class| match named {
        Some(named) => class.name_any() == named,
        None => class
            .annotations()
            .get(DEFAULT_CLASS)
            .is_some_and(|value| value == "true"),
    });
    match class {
        Some(class) if class.allow_volume_expansion == Some(true) => Ok(()),
        Some(class) => {
            let (class, least) = (class.name_any(), least.0);
            Err(BadSize::Fixed {
                name,
                to,
                class,
                least,
            })
        }
        None => {
            let class = named.unwrap_or("(the default one)").to_owned();
            Err(BadSize::NoClass { name, to, class })
        }
    }
}

/// What a claim cannot go back from: what its volume has, whatever it asks for. One without a volume keeps its request;
/// once the cluster has formed it is a new member's, which is dropped when it does not start, and its claim with it.
fn held(volume: &VolumeStatus, formed: bool) -> Option<Quantity> {
    let asked = volume.requested.as_ref().filter(|_| !formed);
    volume.capacity.as_ref().or(asked).cloned().map(Quantity)
}

fn size(template: &VolumeClaimTemplate) -> Quantity {
    let size = template.spec.resources.requests.get("storage");
    size.cloned().unwrap_or_default()
}
