//! Proof that no fault left anything behind, on the whole cluster, whichever process injected it: packet rules, stopped
//! processes, nodes that are paused, off, tainted or not registered, timers, what set the nodes' weight, manifests
//! aside, fillers, loop devices, addresses of load balancers, namespaces of runs that were killed. Looks through Docker
//! first, for the API server may be what a fault took away.
//!
//! What cannot be looked at is said to be unknown: that no answer came never means that nothing is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use bollard::Docker;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use crate::cluster::beside::{self, Beside};
use crate::cluster::taint::OUT_OF_SERVICE;
use crate::cluster::{
    Choice, Cluster, NodeShell, NodeState, addresses, connect_docker, kind_nodes, node_states,
    volumes,
};
use crate::deploy::{cluster_resource, namespaces_orphaned};
use crate::faults::flood::UNREADABLE;
use crate::faults::residue::node::{self, Seen};
use crate::faults::switch::container;
use crate::timeouts;
use crate::wait::pause;

/// One thing that was left, or that cannot be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Leftover {
    /// The node, or where else it is.
    pub place: String,
    /// What it is.
    pub what: String,
}

impl Leftover {
    pub(crate) fn new(place: &str, what: impl Into<String>) -> Self {
        Self {
            place: place.to_owned(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What a look at the whole cluster has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Residue {
    /// What is left.
    pub left: Vec<Leftover>,
    /// What could not be looked at, and why.
    pub unknown: Vec<Leftover>,
    /// Containers beside the nodes that hold nothing.
    pub(crate) idle: BTreeSet<String>,
}

impl Residue {
    /// True when all was looked at and nothing is left.
    pub(crate) fn is_clean(&self) -> bool {
        self.left.is_empty() && self.unknown.is_empty()
    }

    /// All of it in one line; empty when it is clean.
    pub(crate) fn in_words(&self) -> String {
        let left = self.left.iter().map(ToString::to_string);
        let unknown = self
            .unknown
            .iter()
            .map(|place| format!("{place} (unknown)"));
        left.chain(unknown).collect::<Vec<_>>().join("; ")
    }

    fn unknown(&mut self, place: &str, why: impl fmt::Display) {
        let what = format!("it cannot be known what is left: {why}");
        self.unknown.push(Leftover::new(place, what));
    }
}

/// Where to look: whatever of a cluster can still be reached.
pub(crate) struct Site {
    /// Name of the kind cluster.
    pub(crate) name: String,
    /// Why there is none, where there is to be one: nodes are containers.
    pub(crate) docker: Result<Option<Docker>, String>,
    /// Nothing where Docker has no node of the cluster: what is not there has nothing left.
    pub(crate) kube: Result<Option<Client>, String>,
}

impl Site {
    /// The site of a cluster, whether it answers or not.
    pub(crate) async fn of(choice: &Choice) -> Self {
        let attached = Cluster::attach(choice).await;
        let context = choice.context_name().unwrap_or_default();
        let (named, containers) = match context.strip_prefix("kind-") {
            Some(name) => (name.to_owned(), true),
            None => (context.clone(), false),
        };
        let name = attached
            .as_ref()
            .map_or(named, |cluster| cluster.name.clone());
        let containers = attached
            .as_ref()
            .map_or(containers, |cluster| cluster.context.starts_with("kind-"));
        let docker = match connect_docker().await {
            Ok(docker) => Ok(Some(docker)),
            Err(_) if !containers => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let absent = match (&attached, &docker) {
            (Err(_), Ok(Some(docker))) if containers => is_absent(docker, &name).await,
            _ => false,
        };
        let kube = match attached {
            Ok(cluster) => Ok(Some(cluster.kube)),
            Err(_) if absent => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        Self { name, docker, kube }
    }

    /// The site of a cluster that was attached to.
    pub(crate) fn in_cluster(cluster: &Cluster) -> Self {
        let docker = match &cluster.docker {
            None if cluster.context.starts_with("kind-") => {
                Err("no Docker answered when the cluster was attached to".to_owned())
            }
            docker => Ok(docker.clone()),
        };
        Self {
            name: cluster.name.clone(),
            docker,
            kube: Ok(Some(cluster.kube.clone())),
        }
    }

    /// Shells in the nodes that run.
    pub(crate) async fn shells(&self) -> Result<Vec<NodeShell>, String> {
        let Some(docker) = self.docker.clone()? else {
            return Ok(Vec::new());
        };
        let nodes = kind_nodes(&docker, &self.name)
            .await
            .map_err(|error| error.to_string())?;
        let running = nodes.into_iter().filter(|node| node.state == "running");
        Ok(running
            .map(|node| NodeShell::new(docker.clone(), node.name))
            .collect())
    }
}

/// True when Docker answers and has no node of this kind cluster.
async fn is_absent(docker: &Docker, name: &str) -> bool {
    let nodes = kind_nodes(docker, name).await;
    nodes.is_ok_and(|nodes| nodes.is_empty())
}

/// Everything that is left of faults.
pub(crate) async fn find(site: &Site) -> Residue {
    let mut residue = Residue::default();
    if let Err(error) = in_docker(site, &mut residue).await {
        residue.unknown("Docker", error);
    }
    let nodes = in_nodes(site, &mut residue).await;
    let reached = !matches!(site.docker, Ok(None));
    match &site.kube {
        Ok(None) => {}
        Ok(Some(kube)) => {
            excuse(kube, &mut residue).await;
            if let Err(error) = in_api(kube, (&nodes, reached), &mut residue).await {
                residue.unknown("API server", error);
            }
        }
        Err(error) => residue.unknown("API server", error),
    }
    residue
}

/// Takes out what is in nodes on purpose.
async fn excuse(kube: &Client, residue: &mut Residue) {
    if volumes::offered(kube, &volumes::SMALL).await {
        // They are there on purpose, for the next deployment.
        residue
            .left
            .retain(|leftover| !leftover.what.starts_with(node::SMALL_VOLUME));
    }
    // Those of a claim that is there, or whose deletion their driver sees to.
    match volumes::provisioned(kube, &volumes::GROWING).await {
        Ok(held) => residue
            .left
            .retain(|leftover| !node::is_of(&leftover.what, &held)),
        Err(error) => residue.unknown("volumes", error.to_string()),
    }
    let balanced = |leftover: &Leftover| leftover.what.starts_with(node::BALANCED);
    if residue.left.iter().any(balanced) {
        // Where it is not known which are, none is; the look at the API server says so.
        let orphaned = namespaces_orphaned(kube).await.unwrap_or_default();
        match addresses::shown(kube, &orphaned).await {
            Ok(shown) => residue
                .left
                .retain(|leftover| !node::is_shown(&leftover.what, &shown)),
            Err(error) => residue.unknown("services", error),
        }
    }
}

/// As [`find`], again and again until nothing is left or the limit has passed: what a timer takes away needs its time.
/// Containers that hold nothing are removed once their makers have had the time to use them.
pub(crate) async fn settle(
    site: &Site,
    limit: Duration,
    mut tell: impl FnMut(&Residue),
) -> Residue {
    let begun = Instant::now();
    let mut idle: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        let residue = find(site).await;
        if residue.is_clean() || begun.elapsed() >= limit {
            return residue;
        }
        tell(&residue);
        idle.retain(|name, _| residue.idle.contains(name));
        for name in &residue.idle {
            let since = idle.entry(name.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= timeouts::TELL
                && let Ok(Some(docker)) = &site.docker
            {
                container::remove(docker, name).await;
            }
        }
        pause(timeouts::POLL_SLOW).await;
    }
}

async fn in_docker(site: &Site, residue: &mut Residue) -> Result<(), String> {
    let Some(docker) = site.docker.clone()? else {
        return Ok(());
    };
    let nodes = kind_nodes(&docker, &site.name)
        .await
        .map_err(|error| error.to_string())?;
    let still = nodes.into_iter().filter(|node| node.state != "running");
    residue.left.extend(
        still.map(|node| Leftover::new(&node.name, format!("node container is {}", node.state))),
    );
    let beside = beside::all(&docker, &site.name)
        .await
        .map_err(|error| error.to_string())?;
    for Beside { name, idle } in beside {
        let word = idle.map(|why| format!(" ({why})")).unwrap_or_default();
        let what = format!("container {name}{word}");
        residue.left.push(Leftover::new("Docker", what));
        if idle.is_some() {
            residue.idle.insert(name);
        }
    }
    Ok(())
}

/// Looks into all nodes that run; returns what each has seen of its pod network.
async fn in_nodes(site: &Site, residue: &mut Residue) -> BTreeMap<String, Option<String>> {
    let mut networks = BTreeMap::new();
    let shells = match site.shells().await {
        Ok(shells) => shells,
        Err(error) => {
            residue.unknown("nodes", error);
            return networks;
        }
    };
    let script = node::script();
    let looks = join_all(shells.iter().map(|shell| shell.run(&script))).await;
    for (shell, looked) in shells.iter().zip(looks) {
        let node = shell.container();
        let seen = match looked {
            Ok(output) => node::parse(&output.stdout),
            Err(error) => Err(error.to_string()),
        };
        let network = match seen {
            Ok(Seen {
                left,
                unknown,
                network,
            }) => {
                let leftover = |what| Leftover::new(node, what);
                residue.left.extend(left.into_iter().map(leftover));
                unknown.iter().for_each(|why| residue.unknown(node, why));
                network
            }
            Err(why) => {
                residue.unknown(node, why);
                None
            }
        };
        networks.insert(node.to_owned(), network);
    }
    networks
}

/// What the API server says of a node that is not as it was.
fn of_node(state: &NodeState) -> Vec<Leftover> {
    let tainted = state
        .out_of_service
        .then(|| format!("node is tainted {OUT_OF_SERVICE}"));
    let stopped = match (state.cordoned, state.ready.as_str()) {
        (true, _) => Some("node is cordoned".to_owned()),
        (false, "True") => None,
        (false, ready) => Some(format!("node is not ready (Ready={ready})")),
    };
    let found = tainted.into_iter().chain(stopped);
    found.map(|what| Leftover::new(&state.name, what)).collect()
}

async fn in_api(
    kube: &Client,
    (nodes, reached): (&BTreeMap<String, Option<String>>, bool),
    residue: &mut Residue,
) -> Result<(), String> {
    let states = node_states(kube).await?;
    // Of a cluster whose nodes no fault can reach their state is not the harness's business.
    let ours = states.iter().filter(|_| reached);
    residue.left.extend(ours.flat_map(of_node));
    let missing = nodes
        .keys()
        .filter(|node| !states.iter().any(|state| &state.name == *node));
    residue
        .left
        .extend(missing.map(|node| Leftover::new(node, "node is not registered")));
    for (node, (runtime, registered)) in strayed(kube, nodes).await? {
        let what =
            format!("its container runtime gives out {runtime}, it is registered for {registered}");
        residue.left.push(Leftover::new(&node, what));
    }
    let orphaned = namespaces_orphaned(kube).await;
    for namespace in orphaned.map_err(|error| error.to_string())? {
        let what = format!("namespace {namespace} of a run that was killed");
        residue.left.push(Leftover::new("API server", what));
    }
    for (namespace, name) in unreadable(kube).await? {
        let what = format!("Cluster {name} in namespace {namespace}, which no operator can read");
        residue.left.push(Leftover::new("API server", what));
    }
    Ok(())
}

/// Clusters of a flood that a killed process has left: namespace and name. Nothing where the kind is not served.
pub(crate) async fn unreadable(kube: &Client) -> Result<Vec<(String, String)>, String> {
    let clusters: Api<DynamicObject> = Api::all_with(kube.clone(), &cluster_resource());
    let params = ListParams::default().labels(UNREADABLE);
    match clusters.list_metadata(&params).await {
        Ok(list) => {
            let found = list.items.iter();
            let found = found.map(|one| (one.namespace().unwrap_or_default(), one.name_any()));
            Ok(found.collect())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(format!("failed to list Clusters: {error}")),
    }
}

/// What the runtime of each node that runs gives out to pods; nothing where a network plugin writes its own.
pub(crate) async fn networks(site: &Site) -> BTreeMap<String, Option<String>> {
    in_nodes(site, &mut Residue::default()).await
}

/// Nodes that registered themselves after their object was deleted: they were given another pod network than their
/// runtime's configuration still says, and their pods are cut off. Gives that configuration's network and the other.
pub(crate) async fn strayed(
    kube: &Client,
    networks: &BTreeMap<String, Option<String>>,
) -> Result<BTreeMap<String, (String, String)>, String> {
    let api: Api<KubeNode> = Api::all(kube.clone());
    let all = ListParams::default();
    let listed = tokio::time::timeout(timeouts::API_CALL, api.list(&all)).await;
    let listed = listed.map_err(|_| "the API server gives no answer in time".to_owned())?;
    let listed = listed.map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for node in listed.items {
        let name = node.name_any();
        let registered = node.spec.and_then(|spec| spec.pod_cidr);
        if let (Some(Some(runtime)), Some(registered)) = (networks.get(&name), registered)
            && *runtime != registered
        {
            found.insert(name, (runtime.clone(), registered));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::residue::test_support::lab;

    #[test]
    fn what_cannot_be_looked_at_is_never_clean() {
        let mut residue = Residue::default();
        assert!(residue.is_clean());
        residue.unknown("worker", "no such container");
        assert!(!residue.is_clean());
        assert!(residue.in_words().contains("worker: it cannot be known"));
    }

    #[tokio::test]
    async fn a_docker_and_an_api_server_that_do_not_answer_are_unknown() {
        let site = Site {
            name: "k".into(),
            docker: Err("no socket".into()),
            kube: Err("connection refused".into()),
        };
        let residue = find(&site).await;
        assert!(residue.left.is_empty());
        let places: Vec<&str> = residue
            .unknown
            .iter()
            .map(|one| one.place.as_str())
            .collect();
        assert_eq!(places, ["Docker", "nodes", "API server"]);
    }

    #[test]
    fn a_taint_that_a_killed_run_left_is_named_whether_its_node_is_ready_or_not() {
        let told = |ready: &str, cordoned, out_of_service| -> Vec<String> {
            let state = NodeState {
                name: "w1".into(),
                uid: String::new(),
                ready: ready.into(),
                cordoned,
                out_of_service,
                version: String::new(),
                boot_id: String::new(),
            };
            let left = of_node(&state);
            left.iter().map(ToString::to_string).collect()
        };
        let taint = "w1: node is tainted node.kubernetes.io/out-of-service";
        assert_eq!(told("True", false, true), [taint]);
        let silent = "w1: node is not ready (Ready=Unknown)";
        assert_eq!(told("Unknown", false, true), [taint, silent]);
        assert_eq!(told("True", true, false), ["w1: node is cordoned"]);
        assert_eq!(told("True", false, false), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_set_the_weight_of_nodes_is_left_like_a_timer() {
        let weights = r#"[{"Names":["/etcd-harness-weight-lab-worker"],"State":"exited"},
            {"Names":["/etcd-harness-weight-lab-control-plane"],"State":"running"},
            {"Names":["/etcd-harness-weight-lab2-worker"],"State":"exited"}]"#;
        let timers = r#"[{"Names":["/etcd-harness-switch-a"],"State":"running"}]"#;
        let (_fake, site) = lab(timers, weights, (404, r#"{"message":"no such container"}"#));
        let mut residue = Residue::default();
        in_docker(&site, &mut residue)
            .await
            .expect("Docker answers");
        let left: Vec<&str> = residue.left.iter().map(|one| one.what.as_str()).collect();
        let expected = [
            "container etcd-harness-switch-a",
            "container etcd-harness-weight-lab-worker (not running)",
            "container etcd-harness-weight-lab-control-plane",
        ];
        assert_eq!(left, expected);
        let idle: Vec<&String> = residue.idle.iter().collect();
        assert_eq!(idle, ["etcd-harness-weight-lab-worker"]);
    }
}
