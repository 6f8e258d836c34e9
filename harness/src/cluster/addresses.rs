//! Addresses for Services of type LoadBalancer, where nodes are containers: what a platform's load balancer does, as
//! far as a test needs it. A node of the control plane answers for them on the nodes' network, and kube-proxy there
//! takes what arrives for its own.
//!
//! They are given for as long as [`Addresses`] lives. What an earlier process left on the node goes with the first
//! look.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use bollard::models::ContainerInspectResponse;
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, ClusterError, NodeShell};
use crate::timeouts;
use crate::wait::pause;

/// Addresses of one Kubernetes cluster.
const EACH: u32 = 64;
/// Looks between two at the node where nothing has changed: a node that restarts forgets its addresses.
const AGAIN: u32 = 10;

/// Where a node is on the network of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// Docker's name of it.
    pub(crate) name: String,
    node: Ipv4Addr,
    prefix: u32,
}

impl Network {
    /// The network that the nodes share.
    ///
    /// # Errors
    /// When nodes are no containers, or have no IPv4 address.
    pub(crate) async fn of(cluster: &Cluster) -> Result<Self, ClusterError> {
        let node = node_of(cluster)?;
        let (docker, container) = cluster.container(&node)?;
        let found = docker.inspect_container(&container, None).await;
        let found = found.map_err(|source| ClusterError::CallDocker {
            action: format!("inspect container {container}"),
            source,
        })?;
        read(found).ok_or_else(|| ClusterError::NoNetwork {
            node,
            reason: "its container has no IPv4 address on a network of Docker".to_owned(),
        })
    }
}

/// The node that answers: one of the control plane, where faults of workers do not reach.
fn node_of(cluster: &Cluster) -> Result<String, ClusterError> {
    let planes = cluster.control_planes();
    let first = planes.first().map(|name| (*name).to_owned());
    first.ok_or_else(|| ClusterError::NoNetwork {
        node: "of the control plane".to_owned(),
        reason: "the cluster shows none".to_owned(),
    })
}

fn read(container: ContainerInspectResponse) -> Option<Network> {
    let networks = container.network_settings?.networks?;
    networks.into_iter().find_map(|(name, endpoint)| {
        Some(Network {
            name,
            node: endpoint.ip_address?.parse().ok()?,
            prefix: u32::try_from(endpoint.ip_prefix_len?)
                .ok()
                .filter(|prefix| (1..=30).contains(prefix))?,
        })
    })
}

/// Those of one Kubernetes cluster: in the upper half of the network, as Docker gives containers the lowest that are
/// free. Where in it the cluster's name decides, since clusters share the network.
fn pool(network: &Network, cluster: &str) -> Vec<Ipv4Addr> {
    let size = 1u32 << (32 - network.prefix);
    let first = u32::from(network.node) & !(size - 1);
    let (half, last) = (size / 2, first + (size - 1));
    let slots = (half / EACH).max(1);
    let digest = Sha256::digest(cluster.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let begin = first + half + (number % slots) * EACH;
    (begin..begin + EACH.min(half))
        .filter(|address| *address != last)
        .map(Ipv4Addr::from)
        .collect()
}

/// A Service that wants an address, and those that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    namespace: String,
    name: String,
    has: Vec<Ipv4Addr>,
}

impl Wish {
    /// Nothing for a Service of another kind, for one that another implementation serves, and for one that wants to be
    /// served on the nodes of its pods: this node has none of them.
    fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let ours = spec.type_.as_deref() == Some("LoadBalancer")
            && spec.load_balancer_class.is_none()
            && spec.external_traffic_policy.as_deref() != Some("Local");
        if !ours || service.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let balancer = service
            .status
            .as_ref()
            .and_then(|s| s.load_balancer.as_ref());
        let given = balancer.and_then(|balancer| balancer.ingress.as_deref());
        let given = given.unwrap_or_default().iter();
        Some(Self {
            namespace: service.metadata.namespace.clone()?,
            name: service.metadata.name.clone()?,
            has: given
                .filter_map(|at| at.ip.as_ref()?.parse().ok())
                .collect(),
        })
    }
}

/// Which of those that want one get which address, and all that are in use then. A Service keeps what it has of the
/// pool.
fn give<'a>(
    wanting: &'a [Wish],
    pool: &[Ipv4Addr],
) -> (Vec<(&'a Wish, Ipv4Addr)>, BTreeSet<Ipv4Addr>) {
    let ours = |wish: &Wish| wish.has.iter().copied().find(|has| pool.contains(has));
    let mut used: BTreeSet<Ipv4Addr> = wanting.iter().filter_map(ours).collect();
    let mut given = Vec::new();
    for wish in wanting.iter().filter(|wish| ours(wish).is_none()) {
        if let Some(free) = pool.iter().find(|address| !used.contains(*address)) {
            used.insert(*free);
            given.push((wish, *free));
        }
    }
    (given, used)
}

/// Makes the node answer for these addresses and no others of ours. A label of the address marks ours.
fn script(node: Ipv4Addr, used: &BTreeSet<Ipv4Addr>) -> String {
    let used: Vec<String> = used.iter().map(|address| format!("{address}/32")).collect();
    let used = used.join(" ");
    format!(
        "set -e\n\
         d=$(ip -o -4 addr show to {node}/32 | awk '{{print $2; exit}}'); [ -n \"$d\" ]\n\
         for a in $(ip -o -4 addr show dev $d label $d:lb | awk '{{print $4}}'); do\n\
         case \" {used} \" in *\" $a \"*|*\" $a/32 \"*) ;; *) ip addr del $a dev $d ;; esac\ndone\n\
         for a in {used}; do ip addr replace $a dev $d label $d:lb; done\n"
    )
}

/// Services of type LoadBalancer get addresses while this lives.
#[derive(Debug)]
pub(crate) struct Addresses {
    task: JoinHandle<()>,
    shell: NodeShell,
    node: Ipv4Addr,
}

impl Addresses {
    /// Begins to give addresses; `tell` is told which, and what goes wrong.
    ///
    /// # Errors
    /// As [`Network::of`].
    pub(crate) async fn serve(
        cluster: &Cluster,
        tell: impl Fn(String) + Send + 'static,
    ) -> Result<Self, ClusterError> {
        let network = Network::of(cluster).await?;
        let shell = cluster.shell(&node_of(cluster)?)?;
        let mut giver = Giver {
            kube: cluster.kube.clone(),
            shell: shell.clone(),
            node: network.node,
            pool: pool(&network, &cluster.name),
            on: BTreeSet::new(),
            looks: 0,
        };
        let task = tokio::spawn(async move {
            let mut trouble = String::new();
            loop {
                match giver.look().await {
                    Ok(given) => given.into_iter().for_each(&tell),
                    Err(error) if error != trouble => {
                        tell(format!("no address is given: {error}"));
                        trouble = error;
                    }
                    Err(_) => {}
                }
                pause(timeouts::POLL_NODES).await;
            }
        });
        Ok(Self {
            task,
            shell,
            node: network.node,
        })
    }

    /// Takes all addresses from the node.
    ///
    /// # Errors
    /// When the node does not release them.
    pub(crate) async fn end(self) -> Result<(), ClusterError> {
        let script = script(self.node, &BTreeSet::new());
        self.task.abort();
        self.shell.check("take addresses back", &script).await?;
        Ok(())
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What gives the addresses.
struct Giver {
    kube: Client,
    shell: NodeShell,
    node: Ipv4Addr,
    pool: Vec<Ipv4Addr>,
    on: BTreeSet<Ipv4Addr>,
    looks: u32,
}

impl Giver {
    /// Looks once, and tells what was given. The node answers before the Service shows the address.
    async fn look(&mut self) -> Result<Vec<String>, String> {
        let services: Api<Service> = Api::all(self.kube.clone());
        let all = ListParams::default();
        let listed = tokio::time::timeout(timeouts::API_CALL, services.list(&all));
        let listed = listed.await.map_err(|_| "the API server does not answer")?;
        let listed = listed.map_err(|error| error.to_string())?;
        let wanting: Vec<Wish> = listed.items.iter().filter_map(Wish::of).collect();
        let (given, used) = give(&wanting, &self.pool);
        if used != self.on || self.looks.is_multiple_of(AGAIN) {
            let script = script(self.node, &used);
            let done = self.shell.check("add addresses", &script).await;
            done.map_err(|error| error.to_string())?;
            self.on = used;
        }
        self.looks = self.looks.wrapping_add(1);
        let mut told = Vec::new();
        for (wish, address) in given {
            let of: Api<Service> = Api::namespaced(self.kube.clone(), &wish.namespace);
            let ingress = json!([{ "ip": address.to_string(), "ipMode": "VIP" }]);
            let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
            let patched = of
                .patch_status(&wish.name, &PatchParams::default(), &Patch::Merge(status))
                .await;
            match patched {
                Ok(_) => told.push(format!("{address} is {}/{}", wish.namespace, wish.name)),
                // Gone since it was listed.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    fn network(node: &str, prefix: u32) -> Network {
        Network {
            name: "kind".to_owned(),
            node: node.parse().expect("an address"),
            prefix,
        }
    }

    fn wish(name: &str, has: &[&str]) -> Wish {
        Wish {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            has: has
                .iter()
                .map(|ip| ip.parse().expect("an address"))
                .collect(),
        }
    }

    #[test]
    fn addresses_are_of_the_nodes_network_and_far_from_those_of_containers() {
        for (prefix, least) in [(16, 63), (24, 63), (28, 7), (30, 1)] {
            let network = network("172.18.0.3", prefix);
            let pool = pool(&network, "etcd-harness");
            assert!(pool.len() >= least, "/{prefix}: {pool:?}");
            let size = 1u32 << (32 - prefix);
            let first = u32::from(network.node) & !(size - 1);
            for address in pool {
                let offset = u32::from(address) - first;
                assert!(
                    offset >= size / 2 && offset < size - 1,
                    "/{prefix}: {address}"
                );
            }
        }
    }

    #[test]
    fn two_clusters_on_one_network_have_their_own() {
        let network = network("172.18.0.3", 16);
        let ours: BTreeSet<_> = pool(&network, "etcd-harness").into_iter().collect();
        let theirs: BTreeSet<_> = pool(&network, "etcd-lab").into_iter().collect();
        assert!(ours.is_disjoint(&theirs));
    }

    #[test]
    fn a_service_keeps_its_address_and_no_two_have_the_same() {
        let pool: Vec<Ipv4Addr> = (1..4).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
        let wanting = [
            wish("a", &["10.0.0.1"]),
            wish("b", &[]),
            wish("c", &["192.168.0.1"]),
            wish("d", &[]),
        ];
        let (given, used) = give(&wanting, &pool);
        let given: Vec<_> = given.iter().map(|(wish, at)| (&*wish.name, *at)).collect();
        assert_eq!(
            given,
            [("b", pool[1]), ("c", pool[2])],
            "none is left for d"
        );
        assert_eq!(used, pool.iter().copied().collect());
        let (given, used) = give(&wanting[..1], &pool);
        assert!(given.is_empty());
        assert_eq!(used, BTreeSet::from([pool[0]]), "the others are free again");
    }

    #[test]
    fn only_load_balancers_without_a_class_or_a_place_are_served() {
        let service = |spec: serde_json::Value| {
            let object = json!({ "metadata": { "name": "s", "namespace": "n" }, "spec": spec });
            Wish::of(&serde_json::from_value(object).expect("a service"))
        };
        assert!(service(json!({ "type": "LoadBalancer" })).is_some());
        assert!(service(json!({ "type": "NodePort" })).is_none());
        assert!(service(json!({ "type": "LoadBalancer", "loadBalancerClass": "x/y" })).is_none());
        let local = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" });
        assert!(service(local).is_none());
    }

    #[test]
    fn the_script_is_valid_shell_with_and_without_addresses() {
        let node = Ipv4Addr::new(172, 18, 0, 3);
        assert_is_shell(&script(node, &BTreeSet::new()));
        let used = BTreeSet::from([Ipv4Addr::new(172, 18, 200, 1)]);
        let script = script(node, &used);
        assert_is_shell(&script);
        assert!(script.contains("172.18.200.1/32"));
    }
}
