//! PURE: services that a request brings or takes: what the Cluster shall say, and whether they are there.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::names::cluster_service;
use etcd_operator_api::ops_request::{
    Expose, ExposeService, ExposeSwitch, OpsComponentStatus, OpsRequestStatus, ProgressDetail,
    ProgressStatus,
};
use etcd_operator_api::service::{ClusterService, ServiceType};
use etcd_operator_api::{Cluster, Opaque, OpsRequest};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::edit::{self, Change};
use super::progress::Progress;
use super::wish::Refused;

/// Longest last part of a service's name.
const LONGEST: usize = 25;
/// Where etcd serves clients.
const CLIENT_PORT: i32 = 2379;
/// Whom a service leads to when nobody is named.
const LEADER: &str = "leader";

/// A service that is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ServiceSeen {
    /// The object.
    pub(super) service: Service,
    /// Endpoints that serve.
    pub(super) serving: usize,
}

/// Whether the Cluster can have the request's services.
pub(super) fn check(request: &OpsRequest, cluster: &Cluster) -> Result<(), Refused> {
    for (wish, service) in services(request) {
        let name = service.name.clone();
        let known = edit::service(cluster, &name);
        match (wish.switch, known) {
            (ExposeSwitch::Enable, Some(known)) if *known != wanted(wish, service) => {
                return Err(Refused::ServiceThere { name });
            }
            (ExposeSwitch::Enable, _) if suffix(wish, service).len() > LONGEST => {
                let suffix = suffix(wish, service);
                return Err(Refused::ServiceName { suffix });
            }
            (ExposeSwitch::Disable, None) => {
                let names = cluster.spec.services.iter().map(|s| s.name.as_str());
                let known = names.collect::<Vec<_>>().join(", ");
                return Err(Refused::NoService { name, known });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the Cluster shall say.
pub(super) fn changes(request: &OpsRequest) -> Vec<Change> {
    let change = |(wish, service): (&Expose, &ExposeService)| Change::Service {
        name: service.name.clone(),
        wanted: (wish.switch == ExposeSwitch::Enable).then(|| wanted(wish, service)),
    };
    services(request).map(change).collect()
}

/// Names of the services' objects.
pub(super) fn objects(request: &OpsRequest) -> Vec<String> {
    let cluster = &request.spec.cluster_name;
    services(request)
        .map(|(wish, service)| cluster_service(cluster, &suffix(wish, service)))
        .collect()
}

/// How far it is: a service is there when clients can reach somebody through it.
pub(super) fn progress(
    request: &OpsRequest,
    recorded: &OpsRequestStatus,
    cluster: &Cluster,
    seen: &BTreeMap<String, ServiceSeen>,
) -> Progress {
    let status = cluster.status.as_ref();
    let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
    let reflected = status
        .and_then(|status| status.observed_generation)
        .zip(recorded.cluster_generation)
        .is_some_and(|(seen, edited)| seen >= edited);
    let taken = [
        ConditionType::ProvisioningStarted,
        ConditionType::ApplyResources,
    ];
    let mut progress = Progress {
        complete: reflected && taken.iter().all(|kind| condition::holds(conditions, *kind)),
        ..Progress::default()
    };
    for (wish, service) in services(request) {
        let name = cluster_service(&request.spec.cluster_name, &suffix(wish, service));
        let lacks = match (wish.switch, seen.get(&name)) {
            (ExposeSwitch::Disable, None) => None,
            (ExposeSwitch::Disable, Some(_)) => Some("it is still there"),
            (ExposeSwitch::Enable, None) => Some("it is not there yet"),
            (ExposeSwitch::Enable, Some(seen)) => lacking(service.service_type, seen),
        };
        progress.complete &= lacks.is_none();
        let detail = ProgressDetail {
            object_key: format!("Service/{name}"),
            status: match lacks {
                None if reflected => ProgressStatus::Succeed,
                _ => ProgressStatus::Processing,
            },
            message: lacks.map(str::to_owned),
        };
        let component = progress.components.entry(wish.component_name.clone());
        let component: &mut OpsComponentStatus = component.or_default();
        component.progress_details.push(detail);
    }
    progress
}

fn lacking(kind: ServiceType, seen: &ServiceSeen) -> Option<&'static str> {
    let spec = seen.service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() != Some(kind.as_str()) {
        return Some("it is of another kind still");
    }
    let balancer = seen
        .service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref());
    let addressed = match kind {
        ServiceType::ClusterIP => spec.cluster_ip.is_some_and(|ip| !ip.is_empty()),
        ServiceType::NodePort => spec
            .ports
            .iter()
            .flatten()
            .all(|port| port.node_port.is_some()),
        ServiceType::LoadBalancer => balancer.is_some_and(|b| {
            b.ingress
                .as_ref()
                .is_some_and(|ingress| !ingress.is_empty())
        }),
    };
    if !addressed {
        return Some("it waits for an address from the platform");
    }
    (seen.serving == 0).then_some("it leads to nobody yet")
}

fn services(request: &OpsRequest) -> impl Iterator<Item = (&Expose, &ExposeService)> {
    let wishes = request.spec.expose.iter();
    wishes.flat_map(|wish| wish.services.iter().map(move |service| (wish, service)))
}

fn suffix(wish: &Expose, service: &ExposeService) -> String {
    format!("{}-{}", wish.component_name, service.name)
}

fn wanted(wish: &Expose, service: &ExposeService) -> ClusterService {
    let role = service
        .role_selector
        .clone()
        .unwrap_or_else(|| LEADER.to_owned());
    let ports = match service.ports.is_empty() {
        true => json!([{ "name": "client", "port": CLIENT_PORT, "targetPort": CLIENT_PORT }]),
        false => json!(service.ports),
    };
    let mut spec = json!({ "type": service.service_type.as_str(), "ports": ports });
    if role == LEADER {
        // As the component's own service: the label is better evidence than a readiness probe, and sooner.
        spec["publishNotReadyAddresses"] = json!(true);
    }
    ClusterService {
        name: service.name.clone(),
        service_name: Some(suffix(wish, service)),
        annotations: service.annotations.clone(),
        spec: Some(Opaque(spec)),
        role_selector: Some(role),
        component_selector: Some(wish.component_name.clone()),
    }
}
