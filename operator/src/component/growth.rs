//! PURE: whether claims can grow to the size that is asked for. None ever shrinks.

use etcd_operator_api::InstanceSet;
use etcd_operator_api::quantity::amount;
use etcd_operator_api::volume::VolumeClaimTemplate;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

/// Annotation that marks the default storage class.
pub(super) const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Claims cannot have the size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSize {
    #[error(
        "volumeClaimTemplates[{name}].spec.resources.requests.storage cannot shrink to {to:?}: no volume shrinks, and claims \
         ask for {least:?}; set that or more"
    )]
    Shrinks {
        name: String,
        to: String,
        least: String,
    },
    #[error(
        "volumeClaimTemplates[{name}].spec.resources.requests.storage cannot grow to {to:?}: storage class {class:?} does not \
         have allowVolumeExpansion: true; set it where its driver can, or leave the size as it is"
    )]
    Fixed {
        name: String,
        to: String,
        class: String,
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

/// Compares the size that is asked for with what claims ask for now.
pub(super) fn check(
    its: &InstanceSet,
    old: &VolumeClaimTemplate,
    new: &VolumeClaimTemplate,
    classes: &[StorageClass],
) -> Result<(), BadSize> {
    let (before, after) = (size(old), size(new));
    let bytes = |size: &Quantity| amount(size).unwrap_or_default();
    if bytes(&before).total_cmp(&bytes(&after)).is_eq() {
        return Ok(());
    }
    let (name, to) = (new.name.clone(), after.0.clone());
    let volumes = its.status.iter().flat_map(|status| &status.volumes);
    let asked = volumes.filter(|volume| volume.name == new.name);
    let asked = asked.filter_map(|volume| Some(Quantity(volume.requested.clone()?)));
    let most = asked.max_by(|one, other| bytes(one).total_cmp(&bytes(other)));
    // What no claim asked for yet can be taken back.
    let least = most.unwrap_or(before);
    if bytes(&after) < bytes(&least) {
        let least = least.0;
        return Err(BadSize::Shrinks { name, to, least });
    }
    if bytes(&after) <= bytes(&least) {
        return Ok(());
    }
    let named = new
        .spec
        .storage_class_name
        .as_deref()
        .filter(|class| !class.is_empty());
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
            let class = class.name_any();
            Err(BadSize::Fixed { name, to, class })
        }
        None => {
            let class = named.unwrap_or("(the default one)").to_owned();
            Err(BadSize::NoClass { name, to, class })
        }
    }
}

fn size(template: &VolumeClaimTemplate) -> Quantity {
    let size = template.spec.resources.requests.get("storage");
    size.cloned().unwrap_or_default()
}
