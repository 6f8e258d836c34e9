//! IO in: the API server, agents' views and the member list -> [`Observed`]. Decides nothing.
//!
//! Pods and claims are listed from the API server each time: steps that delete are decided on them (C2).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::{MemberList, PORT};
use kube::api::{Api, ListParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};

use super::desired::Desired;
use super::error::Error;
use super::names as keys;
use super::observed::{ClaimSeen, NodeSeen, Observed, PodSeen, Reading};
use crate::agent::AgentClient;
use crate::roles::MemberStore;
use crate::roles::facts::PodKey;

/// A view older than this tells nothing about now: agents repeat theirs every second.
const FRESH: Duration = Duration::from_secs(3);
/// Why a container does not run, when it is no matter of time.
const BROKEN: [&str; 8] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];
/// Taint by which an administrator declares a node dead.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Where things are read from.
pub struct Sources<'a> {
    /// The API server.
    pub client: &'a Client,
    /// Agents' views.
    pub views: &'a MemberStore,
    /// Nodes, from a watch.
    pub nodes: &'a Store<Node>,
}

impl Sources<'_> {
    /// Sees the world of one InstanceSet.
    ///
    /// # Errors
    /// When the API server does not answer. A member list that cannot be read is no error but unknown.
    pub async fn observe(&self, desired: &Desired) -> Result<Observed, Error> {
        let (namespace, name) = (desired.namespace.as_str(), desired.name.as_str());
        let selector = format!("{}={name}", labels::WORKLOAD_INSTANCE);
        let params = ListParams::default().labels(&selector);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let headless = desired.name.headless();
        let (pods, claims, service) = tokio::join!(
            pods.list(&params),
            claims.list(&params),
            services.get_opt(&headless)
        );
        let now = Timestamp::now();
        let listed = pods.map_err(|source| Error::read("pods", source))?.items;
        let mut pods = BTreeMap::new();
        for pod in &listed {
            pods.insert(pod.name_any(), self.pod(desired, pod, now).await?);
        }
        let mut seen = BTreeMap::new();
        for claim in &claims
            .map_err(|source| Error::read("claims", source))?
            .items
        {
            seen.insert(claim.name_any(), self.claim(desired, claim).await?);
        }
        let service = service.map_err(|source| Error::read("the headless service", source))?;
        let members = members(&pods).await;
        Ok(Observed {
            pods,
            claims: seen,
            service,
            members,
        })
    }

    async fn pod(&self, desired: &Desired, pod: &Pod, now: Timestamp) -> Result<PodSeen, Error> {
        let status = pod.status.as_ref();
        let uid = pod.uid().unwrap_or_default();
        let key = PodKey {
            namespace: desired.namespace.clone(),
            name: pod.name_any(),
        };
        let seen = self.views.of(&key, &uid);
        let ready = status.and_then(|status| {
            let all = status.conditions.iter().flatten();
            all.clone().find(|condition| condition.type_ == "Ready")
        });
        let since =
            |time: Option<&Time>| time.map_or(0, |time| now.as_second() - time.0.as_second());
        let is_ready = ready.is_some_and(|condition| condition.status == "True");
        let transition = ready.and_then(|condition| condition.last_transition_time.as_ref());
        let phase = status.and_then(|status| status.phase.as_deref());
        Ok(PodSeen {
            revision: pod
                .labels()
                .get(labels::REVISION)
                .cloned()
                .unwrap_or_default(),
            labels: pod.labels().clone(),
            annotations: pod.annotations().clone(),
            ready: is_ready,
            ready_seconds: if is_ready { since(transition) } else { 0 },
            age_seconds: since(pod.metadata.creation_timestamp.as_ref()),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            ended: matches!(phase, Some("Failed" | "Succeeded")),
            broken: broken(pod),
            node: self.node(pod).await?,
            ip: status
                .and_then(|status| status.pod_ip.clone())
                .filter(|ip| !ip.is_empty()),
            owned: controls(desired, pod),
            join: variable(pod, keys::ENV_JOIN).and_then(|id| id.parse().ok()),
            heard: seen
                .as_ref()
                .is_some_and(|seen| !seen.silent && seen.age() < FRESH),
            view: seen.map(|seen| seen.view),
            uid,
        })
    }

    async fn node(&self, pod: &Pod) -> Result<NodeSeen, Error> {
        let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else {
            return Ok(NodeSeen::Unassigned);
        };
        let Some(node) = self.find_node(name).await? else {
            return Ok(NodeSeen::Gone);
        };
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        if taints
            .into_iter()
            .flatten()
            .any(|taint| taint.key == OUT_OF_SERVICE)
        {
            return Ok(NodeSeen::OutOfService);
        }
        let status = node.status.as_ref();
        let mut conditions = status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
        Ok(if ready {
            NodeSeen::Ready
        } else {
            NodeSeen::NotReady
        })
    }

    /// The node of a name. One that the watch does not know is asked for: the watch may be behind, and a pod is
    /// given up for dead on this answer (P5).
    async fn find_node(&self, name: &str) -> Result<Option<Arc<Node>>, Error> {
        if let Some(node) = self.nodes.get(&ObjectRef::new(name)) {
            return Ok(Some(node));
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes
            .get_opt(name)
            .await
            .map_err(|source| Error::read("a node", source))?;
        Ok(node.map(Arc::new))
    }

    async fn claim(
        &self,
        desired: &Desired,
        claim: &PersistentVolumeClaim,
    ) -> Result<ClaimSeen, Error> {
        Ok(ClaimSeen {
            uid: claim.uid().unwrap_or_default(),
            labels: claim.labels().clone(),
            annotations: claim.annotations().clone(),
            terminating: claim.metadata.deletion_timestamp.is_some(),
            lost: self.lost(claim).await?,
            owned: controls(desired, claim),
        })
    }

    /// Why the volume of a claim can never be mounted again: it lives on nodes that are all gone. Its volume is
    /// only looked up when the node it was made on is gone, so that the steady state costs no call.
    async fn lost(&self, claim: &PersistentVolumeClaim) -> Result<Option<String>, Error> {
        let phase = claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            return Ok(Some(format!(
                "the volume of claim {} is gone",
                claim.name_any()
            )));
        }
        let node = claim
            .annotations()
            .get("volume.kubernetes.io/selected-node");
        let volume = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.as_deref());
        let (Some(node), Some(volume)) = (node, volume.filter(|volume| !volume.is_empty())) else {
            return Ok(None);
        };
        if self.find_node(node).await?.is_some() {
            return Ok(None);
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volume = volumes.get_opt(volume).await;
        let volume = volume.map_err(|source| Error::read("a volume", source))?;
        let hosts = volume.as_ref().map(hosts).unwrap_or_default();
        let mut reachable = hosts.is_empty();
        for host in &hosts {
            reachable = reachable || self.find_node(host).await?.is_some();
        }
        Ok((!reachable).then(|| {
            format!(
                "the volume of claim {} is on node {node}, which is gone",
                claim.name_any()
            )
        }))
    }
}

/// Host names that a volume can be mounted on; empty when it may be any.
fn hosts(volume: &PersistentVolume) -> Vec<String> {
    let affinity = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| affinity.required.as_ref());
    let terms = terms
        .map(|required| required.node_selector_terms.as_slice())
        .unwrap_or_default();
    let named = terms
        .iter()
        .flat_map(|term| term.match_expressions.iter().flatten());
    named
        .filter(|term| term.key == "kubernetes.io/hostname" && term.operator == "In")
        .flat_map(|term| term.values.clone().unwrap_or_default())
        .collect()
}

/// Asks the agents of members that take part, leader first, for the list (M5, B7).
async fn members(pods: &BTreeMap<String, PodSeen>) -> Reading<MemberList> {
    let mut asked: Vec<(bool, u64, SocketAddr)> = pods
        .values()
        .filter(|pod| pod.takes_part())
        .filter_map(|pod| {
            let (status, ip) = (pod.status()?, pod.ip.as_ref()?.parse::<IpAddr>().ok()?);
            let leads = status.leader_id == Some(status.member_id);
            (!status.is_learner).then_some((leads, status.term, SocketAddr::new(ip, PORT)))
        })
        .collect();
    asked.sort_by(|one, other| other.cmp(one));
    let mut why = "no member has a leader".to_owned();
    for (_, _, address) in asked.into_iter().take(2) {
        match AgentClient.members(address).await {
            Ok(list) => return Reading::Known(list),
            Err(error) => why = error.to_string(),
        }
    }
    Reading::Unknown(why)
}

/// Why the containers of a pod cannot run, if so.
fn broken(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let all = containers.chain(status.init_container_statuses.iter().flatten());
    let mut waiting = all.filter_map(|container| {
        let state = container.state.as_ref()?;
        // Between two crashes a container is "terminated": the same failure, seen at another moment.
        if let Some(ended) = state
            .terminated
            .as_ref()
            .filter(|ended| ended.exit_code != 0)
            && container.restart_count > 0
        {
            let (name, code) = (&container.name, ended.exit_code);
            return Some(format!(
                "container {name}: ended with code {code} again and again"
            ));
        }
        let waiting = state.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        BROKEN
            .contains(&reason)
            .then(|| format!("container {}: {reason}", container.name))
    });
    let unschedulable = || {
        let mut conditions = status.conditions.iter().flatten();
        conditions
            .find(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("Unschedulable"))
            .map(|c| {
                format!(
                    "no node takes it: {}",
                    c.message.as_deref().unwrap_or_default()
                )
            })
    };
    waiting.next().or_else(unschedulable)
}

/// True when nobody else controls the object.
fn controls(desired: &Desired, object: &impl ResourceExt) -> bool {
    let mut owners = object
        .owner_references()
        .iter()
        .filter(|owner| owner.controller == Some(true));
    owners.all(|owner| owner.uid == desired.owner.uid)
}

fn variable(pod: &Pod, name: &str) -> Option<String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut all = containers.flat_map(|container| container.env.iter().flatten());
    all.find(|variable| variable.name == name)?.value.clone()
}
