//! The headless service that gives pods their host names. The only headless one over these pods (N2).

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use serde_json::Value;

use super::{Plan, Step};
use crate::controller::{APPLIED, fingerprint, holds};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::Observed;

/// Applies the service where it is missing or was edited.
pub(crate) fn plan(desired: &Desired, seen: &Observed, plan: &mut Plan) {
    let mut wanted = build(desired);
    let live = seen.service.as_ref();
    if !live.is_some_and(|live| has(live, &wanted)) {
        wanted.metadata.uid = live.and_then(|live| live.metadata.uid.clone());
        plan.steps.push(Step::ApplyService(Box::new(wanted)));
    }
}

/// The service.
pub(crate) fn build(desired: &Desired) -> Service {
    let meta = desired.template.metadata.as_ref();
    let mut own = meta
        .and_then(|meta| meta.labels.clone())
        .unwrap_or_default();
    own.extend([
        (
            labels::WORKLOAD_MANAGED_BY.to_owned(),
            labels::WORKLOAD_MANAGED_BY_VALUE.to_owned(),
        ),
        (
            labels::WORKLOAD_INSTANCE.to_owned(),
            desired.name.to_string(),
        ),
    ]);
    own.extend(desired.labels.clone());
    own.remove(labels::ROLE);
    let containers = desired
        .template
        .spec
        .iter()
        .flat_map(|spec| &spec.containers);
    let ports = containers
        .flat_map(|container| container.ports.iter().flatten())
        .map(|port| {
            let number = port.container_port;
            ServicePort {
                name: Some(
                    port.name
                        .clone()
                        .unwrap_or_else(|| format!("port-{number}")),
                ),
                port: number,
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                target_port: Some(IntOrString::Int(number)),
                ..ServicePort::default()
            }
        });
    let annotations = desired.service_annotations.clone();
    let mut service = Service {
        metadata: ObjectMeta {
            name: Some(desired.name.headless()),
            namespace: Some(desired.namespace.clone()),
            labels: Some(own),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![desired.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(ports.collect()),
            selector: Some(selector(desired)),
            // Peers must find each other before any of them is ready (N1).
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    let mark = fingerprint(&json(&service));
    let all = service.metadata.annotations.get_or_insert_default();
    all.insert(APPLIED.to_owned(), mark);
    service
}

/// Labels of the pods that it leads to. The last of them only the operator may give (admission policy): a pod of others
/// must not answer to a member's host name.
fn selector(desired: &Desired) -> BTreeMap<String, String> {
    let mut selector = desired.labels.clone();
    for (label, value) in [
        (labels::RELEASE_PHASE, labels::RELEASE_PHASE_STABLE),
        (
            labels::WORKLOAD_MANAGED_BY,
            labels::WORKLOAD_MANAGED_BY_VALUE,
        ),
    ] {
        selector.insert(label.to_owned(), value.to_owned());
    }
    selector
}

/// True when `live` has all that `wanted` says, and was last written from just that; what it has beyond is the API
/// server's or the user's business.
fn has(live: &Service, wanted: &Service) -> bool {
    holds(&json(wanted), &json(live))
}

fn json(service: &Service) -> Value {
    serde_json::to_value(service).unwrap_or_default()
}
