//! Addresses for Services of type LoadBalancer, where nodes are containers: what a platform's load balancer does, as
//! far as a test needs it. A node of the control plane answers for them on the nodes' network, and kube-proxy there
//! takes what arrives for its own.
//!
//! They are given for as long as [`Addresses`] lives, to Services that have none: one that shows an address of another
//! implementation is left alone. What an earlier process left on the node goes with the first look, and is found by
//! `harness doctor --residue` before.

mod script;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use bollard::models::ContainerInspectResponse;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use self::script::LABEL;
use self::script::{answer, take_back};
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

/// Which Services are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All.
    Everywhere,
    /// Those in these namespaces.
    Namespaces(BTreeSet<String>),
}

impl Scope {
    /// One namespace.
    pub(crate) fn namespace(name: &str) -> Self {
        Self::Namespaces([name.to_owned()].into())
    }

    fn has(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }
}

/// A Service that is ours to serve, and the addresses that it shows.
#[derive(Clone, Debug, PartialEq)]
struct Wish {
    namespace: String,
    name: String,
    /// As it was listed.
    version: Option<String>,
    shows: Vec<LoadBalancerIngress>,
}

impl Wish {
    /// Nothing for a Service of another kind, for one that another implementation serves, and for one that wants to be
    /// served on the nodes of its pods: this node has none of them.
    fn of(service: &Service, scope: &Scope) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let ours = spec.type_.as_deref() == Some("LoadBalancer")
            && spec.load_balancer_class.is_none()
            && spec.external_traffic_policy.as_deref() != Some("Local");
        if !ours || service.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let namespace = service.metadata.namespace.clone()?;
        scope.has(&namespace).then_some(Self {
            namespace,
            name: service.metadata.name.clone()?,
            version: service.metadata.resource_version.clone(),
            shows: ingress(service).to_vec(),
        })
    }
}

fn ingress(service: &Service) -> &[LoadBalancerIngress] {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref());
    ingress.unwrap_or_default()
}

fn ips(ingress: &[LoadBalancerIngress]) -> impl Iterator<Item = Ipv4Addr> {
    let ips = ingress.iter().filter_map(|at| at.ip.as_ref());
    ips.filter_map(|ip| ip.parse().ok())
}

/// All Services.
async fn list(kube: &Client) -> Result<Vec<Service>, String> {
    let services: Api<Service> = Api::all(kube.clone());
    let all = ListParams::default();
    let listed = tokio::time::timeout(timeouts::API_CALL, services.list(&all)).await;
    let listed = listed.map_err(|_| "the API server gives no list of services in time")?;
    Ok(listed.map_err(|error| error.to_string())?.items)
}

/// The addresses that Services show, ours and those of others, but for Services in namespaces that are to go.
///
/// # Errors
/// When the API server refuses or does not answer.
pub(crate) async fn shown(kube: &Client, but: &[String]) -> Result<BTreeSet<Ipv4Addr>, String> {
    Ok(shown_by(&list(kube).await?, but))
}

fn shown_by(services: &[Service], but: &[String]) -> BTreeSet<Ipv4Addr> {
    let stays = |one: &&Service| {
        let namespace = one.metadata.namespace.as_ref();
        namespace.is_none_or(|namespace| !but.contains(namespace))
    };
    let stay = services.iter().filter(stays);
    stay.flat_map(|one| ips(ingress(one))).collect()
}

/// Addresses of the pool that several Services show, and which: two processes have given them at the same time.
fn doubled(services: &[Service], pool: &[Ipv4Addr]) -> Vec<(Ipv4Addr, String)> {
    let mut shown: BTreeMap<Ipv4Addr, Vec<String>> = BTreeMap::new();
    for service in services {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        for address in ips(ingress(service)).filter(|address| pool.contains(address)) {
            let names = shown.entry(address).or_default();
            names.push(format!("{namespace}/{name}"));
        }
    }
    shown.retain(|_, names| names.len() > 1);
    let told = shown.into_iter();
    told.map(|(address, names)| (address, names.join(" and ")))
        .collect()
}

/// What is done after a look.
#[derive(Debug, PartialEq)]
struct Gifts<'a> {
    /// Who gets which address.
    new: Vec<(&'a Wish, Ipv4Addr)>,
    /// What the node answers for.
    on: BTreeSet<Ipv4Addr>,
    /// All of the pool that some Service shows then.
    taken: BTreeSet<Ipv4Addr>,
}

/// Which of those that have no address get which, where `taken` is what all Services show. A Service keeps what it has
/// of the pool, and what it has from elsewhere.
fn give<'a>(wanting: &'a [Wish], pool: &[Ipv4Addr], taken: &BTreeSet<Ipv4Addr>) -> Gifts<'a> {
    let of_pool = |address: &Ipv4Addr| pool.contains(address);
    let mut taken: BTreeSet<Ipv4Addr> = taken.iter().copied().filter(of_pool).collect();
    let mut on: BTreeSet<Ipv4Addr> = wanting
        .iter()
        .flat_map(|wish| ips(&wish.shows))
        .filter(of_pool)
        .collect();
    let mut new = Vec::new();
    for wish in wanting.iter().filter(|wish| wish.shows.is_empty()) {
        if let Some(free) = pool.iter().find(|address| !taken.contains(*address)) {
            taken.insert(*free);
            on.insert(*free);
            new.push((wish, *free));
        }
    }
    Gifts { new, on, taken }
}

/// Services of type LoadBalancer get addresses while this lives. When it is dropped they are taken back in the
/// background; [`Self::end`] waits for that.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Stops the task when it is dropped.
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ClusterError>>,
}

impl Addresses {
    /// Begins to give addresses to Services of this scope that have none; `tell` is told which, and what goes wrong.
    ///
    /// # Errors
    /// As [`Network::of`].
    pub(crate) async fn serve(
        cluster: &Cluster,
        scope: Scope,
        tell: impl Fn(String) + Send + 'static,
    ) -> Result<Self, ClusterError> {
        let network = Network::of(cluster).await?;
        let giver = Giver {
            kube: cluster.kube.clone(),
            shell: cluster.shell(&node_of(cluster)?)?,
            scope,
            node: network.node,
            pool: pool(&network, &cluster.name),
            last: None,
            ours: BTreeSet::new(),
            doubled: BTreeSet::new(),
            looks: 0,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serving(giver, stopped, tell));
        Ok(Self { stop, task })
    }

    /// Takes what was given from the node, once a look that is under way has ended: it may be about to add some.
    ///
    /// # Errors
    /// When the node does not release them.
    pub(crate) async fn end(self) -> Result<(), ClusterError> {
        drop(self.stop);
        match self.task.await {
            Ok(taken) => taken,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// What looks, and takes back at the end.
trait Serve: Send {
    /// Looks once, and tells what was given.
    fn look(&mut self) -> impl Future<Output = Result<Vec<String>, String>> + Send;

    /// Takes back what was given.
    fn take_back(&mut self) -> impl Future<Output = Result<(), ClusterError>> + Send;
}

/// Looks again and again until it is stopped, never in the middle of a look; then takes back.
async fn serving(
    mut giver: impl Serve,
    mut stopped: oneshot::Receiver<()>,
    tell: impl Fn(String) + Send,
) -> Result<(), ClusterError> {
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
        tokio::select! {
            biased;
            // Whether it was told or dropped.
            _ = &mut stopped => return giver.take_back().await,
            () = pause(timeouts::POLL_NODES) => {}
        }
    }
}

/// What gives the addresses.
struct Giver {
    kube: Client,
    shell: NodeShell,
    scope: Scope,
    node: Ipv4Addr,
    pool: Vec<Ipv4Addr>,
    /// What the node was told last, once it has done so.
    last: Option<String>,
    /// All that the node was ever told to answer for.
    ours: BTreeSet<Ipv4Addr>,
    /// Those of which was told that several Services show them.
    doubled: BTreeSet<Ipv4Addr>,
    looks: u32,
}

impl Serve for Giver {
    /// The node answers before the Service shows the address.
    async fn look(&mut self) -> Result<Vec<String>, String> {
        let services = list(&self.kube).await?;
        let taken = shown_by(&services, &[]);
        let scope = &self.scope;
        let wanting = services.iter().filter_map(|one| Wish::of(one, scope));
        let wanting: Vec<Wish> = wanting.collect();
        let Gifts { new, on, taken } = give(&wanting, &self.pool, &taken);
        let script = answer(self.node, &on, &taken);
        if self.last.as_ref() != Some(&script) || self.looks.is_multiple_of(AGAIN) {
            // Before it is run: one that is given up may still run.
            self.ours.extend(&on);
            let done = self.shell.check("add addresses", &script).await;
            done.map_err(|error| error.to_string())?;
            self.last = Some(script);
        }
        self.looks = self.looks.wrapping_add(1);
        let mut told = Vec::new();
        for (address, names) in doubled(&services, &self.pool) {
            if self.doubled.insert(address) {
                told.push(format!(
                    "{address} is shown by {names}: another process gives addresses of this cluster, too; end one, and \
                     create one of these Services again"
                ));
            }
        }
        for (wish, address) in new {
            told.extend(self.show(wish, address).await?);
        }
        Ok(told)
    }

    async fn take_back(&mut self) -> Result<(), ClusterError> {
        let script = take_back(self.node, &self.ours);
        self.shell.check("take addresses back", &script).await?;
        Ok(())
    }
}

impl Giver {
    /// The Service shows its address. Nothing of one that is gone since it was listed, or was changed: another process
    /// may have given it one.
    async fn show(&self, wish: &Wish, address: Ipv4Addr) -> Result<Option<String>, String> {
        let of: Api<Service> = Api::namespaced(self.kube.clone(), &wish.namespace);
        let ingress = json!([{ "ip": address.to_string(), "ipMode": "VIP" }]);
        let status = shown_from(wish.version.as_deref(), &ingress);
        let patched = of
            .patch_status(&wish.name, &PatchParams::default(), &Patch::Merge(status))
            .await;
        match patched {
            Ok(_) => Ok(Some(format!(
                "{address} is {}/{}",
                wish.namespace, wish.name
            ))),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The write of a Service's addresses, which the API server refuses when it has another version by now.
fn shown_from(version: Option<&str>, ingress: &serde_json::Value) -> serde_json::Value {
    json!({
        "metadata": { "resourceVersion": version },
        "status": { "loadBalancer": { "ingress": ingress } },
    })
}
