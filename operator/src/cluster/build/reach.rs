//! Who may reach a component's clients' port when the Cluster does not say.

use etcd_operator_api::service::{ClusterService, ComponentServiceOverride, ServiceType};
use etcd_operator_api::{Cluster, ClusterComponentSpec, labels};
use k8s_openapi::api::core::v1::ServiceSpec;

use super::super::resolution::SpecError;

/// What its Component is told: certificates, and services that lead outside, leave the port open to all. A component
/// without either is told nothing: it is its namespace's own, but for services of its definition that lead outside.
pub(super) fn reach(
    cluster: &Cluster,
    spec: &ClusterComponentSpec,
) -> Result<Option<&'static str>, SpecError> {
    let mut outside = spec.services.iter().any(leads_outside);
    for service in selecting(cluster, &spec.name) {
        outside |= is_outside(service)?;
    }
    let encrypted = spec.tls == Some(true);
    Ok((encrypted || outside).then_some(labels::REACH_OPEN))
}

/// The Cluster's services that lead to the component.
fn selecting<'a>(
    cluster: &'a Cluster,
    component: &'a str,
) -> impl Iterator<Item = &'a ClusterService> {
    cluster.spec.services.iter().filter(move |service| {
        let selector = service.component_selector.as_deref();
        selector.is_none_or(|selected| selected.is_empty() || selected == component)
    })
}

fn leads_outside(service: &ComponentServiceOverride) -> bool {
    service.service_type != ServiceType::ClusterIP
}

fn is_outside(service: &ClusterService) -> Result<bool, SpecError> {
    let Some(spec) = &service.spec else {
        return Ok(false);
    };
    let field = format!("spec.services[{}].spec", service.name);
    let spec: ServiceSpec = spec.parse(&field)?;
    let kind = spec.type_.unwrap_or_default();
    let addresses = spec.external_ips.is_some_and(|ips| !ips.is_empty());
    Ok(addresses || ["NodePort", "LoadBalancer"].contains(&kind.as_str()))
}
