//! The table of a node, as text for nft, from what the API server has. Pure.
//!
//! A pod that a policy selects has a chain for each way that is closed; pods of equal rules share one. A chain returns
//! for what is let in and ends in a refusal. Names never get into the text, and addresses only as parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt};

use crate::state::{Labels, Pod, State};

/// The table. Not a name that faults of the harness begin with: it is nothing that a fault left.
const TABLE: &str = "ip pod_policies";

/// Which way a connection is opened, seen from the pod that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    fn policy_type(self) -> &'static str {
        match self {
            Way::In => "Ingress",
            Way::Out => "Egress",
        }
    }

    /// The address of the other side in a packet.
    fn other(self) -> &'static str {
        match self {
            Way::In => "saddr",
            Way::Out => "daddr",
        }
    }

    fn chain(self) -> &'static str {
        match self {
            Way::In => "in",
            Way::Out => "out",
        }
    }
}

/// Pods of one way: the chains, and which of them a pod has.
#[derive(Default)]
struct Closed {
    chains: BTreeMap<Vec<String>, usize>,
    pods: BTreeMap<Ipv4Addr, usize>,
}

/// The table of this node; one without a chain where no pod is closed.
pub(crate) fn ruleset(state: &State, node: &str) -> String {
    let mut closed = [Closed::default(), Closed::default()];
    for (way, closed) in [Way::In, Way::Out].into_iter().zip(&mut closed) {
        for ((namespace, _), pod) in state.pods().filter(|(_, pod)| pod.node == node) {
            if let Some(rules) = rules(state, namespace, pod, way) {
                let next = closed.chains.len();
                let chain = *closed.chains.entry(rules).or_insert(next);
                closed.pods.insert(pod.address, chain);
            }
        }
    }
    // Making it first lets the deletion succeed where there is none.
    let replace = format!("table {TABLE} {{ }}\ndelete table {TABLE}\n");
    let [inward, outward] = closed;
    if inward.pods.is_empty() && outward.pods.is_empty() {
        return replace;
    }
    let known: BTreeSet<Ipv4Addr> = state.pods().map(|(_, pod)| pod.address).collect();
    let own: BTreeSet<&Ipv4Addr> = inward.pods.keys().chain(outward.pods.keys()).collect();
    let own: Vec<String> = own.iter().map(|ip| format!("{ip} . {ip}")).collect();
    // Behind the rules of services: what they refuse is refused at once, and here addresses are those of pods.
    let base = |hook: &str, ways: &str| {
        format!(
            "  chain {hook} {{\n    type filter hook {hook} priority 20; policy accept;\n    \
             ct state established,related accept\n    ip saddr . ip daddr @own accept\n{ways}  }}\n"
        )
    };
    let (from, to) = ("    ip saddr vmap @out\n", "    ip daddr vmap @in\n");
    format!(
        "{replace}table {TABLE} {{\n{}  set own {{ type ipv4_addr . ipv4_addr; elements = {{ {} }} }}\n{}{}{}{}{}}}\n",
        set("known", &known),
        own.join(", "),
        // What comes of an address that is no pod's yet may be allowed in a moment: it is told to dial again.
        "  chain refuse_in {\n    meta l4proto tcp ip saddr != @known reject with tcp reset\n    counter drop\n  }\n  \
         chain refuse_out {\n    counter drop\n  }\n",
        chains(&inward, Way::In),
        chains(&outward, Way::Out),
        base("forward", &format!("{from}{to}")),
        // What a pod sends to its own node. What the node sends to its pods is never closed: probes come from there.
        base("input", from),
    )
}

fn set(name: &str, addresses: &BTreeSet<Ipv4Addr>) -> String {
    format!(
        "  set {name} {{ type ipv4_addr; elements = {{ {} }} }}\n",
        list(addresses)
    )
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// The chains of a way, and the map that leads to them.
fn chains(closed: &Closed, way: Way) -> String {
    let name = way.chain();
    let mut text = String::new();
    for (rules, number) in &closed.chains {
        let rules: Vec<String> = rules.iter().map(|rule| format!("    {rule}\n")).collect();
        text += &format!(
            "  chain {name}_{number} {{\n{}    goto refuse_{name}\n  }}\n",
            rules.concat()
        );
    }
    let pods = closed.pods.iter();
    let pods = list(pods.map(|(ip, number)| format!("{ip} : jump {name}_{number}")));
    let elements = if pods.is_empty() {
        String::new()
    } else {
        format!(" elements = {{ {pods} }}")
    };
    format!("{text}  map {name} {{ type ipv4_addr : verdict;{elements} }}\n")
}

/// What is let through of a pod, one rule of nft each; nothing where no policy closes it this way.
fn rules(state: &State, namespace: &str, pod: &Pod, way: Way) -> Option<Vec<String>> {
    let mut closed = false;
    let mut rules = BTreeSet::new();
    for policy in state.policies(namespace) {
        if !selects(policy.pod_selector.as_ref(), &pod.labels) || !is_of(policy, way) {
            continue;
        }
        closed = true;
        match way {
            Way::In => {
                for rule in policy.ingress.iter().flatten() {
                    let open = Opened {
                        peers: rule.from.as_deref().unwrap_or_default(),
                        ports: rule.ports.as_deref().unwrap_or_default(),
                    };
                    rules.extend(open.rules(state, namespace, way, Some(pod)));
                }
            }
            Way::Out => {
                for rule in policy.egress.iter().flatten() {
                    let open = Opened {
                        peers: rule.to.as_deref().unwrap_or_default(),
                        ports: rule.ports.as_deref().unwrap_or_default(),
                    };
                    rules.extend(open.rules(state, namespace, way, None));
                }
            }
        }
    }
    closed.then(|| rules.into_iter().collect())
}

/// Whether a policy says anything of this way; the API server writes its types where its author did not.
fn is_of(policy: &NetworkPolicySpec, way: Way) -> bool {
    match &policy.policy_types {
        Some(types) => types.iter().any(|of| of == way.policy_type()),
        None => way == Way::In || policy.egress.is_some(),
    }
}

/// What a selector that cannot be read selects is unknown: nothing.
fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let selector = selector.cloned().unwrap_or_default();
    Selector::try_from(selector).is_ok_and(|selector| selector.matches(labels))
}

/// Who a rule lets through, and where to.
struct Opened<'a> {
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

impl Opened<'_> {
    /// `of`: the pod whose ports are meant, where that is the same for all peers.
    fn rules(&self, state: &State, namespace: &str, way: Way, of: Option<&Pod>) -> Vec<String> {
        let mut rules = Vec::new();
        let mut let_through = |who: &str, ports: Vec<String>| {
            let rule = |port: &String| format!("{who}{port}return");
            rules.extend(ports.iter().map(rule));
        };
        let blocks = self.peers.iter().filter_map(|p| p.ip_block.as_ref());
        for block in blocks.filter_map(|block| range(block, way)) {
            let_through(&block, matches(self.ports, of));
        }
        if self.peers.is_empty() {
            let_through("", matches(self.ports, of));
        }
        let of_each = self.of_each(of);
        let chosen = state.pods().filter(|((place, _), pod)| {
            let mut peers = self.peers.iter().filter(|peer| peer.ip_block.is_none());
            match &of_each {
                None => false,
                Some(_) if self.peers.is_empty() => true,
                Some(_) => peers.any(|peer| is_peer(state, peer, namespace, (place, pod))),
            }
        });
        // Outward, a port's name is each peer's own: peers of equal ports share a rule.
        let mut by_ports: BTreeMap<Vec<String>, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for (_, pod) in chosen {
            let ports = matches(of_each.as_deref().unwrap_or_default(), of.or(Some(pod)));
            by_ports.entry(ports).or_default().insert(pod.address);
        }
        for (ports, addresses) in by_ports {
            let who = format!("ip {} {{ {} }} ", way.other(), list(&addresses));
            let_through(&who, ports);
        }
        rules
    }

    /// Ports that must be looked up for each peer: all where peers are chosen, and where all the world is a peer those
    /// whose number is the peer's to say. None where no peer need be looked at.
    fn of_each(&self, of: Option<&Pod>) -> Option<Vec<NetworkPolicyPort>> {
        if !self.peers.is_empty() {
            return Some(self.ports.to_vec());
        }
        let has_name =
            |port: &&NetworkPolicyPort| matches!(port.port, Some(IntOrString::String(_)));
        let named: Vec<_> = self.ports.iter().filter(has_name).cloned().collect();
        (of.is_none() && !named.is_empty()).then_some(named)
    }
}

/// Whether a peer of a policy in `namespace` is this pod.
fn is_peer(
    state: &State,
    peer: &NetworkPolicyPeer,
    namespace: &str,
    (place, pod): (&str, &Pod),
) -> bool {
    let in_place = match &peer.namespace_selector {
        None => place == namespace,
        Some(selector) => state
            .namespace(place)
            .is_some_and(|labels| selects(Some(selector), labels)),
    };
    in_place && selects(peer.pod_selector.as_ref(), &pod.labels)
}

/// Addresses of a block; none where it is of IPv6.
fn range(block: &IPBlock, way: Way) -> Option<String> {
    let other = way.other();
    let mut text = format!("ip {other} {} ", network(&block.cidr)?);
    for except in block.except.iter().flatten().filter_map(|net| network(net)) {
        text += &format!("ip {other} != {except} ");
    }
    Some(text)
}

fn network(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let length: u8 = length.parse().ok().filter(|length| *length <= 32)?;
    Some(format!("{address}/{length}"))
}

/// What matches any of these ports, an expression of nft each; the empty one where there are no ports, which are all.
fn matches(ports: &[NetworkPolicyPort], of: Option<&Pod>) -> Vec<String> {
    if ports.is_empty() {
        return vec![String::new()];
    }
    let found: BTreeSet<String> = ports
        .iter()
        .filter_map(|port| expression(port, of))
        .collect();
    found.into_iter().collect()
}

fn expression(port: &NetworkPolicyPort, of: Option<&Pod>) -> Option<String> {
    let name = port.protocol.as_deref().unwrap_or("TCP");
    let protocol = match name {
        "TCP" => "tcp",
        "UDP" => "udp",
        "SCTP" => "sctp",
        _ => return None,
    };
    let first = match &port.port {
        None => return Some(format!("meta l4proto {protocol} ")),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok()?,
        Some(IntOrString::String(of_port)) => {
            *of?.ports.get(&(name.to_owned(), of_port.clone()))?
        }
    };
    match port.end_port.and_then(|last| u16::try_from(last).ok()) {
        Some(last) if last > first => Some(format!("{protocol} dport {first}-{last} ")),
        _ => Some(format!("{protocol} dport {first} ")),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
