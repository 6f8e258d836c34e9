//! The services that the definition declares. The headless one belongs to the InstanceSet.

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use etcd_operator_api::service::ComponentService;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::super::validate::{SpecError, Valid};
use super::metadata::{child, pod_selector};
use crate::controller::own;

pub(in super::super) fn services(valid: &Valid<'_>) -> Result<Vec<Service>, SpecError> {
    let declared = valid.definition.spec.services.iter();
    declared
        .filter(|service| wanted(valid, service))
        .map(|s| service(valid, s))
        .collect()
}

/// A service that is not made by itself is made for those who name it.
fn wanted(valid: &Valid<'_>, service: &ComponentService) -> bool {
    service.disable_auto_provision != Some(true)
        || valid
            .component
            .spec
            .services
            .iter()
            .any(|named| named.name == service.name)
}

/// Name of the service that leads to the one member with the exclusive role.
pub(super) fn leader_service_name(valid: &Valid<'_>) -> Option<String> {
    let spec = &valid.definition.spec;
    let exclusive = &spec.roles.iter().find(|role| role.is_exclusive)?.name;
    let mut services = spec
        .services
        .iter()
        .filter(|service| wanted(valid, service));
    let service = services.find(|service| service.role_selector.as_ref() == Some(exclusive))?;
    Some(
        valid
            .name
            .service(service.service_name.as_deref().unwrap_or_default()),
    )
}

fn service(valid: &Valid<'_>, declared: &ComponentService) -> Result<Service, SpecError> {
    let field = format!("compDef.spec.services[{}].spec", declared.name);
    let mut spec: ServiceSpec = match &declared.spec {
        Some(spec) => spec
            .parse(&field)
            .map_err(|e| SpecError::NotOfType(e.to_string()))?,
        None => ServiceSpec::default(),
    };
    let wish = valid
        .component
        .spec
        .services
        .iter()
        .find(|wish| wish.name == declared.name);
    if let Some(wish) = wish {
        spec.type_ = Some(wish.service_type.as_str().to_owned());
    }
    spec.type_.get_or_insert_with(|| "ClusterIP".to_owned());
    for port in spec.ports.iter_mut().flatten() {
        // The API server fills it in, and the list's entries are keyed by it in server-side apply.
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
    }
    let mut selector = pod_selector(valid);
    if let Some(role) = declared
        .role_selector
        .as_ref()
        .filter(|role| !role.is_empty())
    {
        selector.insert(labels::ROLE.to_owned(), role.clone());
    }
    spec.selector = Some(selector);
    let mut annotations: BTreeMap<String, String> = declared.annotations.clone();
    annotations.extend(
        wish.map(|wish| wish.annotations.clone())
            .unwrap_or_default(),
    );
    let name = valid
        .name
        .service(declared.service_name.as_deref().unwrap_or_default());
    let mut metadata = child(valid, name);
    metadata.annotations = Some(annotations);
    let mut all = valid.component.spec.labels.clone();
    all.extend(metadata.labels.take().unwrap_or_default());
    metadata.labels = Some(all);
    let mut service = Service {
        metadata,
        spec: Some(spec),
        status: None,
    };
    own(&mut service, valid.component);
    Ok(service)
}
