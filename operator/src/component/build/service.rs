//! The services that the definition declares. The headless one belongs to the InstanceSet.

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use etcd_operator_api::service::{ComponentService, ComponentServiceOverride};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::super::validate::{SpecError, Valid};
use super::metadata::{child, pod_selector};
use crate::controller::own;

pub(in super::super) fn services(valid: &Valid<'_>) -> Result<Vec<Service>, SpecError> {
    let declared = valid.definition.spec.services.iter();
    let mut all = Vec::new();
    for declared in declared.filter(|service| wanted(valid, service)) {
        if !is_each_pods(valid, declared) {
            all.push(service(valid, declared, None)?);
            continue;
        }
        let spec = &valid.component.spec;
        let count = u32::try_from(spec.replicas).unwrap_or_default();
        for pod in valid.name.pods(count, &spec.offline_instances) {
            all.push(service(valid, declared, Some(&pod))?);
        }
    }
    Ok(all)
}

/// What a component says of a service that its definition declares.
fn wish<'a>(
    valid: &'a Valid<'_>,
    declared: &ComponentService,
) -> Option<&'a ComponentServiceOverride> {
    let mut services = valid.component.spec.services.iter();
    services.find(|wish| wish.name == declared.name)
}

/// True for one service for each pod.
fn is_each_pods(valid: &Valid<'_>, declared: &ComponentService) -> bool {
    let wish = wish(valid, declared).and_then(|wish| wish.pod_service);
    wish.or(declared.pod_service) == Some(true)
}

/// A service that is not made by itself is made for those who name it.
fn wanted(valid: &Valid<'_>, service: &ComponentService) -> bool {
    service.disable_auto_provision != Some(true) || wish(valid, service).is_some()
}

/// Name of the service that leads to the one member with the exclusive role.
pub(super) fn leader_service_name(valid: &Valid<'_>) -> Option<String> {
    let spec = &valid.definition.spec;
    let exclusive = &spec.roles.iter().find(|role| role.is_exclusive)?.name;
    let mut services = spec
        .services
        .iter()
        .filter(|service| wanted(valid, service) && !is_each_pods(valid, service));
    let service = services.find(|service| service.role_selector.as_ref() == Some(exclusive))?;
    Some(
        valid
            .name
            .service(service.service_name.as_deref().unwrap_or_default()),
    )
}

/// The service, or the one of this pod.
fn service(
    valid: &Valid<'_>,
    declared: &ComponentService,
    pod: Option<&str>,
) -> Result<Service, SpecError> {
    let field = format!("compDef.spec.services[{}].spec", declared.name);
    let mut spec: ServiceSpec = match &declared.spec {
        Some(spec) => spec
            .parse(&field)
            .map_err(|e| SpecError::NotOfType(e.to_string()))?,
        None => ServiceSpec::default(),
    };
    let wish = wish(valid, declared);
    if let Some(wish) = wish {
        spec.type_ = Some(wish.service_type.as_str().to_owned());
    }
    spec.type_.get_or_insert_with(|| "ClusterIP".to_owned());
    for port in spec.ports.iter_mut().flatten() {
        // The API server fills it in, and the list's entries are keyed by it in server-side apply.
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
    }
    let mut selector = pod_selector(valid);
    let role = declared.role_selector.as_ref();
    match (pod, role.filter(|role| !role.is_empty())) {
        (Some(pod), _) => drop(selector.insert(labels::POD_NAME.to_owned(), pod.to_owned())),
        (None, Some(role)) => drop(selector.insert(labels::ROLE.to_owned(), role.clone())),
        (None, None) => {}
    }
    spec.selector = Some(selector);
    let mut annotations: BTreeMap<String, String> = declared.annotations.clone();
    annotations.extend(
        wish.map(|wish| wish.annotations.clone())
            .unwrap_or_default(),
    );
    let mut name = valid
        .name
        .service(declared.service_name.as_deref().unwrap_or_default());
    if let Some(ordinal) = pod.and_then(|pod| valid.name.ordinal(pod)) {
        name += &format!("-{ordinal}");
    }
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
