//! A service that the Cluster asks for beside those of its components.

use std::collections::BTreeMap;

use etcd_operator_api::service::ClusterService;
use etcd_operator_api::{Cluster, labels};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::super::resolution::SpecError;
use crate::controller::own;
use crate::definition::{Metadata, check_metadata};

pub(in super::super) fn service(
    cluster: &Cluster,
    wanted: &ClusterService,
    name: &str,
) -> Result<Service, SpecError> {
    let field = format!("spec.services[{}].annotations", wanted.name);
    check_metadata(Metadata::ServiceAnnotations, &field, &wanted.annotations)?;
    let field = format!("spec.services[{}].spec", wanted.name);
    let mut spec: ServiceSpec = match &wanted.spec {
        Some(spec) => spec.parse(&field)?,
        None => ServiceSpec::default(),
    };
    if spec.ports.as_ref().is_none_or(Vec::is_empty) {
        return Err(SpecError::NoPorts {
            service: wanted.name.clone(),
        });
    }
    let kind = spec.type_.get_or_insert_with(|| "ClusterIP".to_owned());
    if !["ClusterIP", "NodePort", "LoadBalancer"].contains(&kind.as_str()) {
        let (service, kind) = (wanted.name.clone(), kind.clone());
        return Err(SpecError::ServiceType { service, kind });
    }
    for port in spec.ports.iter_mut().flatten() {
        // The API server fills it in, and the list's entries are keyed by it in server-side apply.
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
    }
    spec.selector
        .get_or_insert_default()
        .extend(selector(cluster, wanted));
    let mut service = Service {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: cluster.namespace(),
            labels: Some(BTreeMap::from([
                (
                    labels::MANAGED_BY.to_owned(),
                    labels::MANAGED_BY_VALUE.to_owned(),
                ),
                (labels::INSTANCE.to_owned(), cluster.name_any()),
            ])),
            annotations: Some(wanted.annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    };
    own(&mut service, cluster);
    Ok(service)
}

fn selector(cluster: &Cluster, wanted: &ClusterService) -> BTreeMap<String, String> {
    let mut selector = BTreeMap::from([
        (
            labels::MANAGED_BY.to_owned(),
            labels::MANAGED_BY_VALUE.to_owned(),
        ),
        (labels::INSTANCE.to_owned(), cluster.name_any()),
        (
            labels::RELEASE_PHASE.to_owned(),
            labels::RELEASE_PHASE_STABLE.to_owned(),
        ),
        (
            labels::WORKLOAD_MANAGED_BY.to_owned(),
            labels::WORKLOAD_MANAGED_BY_VALUE.to_owned(),
        ),
    ]);
    let optional = [
        (labels::COMPONENT_NAME, &wanted.component_selector),
        (labels::ROLE, &wanted.role_selector),
    ];
    for (label, value) in optional {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            selector.insert(label.to_owned(), value.clone());
        }
    }
    selector
}
