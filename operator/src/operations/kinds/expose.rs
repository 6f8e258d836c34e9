//! Expose: services of the Cluster come or go. They touch no member.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_operator_api::condition::{self, ConditionType, Reason};
use etcd_operator_api::names::cluster_service;
use etcd_operator_api::ops_request::{
    Expose as Asked, ExposeService, ExposeSwitch, LastConfiguration, OpsComponentStatus,
    OpsRequestSpec, ProgressDetail, ProgressStatus,
};
use etcd_operator_api::service::{ClusterService, ServiceType};
use etcd_operator_api::{Cluster, Opaque, OpsRequest};
use k8s_openapi::api::core::v1::ServiceSpec;
use serde_json::json;

use crate::operations::edit::{self, Change};
use crate::operations::facts::{Progress, View};
use crate::operations::kind::{Kind, SHORT};
use crate::operations::observed::{Seen, ServiceSeen};
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

/// Longest last part of a service's name.
const LONGEST: usize = 25;
/// Where etcd serves clients.
const CLIENT_PORT: i32 = 2379;
/// Role of the pods that a service selects when the request names none.
const LEADER: &str = "leader";

pub(super) struct Expose;

impl Kind for Expose {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = spec.expose.iter().map(|ops| ops.component_name.clone());
        ("expose", names.collect())
    }

    fn started(&self) -> (ConditionType, Reason) {
        (ConditionType::Exposing, Reason::ExposeStarted)
    }

    fn deadline(&self) -> Duration {
        SHORT
    }

    fn needs(&self, spec: &OpsRequestSpec) -> Needs {
        let comes = |asked: &Asked| asked.switch == ExposeSwitch::Enable;
        Needs {
            members: spec.expose.iter().any(comes),
            ..Needs::NOTHING
        }
    }

    /// Whether the Cluster can have the services. Puts on record what their objects are called: a service that the
    /// owner named otherwise is known by its own name after it is gone from the spec.
    fn check(
        &self,
        request: &OpsRequest,
        seen: &Seen,
        before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        let Some(cluster) = &seen.cluster else {
            return Ok(());
        };
        let mut names = BTreeSet::new();
        for (asked, service) in services(request) {
            let name = service.name.clone();
            if !names.insert(name.clone()) {
                return Err(Refused::ServiceTwice { name });
            }
            in_clear(request, cluster, asked, service)?;
            let suffix = suffix(asked, service);
            let known = edit::service(cluster, &name);
            let object = match (asked.switch, known) {
                (ExposeSwitch::Enable, Some(known)) if *known != wanted(asked, service) => {
                    return Err(Refused::ServiceThere { name });
                }
                (ExposeSwitch::Enable, _) if suffix.len() > LONGEST => {
                    return Err(Refused::ServiceName { suffix });
                }
                (ExposeSwitch::Enable, _) => suffix,
                (ExposeSwitch::Disable, None) => {
                    let names = cluster.spec.services.iter().map(|s| s.name.as_str());
                    let known = names.collect::<Vec<_>>().join(", ");
                    return Err(Refused::NoService { name, known });
                }
                (ExposeSwitch::Disable, Some(known)) => {
                    of_component(known, asked)?;
                    let own = known.service_name.as_ref();
                    own.unwrap_or(&known.name).clone()
                }
            };
            if let Some(last) = before.components.get_mut(&asked.component_name) {
                let object = cluster_service(&request.spec.cluster_name, &object);
                last.service_objects.insert(name, object);
            }
        }
        Ok(())
    }

    fn services(&self, request: &OpsRequest) -> Vec<Change> {
        let change = |(asked, service): (&Asked, &ExposeService)| Change::Service {
            name: service.name.clone(),
            wanted: (asked.switch == ExposeSwitch::Enable).then(|| wanted(asked, service)),
        };
        services(request).map(change).collect()
    }

    /// A service is there when clients can reach a member through it.
    fn progress(&self, view: &View<'_>) -> Option<Progress> {
        let status = view.cluster.status.as_ref();
        let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
        let reflected = status
            .and_then(|status| status.observed_generation)
            .zip(view.recorded.cluster_generation)
            .is_some_and(|(seen, edited)| seen >= edited);
        let mut progress = Progress {
            complete: reflected && condition::holds(conditions, ConditionType::ProvisioningStarted),
            ..Progress::default()
        };
        for (asked, service) in services(view.request) {
            let name = object(
                view.request,
                &view.recorded.last_configuration,
                asked,
                service,
            );
            let lacks = match (asked.switch, view.seen.services.get(&name)) {
                (ExposeSwitch::Disable, None) => None,
                (ExposeSwitch::Disable, Some(_)) => Some("it is still there"),
                (ExposeSwitch::Enable, None) => Some("it is not there yet"),
                (ExposeSwitch::Enable, Some(seen)) => lacking(&wanted(asked, service), seen),
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
            let component = progress.components.entry(asked.component_name.clone());
            let component: &mut OpsComponentStatus = component.or_default();
            component.progress_details.push(detail);
        }
        Some(progress)
    }
}

/// Outside of the Kubernetes cluster anyone may listen: that takes TLS, or `force`.
fn in_clear(
    request: &OpsRequest,
    cluster: &Cluster,
    asked: &Asked,
    service: &ExposeService,
) -> Result<(), Refused> {
    let outside = service.service_type != ServiceType::ClusterIP;
    let components = cluster.spec.component_specs.iter();
    let mut named = components.filter(|component| component.name == asked.component_name);
    let encrypted = named.any(|component| component.tls == Some(true));
    let forced = request.spec.force == Some(true);
    if asked.switch == ExposeSwitch::Disable || !outside || encrypted || forced {
        return Ok(());
    }
    Err(Refused::InClear {
        name: service.name.clone(),
        kind: service.service_type.as_str(),
        component: asked.component_name.clone(),
    })
}

/// Names of the services' objects.
pub(in super::super) fn objects(request: &OpsRequest) -> Vec<String> {
    let status = request.status.as_ref();
    let recorded = status.map(|status| status.last_configuration.clone());
    let recorded = recorded.unwrap_or_default();
    services(request)
        .map(|(asked, service)| object(request, &recorded, asked, service))
        .collect()
}

/// Name of a service's object, as it is on record.
fn object(
    request: &OpsRequest,
    recorded: &LastConfiguration,
    asked: &Asked,
    service: &ExposeService,
) -> String {
    let last = recorded.components.get(&asked.component_name);
    let known = last.and_then(|last| last.service_objects.get(&service.name));
    let by_rule = || cluster_service(&request.spec.cluster_name, &suffix(asked, service));
    known.cloned().unwrap_or_else(by_rule)
}

fn lacking(wanted: &ClusterService, seen: &ServiceSeen) -> Option<&'static str> {
    let spec = seen.service.spec.clone().unwrap_or_default();
    let wanted = wanted
        .spec
        .as_ref()
        .and_then(|wanted| wanted.parse("spec").ok());
    let wanted: ServiceSpec = wanted.unwrap_or_default();
    if spec.type_ != wanted.type_ {
        return Some("the Service's type is not updated yet");
    }
    let numbers = |spec: &ServiceSpec| -> Vec<i32> {
        let ports = spec.ports.iter().flatten();
        ports.map(|port| port.port).collect()
    };
    if numbers(&spec) != numbers(&wanted) {
        return Some("the Service's ports are not updated yet");
    }
    let balancer = seen
        .service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref());
    let addressed = match spec.type_.as_deref() {
        Some("NodePort") => {
            let mut ports = spec.ports.iter().flatten();
            ports.all(|port| port.node_port.is_some())
        }
        Some("LoadBalancer") => balancer.is_some_and(|balancer| {
            let addresses = balancer.ingress.as_ref();
            addresses.is_some_and(|addresses| !addresses.is_empty())
        }),
        _ => spec.cluster_ip.is_some_and(|ip| !ip.is_empty()),
    };
    if !addressed {
        return Some("the Service waits for an address from the platform");
    }
    (seen.serving == 0).then_some("the Service has no ready endpoints yet")
}

fn services(request: &OpsRequest) -> impl Iterator<Item = (&Asked, &ExposeService)> {
    let all = request.spec.expose.iter();
    all.flat_map(|asked| asked.services.iter().map(move |service| (asked, service)))
}

/// A service that goes leads to the component that the request names, or to all.
fn of_component(known: &ClusterService, asked: &Asked) -> Result<(), Refused> {
    let leads_to = known.component_selector.as_deref().unwrap_or_default();
    if leads_to.is_empty() || leads_to == asked.component_name {
        return Ok(());
    }
    Err(Refused::ServiceOfAnother {
        component: asked.component_name.clone(),
        name: known.name.clone(),
        other: leads_to.to_owned(),
    })
}

fn suffix(asked: &Asked, service: &ExposeService) -> String {
    format!("{}-{}", asked.component_name, service.name)
}

fn wanted(asked: &Asked, service: &ExposeService) -> ClusterService {
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
        service_name: Some(suffix(asked, service)),
        annotations: service.annotations.clone(),
        spec: Some(Opaque(spec)),
        role_selector: Some(role),
        component_selector: Some(asked.component_name.clone()),
    }
}
