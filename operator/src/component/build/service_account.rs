//! The service account of the pods: one for each definition and namespace, with no rights at all.

use std::collections::BTreeMap;

use etcd_operator_api::{Component, labels, names};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::super::validate::Valid;

pub(in super::super) fn service_account_name(valid: &Valid<'_>) -> String {
    names::service_account(&valid.component.spec.comp_def)
}

/// The account that the owner names instead.
pub(in super::super) fn named_account(component: &Component) -> Option<&str> {
    let name = component.spec.service_account_name.as_deref();
    name.filter(|name| !name.is_empty())
}

/// Owned, but not controlled, by every Component that uses it: it goes with the last of them.
pub(in super::super) fn service_account(component: &Component, name: &str) -> ServiceAccount {
    let managed = (
        labels::MANAGED_BY.to_owned(),
        labels::MANAGED_BY_VALUE.to_owned(),
    );
    ServiceAccount {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: component.namespace(),
            labels: Some(BTreeMap::from([managed])),
            owner_references: component.owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
