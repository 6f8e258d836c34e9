//! Which names the members' certificate holds: every one that a client or another member may call them by (N3).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etcd_operator_api::names::{ComponentName, headless_domain, service_domain};
use k8s_openapi::api::core::v1::Service;

/// Services that are named, and addresses of one.
const MOST: usize = 64;

/// Names and addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// DNS names, wildcards among them.
    pub dns: BTreeSet<String>,
    /// Addresses.
    pub addresses: BTreeSet<IpAddr>,
}

/// What the operator's own certificate holds, by which agents know it.
#[must_use]
pub(crate) fn operator_names() -> Names {
    Names {
        dns: [kbagent_protocol::OPERATOR_NAME.to_owned()].into(),
        addresses: BTreeSet::new(),
    }
}

/// The names of a component's members: its services, those of the Cluster that lead to it, and each pod.
#[must_use]
pub(crate) fn member_names(
    name: &ComponentName,
    namespace: &str,
    cluster_domain: &str,
    (pods, services): (&[String], &[Service]),
) -> Names {
    let mut names = Names::default();
    let of = |name: &str| {
        [
            name.to_owned(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
            service_domain(name, namespace, cluster_domain),
        ]
    };
    names.dns.extend(of(name.as_str()));
    names.dns.extend(of(&name.headless()));
    let wild = of(&name.headless());
    names
        .dns
        .extend(wild.iter().map(|service| format!("*.{service}")));
    // Some verifiers (rustls, NSS) take no wildcard above a single label.
    let short = pods.iter().map(|pod| format!("{pod}.{}", name.headless()));
    names.dns.extend(short);
    names.dns.insert("localhost".to_owned());
    names.addresses.insert(IpAddr::V4(Ipv4Addr::LOCALHOST));
    names.addresses.insert(IpAddr::V6(Ipv6Addr::LOCALHOST));
    for service in services.iter().take(MOST) {
        if let Some(name) = service.metadata.name.as_deref() {
            names.dns.extend(of(name));
        }
        outside(service, &mut names);
    }
    names
}

/// Addresses and host names by which a service is reached from outside, as far as Kubernetes tells them.
fn outside(service: &Service, names: &mut Names) {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let places = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let places = places.into_iter().flatten().take(MOST);
    let hosts = places.flat_map(|place| [place.ip.as_deref(), place.hostname.as_deref()]);
    let external = service.spec.as_ref();
    let external = external.and_then(|spec| spec.external_ips.as_ref());
    let external = external.into_iter().flatten().take(MOST);
    let external = external.map(|address| Some(address.as_str()));
    for host in hosts.chain(external).flatten() {
        match host.parse() {
            Ok(address) => drop(names.addresses.insert(address)),
            Err(_) if is_name(host) => drop(names.dns.insert(host.to_owned())),
            Err(_) => {}
        }
    }
}

fn is_name(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.chars().all(plain);
    host.len() <= 253 && host.split('.').all(label)
}

/// The names without which members, agents and clients of the leader's service `leader` do not get by: what a user's
/// certificate must hold, in whatever form.
#[must_use]
pub(crate) fn needed(
    name: &ComponentName,
    namespace: &str,
    cluster_domain: &str,
    pods: &[String],
    leader: Option<&str>,
) -> Vec<String> {
    let domain = headless_domain(name, namespace, cluster_domain);
    let mut all: Vec<String> = pods.iter().map(|pod| format!("{pod}.{domain}")).collect();
    all.extend(leader.map(str::to_owned));
    all.push(Ipv4Addr::LOCALHOST.to_string());
    all
}
