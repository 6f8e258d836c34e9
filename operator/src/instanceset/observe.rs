//! IO in: the API server, agents' views and the member list -> [`Observed`]. Decides nothing.
//!
//! Pods and claims are listed from the API server each time: steps that delete are decided on them (C2).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::MemberList;
use kube::api::{Api, ListParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};

use super::container;
use super::desired::Desired;
use super::error::Error;
use super::names as keys;
use super::observed::{
    ClaimSeen, NO_CREDENTIALS, NodeSeen, Observed, PodSeen, Reading, Size, class_of,
};
use super::plan::next_to_move;
use super::rehearse::{self, Rehearsals};
use super::resize;
use super::unreachable::{GivenUp, HOSTNAME};
use super::volume_hosts::{self, Host, hosts, is_out_of_service, is_ready};
use crate::agent::{AgentClient, Peer};
use crate::roles::MemberStore;
use crate::roles::facts::PodKey;

/// A view older than this tells nothing about now: agents repeat theirs every second.
const FRESH: Duration = Duration::from_secs(3);
/// Annotation of a claim whose volume was provisioned for a node.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Where things are read from.
pub(crate) struct Sources<'a> {
    /// The API server.
    pub client: &'a Client,
    /// Agents.
    pub agents: &'a AgentClient,
    /// Agents' views.
    pub views: &'a MemberStore,
    /// Nodes, from a watch.
    pub nodes: &'a Store<Node>,
    /// Templates that the API server takes.
    pub rehearsals: &'a Rehearsals,
}

impl Sources<'_> {
    /// Sees the world of one InstanceSet.
    ///
    /// # Errors
    /// When the API server does not answer. A member list that cannot be read is no error but unknown.
    pub(crate) async fn observe(&self, desired: &Desired) -> Result<Observed, Error> {
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
        let (mut pods, in_use) = self.pods(desired, &listed, now).await?;
        let members = self.members(&listed, &pods).await;
        let mut claims = claims
            .map_err(|source| Error::read("claims", source))?
            .items;
        let unlabelled = self.unlabelled(desired, &claims).await?;
        claims.extend(unlabelled);
        let tainted = self.left_tainted(desired, (&listed, &claims)).await?;
        let known = members.known().is_some();
        let given_up = match desired.replace_after.filter(|_| known) {
            Some(after) => {
                self.given_up(desired, (&claims, &pods), (after, now))
                    .await?
            }
            None => None,
        };
        let claims = self
            .claims(desired, &claims, (&in_use, given_up.as_ref()))
            .await?;
        if let Some(pod) = given_up.and_then(|given_up| pods.get_mut(&given_up.pod)) {
            pod.node = NodeSeen::Unreachable;
        }
        let service = service.map_err(|source| Error::read("the headless service", source))?;
        let no_node = self.absent_node(desired).await?;
        let refused_template = self.rehearsals.refusal(self.client, desired, &pods).await;
        let seen = Observed {
            no_node,
            tainted,
            refused_template,
            refused_move: None,
            made_class: BTreeMap::new(),
            pods,
            claims,
            service,
            members,
        };
        Ok(self.with_move(desired, seen).await)
    }

    /// What is seen of each pod, and the claims that pods on a node use.
    async fn pods(
        &self,
        desired: &Desired,
        listed: &[Pod],
        now: Timestamp,
    ) -> Result<(BTreeMap<String, PodSeen>, BTreeSet<String>), Error> {
        let (mut pods, mut in_use) = (BTreeMap::new(), BTreeSet::new());
        for pod in listed {
            let seen = self.pod(desired, pod, now).await?;
            if !matches!(seen.node, NodeSeen::Unassigned | NodeSeen::Gone) {
                in_use.extend(claim_names(pod).map(str::to_owned));
            }
            pods.insert(pod.name_any(), seen);
        }
        Ok((pods, in_use))
    }

    /// What is seen of each claim. Those of a pod that is given up count as lost.
    async fn claims(
        &self,
        desired: &Desired,
        listed: &[PersistentVolumeClaim],
        (in_use, given_up): (&BTreeSet<String>, Option<&GivenUp>),
    ) -> Result<BTreeMap<String, ClaimSeen>, Error> {
        let mut claims = BTreeMap::new();
        for claim in listed {
            let name = claim.name_any();
            let lost = match given_up.filter(|of| of.claims.contains(&name)) {
                Some(given_up) => {
                    let why = &given_up.why;
                    Some(format!("the volume of claim {name} is there: {why}"))
                }
                None => self.lost(claim, in_use.contains(&name)).await?,
            };
            claims.insert(name, claim_seen(desired, claim, lost));
        }
        Ok(claims)
    }

    /// With what the API server says of the claims and the pod that a member would be made of: the next one to move, or
    /// one of whose claim it is not known what was asked for.
    async fn with_move(&self, desired: &Desired, mut seen: Observed) -> Observed {
        if let Some(pod) = next_to_move(desired, &seen) {
            match Box::pin(rehearse::replacement(self.client, desired, &pod)).await {
                Ok(classes) => seen.made_class = classes,
                Err(why) => seen.refused_move = Some(why),
            }
        }
        seen
    }

    async fn pod(&self, desired: &Desired, pod: &Pod, now: Timestamp) -> Result<PodSeen, Error> {
        let status = pod.status.as_ref();
        let uid = pod.uid().unwrap_or_default();
        let key = PodKey {
            namespace: desired.namespace.clone(),
            name: pod.name_any(),
        };
        let owned = controls(&desired.owner.uid, pod);
        // What a pod of others says of members is not asked, and not believed.
        let seen = self.views.of(&key, &uid).filter(|_| owned);
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
            restarts: container::restarts(pod, now),
            broken: container::broken(pod),
            resize: resize::seen(pod),
            runs: container::runs(pod),
            node: self.node(pod).await?,
            ip: status
                .and_then(|status| status.pod_ip.clone())
                .filter(|ip| !ip.is_empty()),
            owned,
            join: variable(pod, keys::ENV_JOIN).and_then(|id| id.parse().ok()),
            force: variable(pod, keys::ENV_FORCE),
            heard: seen
                .as_ref()
                .is_some_and(|seen| !seen.silent && seen.age() < FRESH),
            view: seen.map(|seen| seen.view),
            uid,
        })
    }

    /// Asks the agents of members that take part, leader first, for the list (M5, B7).
    async fn members(
        &self,
        listed: &[Pod],
        pods: &BTreeMap<String, PodSeen>,
    ) -> Reading<MemberList> {
        let mut asked: Vec<(bool, u64, Peer)> = listed
            .iter()
            .filter_map(|pod| {
                let seen = pods.get(&pod.name_any()).filter(|seen| seen.takes_part())?;
                let (status, peer) = (seen.status()?, Peer::of(pod)?);
                let leads = status.leader_id == Some(status.member_id);
                (!status.is_learner).then_some((leads, status.term, peer))
            })
            .collect();
        asked.sort_by_key(|(leads, term, peer)| Reverse((*leads, *term, peer.address)));
        let denied = pods.values().find_map(PodSeen::denied);
        let mut why = denied.map_or("no member has a leader".to_owned(), |answer| {
            format!("{answer} ({NO_CREDENTIALS})")
        });
        for (_, _, peer) in asked.iter().take(2) {
            match self.agents.members(peer).await {
                Ok(list) => return Reading::Known(list),
                Err(error) => why = error.to_string(),
            }
        }
        Reading::Unknown(why)
    }

    async fn node(&self, pod: &Pod) -> Result<NodeSeen, Error> {
        let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else {
            return Ok(NodeSeen::Unassigned);
        };
        let mut found = self.find_node(name).await?;
        if found.as_deref().is_some_and(is_out_of_service) {
            // The taint may have been taken off, and a pod is forced away on this answer (P5).
            found = self.read_node(name).await?;
        }
        let Some(node) = found else {
            return Ok(NodeSeen::Gone);
        };
        if is_out_of_service(&node) {
            return Ok(NodeSeen::OutOfService);
        }
        Ok(if is_ready(&node) {
            NodeSeen::Ready
        } else {
            NodeSeen::NotReady
        })
    }

    async fn absent_node(&self, desired: &Desired) -> Result<Option<String>, Error> {
        let spec = desired.template.spec.as_ref();
        let Some(name) = spec.and_then(|spec| spec.node_name.clone()) else {
            return Ok(None);
        };
        Ok(self.find_node(&name).await?.is_none().then_some(name))
    }

    /// The node of a name. One that the watch does not know is asked for: the watch may be behind, and a pod is
    /// given up for dead on this answer (P5).
    async fn find_node(&self, name: &str) -> Result<Option<Arc<Node>>, Error> {
        if let Some(node) = self.nodes.get(&ObjectRef::new(name)) {
            return Ok(Some(node));
        }
        self.read_node(name).await
    }

    async fn read_node(&self, name: &str) -> Result<Option<Arc<Node>>, Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes
            .get_opt(name)
            .await
            .map_err(|source| Error::read("a node", source))?;
        Ok(node.map(Arc::new))
    }

    /// Why the volume of a claim is not mounted again: it lives on nodes that are all gone or declared out of service.
    /// Its volume is only looked up when no pod has it on a node that is there, so that the steady state costs no
    /// call. A volume that was made beforehand leaves no trace of its node in the claim, one that was provisioned
    /// does (D14). One that can be mounted elsewhere is left to Kubernetes.
    async fn lost(
        &self,
        claim: &PersistentVolumeClaim,
        in_use: bool,
    ) -> Result<Option<String>, Error> {
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
        let volume = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.as_deref());
        let Some(volume) = volume.filter(|volume| !in_use && !volume.is_empty()) else {
            return Ok(None);
        };
        if let Some(node) = claim.annotations().get(SELECTED_NODE)
            && let Some(node) = self.find_node(node).await?
            && !is_out_of_service(&node)
        {
            return Ok(None);
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volume = volumes.get_opt(volume).await;
        let volume = volume.map_err(|source| Error::read("a volume", source))?;
        let Some(hosts) = volume.as_ref().and_then(hosts) else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for host in hosts {
            let state = self.host(&host).await?;
            found.push((host, state));
        }
        Ok(volume_hosts::lost(&claim.name_any(), &found))
    }

    /// What the nodes of this host name are good for. As with [`Self::find_node`], the API server has the last word:
    /// data is given up on this answer (P5).
    async fn host(&self, host: &str) -> Result<Host, Error> {
        let known = self.nodes.state();
        let named = |node: &&Node| node.labels().get(HOSTNAME).map(String::as_str) == Some(host);
        let of_name = known.iter().map(AsRef::as_ref).filter(named);
        if volume_hosts::state(of_name) == Host::Serves {
            return Ok(Host::Serves);
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let params = ListParams::default().labels(&format!("{HOSTNAME}={host}"));
        let found = nodes.list(&params).await;
        let found = found.map_err(|source| Error::read("nodes", source))?;
        Ok(volume_hosts::state(found.items.iter()))
    }
}

/// Names of the claims that a pod mounts.
fn claim_names(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

fn claim_seen(desired: &Desired, claim: &PersistentVolumeClaim, lost: Option<String>) -> ClaimSeen {
    let spec = claim.spec.as_ref();
    let class = spec.and_then(|spec| spec.storage_class_name.clone());
    ClaimSeen {
        uid: claim.uid().unwrap_or_default(),
        labels: claim.labels().clone(),
        annotations: claim.annotations().clone(),
        terminating: claim.metadata.deletion_timestamp.is_some(),
        lost,
        owned: is_of(&desired.owner.uid, &desired.cluster_uid, claim),
        bound: claim
            .owner_references()
            .iter()
            .any(|owner| owner.uid == desired.owner.uid),
        class: class_of(claim.annotations(), class.as_deref()),
        class_in_spec: class,
        size: size(claim),
    }
}

fn size(claim: &PersistentVolumeClaim) -> Size {
    /// Conditions of a claim that are about its size.
    const ABOUT_SIZE: [&str; 4] = [
        "Resizing",
        "FileSystemResizePending",
        "ControllerResizeError",
        "NodeResizeError",
    ];
    let storage = |amounts: Option<&BTreeMap<String, Quantity>>| amounts?.get("storage").cloned();
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let status = claim.status.as_ref();
    let states = status.and_then(|status| status.allocated_resource_statuses.as_ref());
    let state = states.and_then(|states| states.get("storage").cloned());
    let conditions = status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let about = conditions.filter(|c| c.status == "True" && ABOUT_SIZE.contains(&c.type_.as_str()));
    let told = about.map(
        |c| match c.message.as_deref().filter(|text| !text.is_empty()) {
            Some(message) => format!("{}: {message}", c.type_),
            None => c.type_.clone(),
        },
    );
    let told: Vec<String> = state.into_iter().chain(told).collect();
    Size {
        requested: storage(resources.and_then(|resources| resources.requests.as_ref())),
        capacity: storage(status.and_then(|status| status.capacity.as_ref())),
        told: told.join("; "),
    }
}

/// True for a claim that was made for this Cluster: the InstanceSet controls it, or the Cluster's UID is on it, as on
/// one that outlives its InstanceSet. One that a user made under a member's name is not ours.
pub(super) fn is_of(set: &str, cluster: &str, claim: &PersistentVolumeClaim) -> bool {
    let mut owners = claim.owner_references().iter();
    let controller = owners.find(|owner| owner.controller == Some(true));
    let home = claim.annotations().get(labels::CLUSTER_UID);
    match (controller, home) {
        (Some(owner), _) if owner.uid != set => false,
        (Some(_), home) => home.is_none_or(|home| home == cluster),
        (None, home) => home.is_some_and(|home| home == cluster),
    }
}

/// True when this InstanceSet, and no earlier one of its name, controls the object.
fn controls(set: &str, object: &impl ResourceExt) -> bool {
    let mut owners = object.owner_references().iter();
    let controller = owners.find(|owner| owner.controller == Some(true));
    controller.is_some_and(|owner| owner.uid == set)
}

fn variable(pod: &Pod, name: &str) -> Option<String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut all = containers.flat_map(|container| container.env.iter().flatten());
    all.find(|variable| variable.name == name)?.value.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_api::{failure, server};
    use crate::instanceset::test_support::{FakeSources, volume_on};

    /// What is said of a claim whose volume was provisioned for node n1 and can be mounted where this label has this
    /// value, when the watch knows n1 with these taints and the API server has it with those.
    async fn lost(
        (label, value): (&str, &str),
        known: serde_json::Value,
        there: serde_json::Value,
    ) -> Option<String> {
        let node = |taints| {
            json!({ "apiVersion": "v1", "kind": "Node", "spec": { "taints": taints },
                "metadata": { "name": "n1", "labels": { HOSTNAME: "n1" } } })
        };
        let volume = volume_on(label, value);
        let (now, list) = (
            node(there),
            |items| json!({ "apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": items }),
        );
        let (context, _asked) = server(move |asked| match asked {
            asked if asked.contains("/persistentvolumes/v") => (200, volume.clone()),
            asked if asked.contains("/nodes?") => (200, list(json!([now]))),
            _ => failure(404, "NotFound", "there is none"),
        });
        let fake = FakeSources::new(context, &[node(known)]);
        let claim = json!({ "spec": { "volumeName": "v" },
            "metadata": { "name": "data-a-1", "annotations": { SELECTED_NODE: "n1" } } });
        let claim = serde_json::from_value(claim).expect("a claim");
        let told = fake.sources().lost(&claim, false).await;
        told.expect("an answer")
    }

    #[tokio::test]
    async fn a_volume_of_a_node_that_was_declared_out_of_service_is_lost() {
        let off = || json!([{ "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute" }]);
        let silent = || json!([{ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" }]);
        let local = (HOSTNAME, "n1");
        let told = lost(local, off(), off()).await;
        let expected =
            "the volume of claim data-a-1 is on node n1, which was declared out of service";
        assert_eq!(told.as_deref(), Some(expected));
        assert_eq!(lost(local, silent(), silent()).await, None);
        // The taint was taken off, and the watch is behind.
        assert_eq!(lost(local, off(), silent()).await, None);
        // It can be mounted elsewhere.
        let zone = ("topology.kubernetes.io/zone", "z");
        assert_eq!(lost(zone, off(), off()).await, None);
    }

    #[tokio::test]
    async fn a_node_is_out_of_service_when_the_api_server_says_so_too() {
        let node = |(ready, taints)| {
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" }, "spec": { "taints": taints },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] } })
        };
        let off = json!([{ "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute" }]);
        for (there, expected) in [
            (Some(("Unknown", off.clone())), NodeSeen::OutOfService),
            (Some(("False", off.clone())), NodeSeen::OutOfService),
            // It is back, and the taint was forgotten: its pods run.
            (Some(("True", off.clone())), NodeSeen::Ready),
            (Some(("Unknown", json!([]))), NodeSeen::NotReady),
            (None, NodeSeen::Gone),
        ] {
            let answer = there.map(node);
            let (context, _asked) = server(move |_| match &answer {
                Some(node) => (200, node.clone()),
                None => failure(404, "NotFound", "there is none"),
            });
            let fake = FakeSources::new(context, &[node(("Unknown", off.clone()))]);
            let pod = json!({ "metadata": {}, "spec": { "containers": [], "nodeName": "n1" } });
            let pod = serde_json::from_value(pod).expect("a pod");
            let seen = fake.sources().node(&pod).await;
            assert_eq!(seen.expect("an answer"), expected);
        }
    }

    fn owned(owner: Option<&str>, home: Option<&str>) -> PersistentVolumeClaim {
        let owners: Vec<_> = owner
            .map(|uid| json!({ "apiVersion": "w/v1", "kind": "InstanceSet", "name": "a", "uid": uid, "controller": true }))
            .into_iter()
            .collect();
        let home: std::collections::BTreeMap<_, _> = home
            .map(|home| (labels::CLUSTER_UID, home))
            .into_iter()
            .collect();
        let claim = json!({ "metadata": { "ownerReferences": owners, "annotations": home } });
        serde_json::from_value(claim).expect("a claim")
    }

    #[test]
    fn what_others_made_under_a_member_s_name_is_not_ours() {
        let ours = |owner, home| is_of("set", "cluster", &owned(owner, home));
        assert!(ours(Some("set"), Some("cluster")) && ours(Some("set"), None));
        assert!(
            ours(None, Some("cluster")),
            "a claim that outlives its InstanceSet"
        );
        assert!(!ours(None, None), "made by hand");
        assert!(!ours(None, Some("earlier")) && !ours(Some("set"), Some("earlier")));
        assert!(!ours(Some("other"), Some("cluster")));
        assert!(controls("set", &owned(Some("set"), None)));
        assert!(
            !controls("set", &owned(None, Some("cluster"))),
            "a pod without a controller"
        );
    }

    #[test]
    fn a_pod_names_the_claims_that_it_mounts() {
        let volumes = json!([{ "name": "x", "emptyDir": {} },
            { "name": "data", "persistentVolumeClaim": { "claimName": "data-a-0" } }]);
        let pod = json!({ "metadata": {}, "spec": { "containers": [], "volumes": volumes } });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        assert_eq!(claim_names(&pod).collect::<Vec<_>>(), ["data-a-0"]);
    }
}
