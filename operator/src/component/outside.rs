//! PURE: the members' ports to which a component's services lead from outside the Kubernetes cluster.

use k8s_openapi::api::core::v1::{PodTemplateSpec, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kbagent_protocol::PORT;

use super::network::PEER;

const TCP: &str = "TCP";

/// These ports, each once. Those of peers and agents are never among them, whatever leads there.
pub(super) fn ports(services: &[Service], template: &PodTemplateSpec) -> Vec<NetworkPolicyPort> {
    let specs = services.iter().filter_map(|service| service.spec.as_ref());
    let ports = specs
        .filter(|spec| leads_outside(spec))
        .flat_map(|spec| spec.ports.iter().flatten());
    let mut all = Vec::new();
    for port in ports {
        let open = NetworkPolicyPort {
            port: Some(target(port, template)),
            protocol: Some(protocol(port.protocol.as_deref())),
            end_port: None,
        };
        if !is_closed(&open) && !all.contains(&open) {
            all.push(open);
        }
    }
    all
}

fn leads_outside(spec: &ServiceSpec) -> bool {
    let kind = spec.type_.as_deref().unwrap_or_default();
    let addresses = spec.external_ips.as_ref();
    ["NodePort", "LoadBalancer"].contains(&kind) || addresses.is_some_and(|ips| !ips.is_empty())
}

fn is_closed(port: &NetworkPolicyPort) -> bool {
    let closed = [PEER, PORT].map(|port| Some(IntOrString::Int(i32::from(port))));
    closed.contains(&port.port)
}

/// The pod's port. A name is that of a container's; one that no container has leads nowhere, and opens nothing.
fn target(port: &ServicePort, template: &PodTemplateSpec) -> IntOrString {
    match &port.target_port {
        Some(IntOrString::Int(number)) if *number != 0 => IntOrString::Int(*number),
        Some(IntOrString::String(name)) if !name.is_empty() => {
            let found = numbered(name, protocol(port.protocol.as_deref()), template);
            found.map_or_else(|| IntOrString::String(name.clone()), IntOrString::Int)
        }
        // 0 and "" are none for the API server, too.
        _ => IntOrString::Int(port.port),
    }
}

fn numbered(name: &str, of: String, template: &PodTemplateSpec) -> Option<i32> {
    let containers = template.spec.iter().flat_map(|pod| &pod.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let found = ports.find(|port| {
        port.name.as_deref() == Some(name) && protocol(port.protocol.as_deref()) == of
    });
    found.map(|port| port.container_port)
}

fn protocol(given: Option<&str>) -> String {
    given.unwrap_or(TCP).to_owned()
}
