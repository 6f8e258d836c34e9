//! NetworkPolicies: whether this cluster enforces them, which is tried and never assumed, what enforces them where its
//! network plugin does not, and what the harness itself needs where they are enforced.

use std::fmt;
use std::time::Duration;

use etcd_operator_api::labels;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Repository};
use crate::deploy::{DeployError, TempNamespace, apply, operator, parse, refused};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// What enforces policies where nothing else does: manifest, namespace, name.
const MANIFEST: &str = "harness/pod-policies/daemonset.yaml";
const NAMESPACE: &str = "kube-system";
const NAME: &str = "pod-policies";
/// The pods of a trial, and the port at which one of them answers.
const LISTENS: &str = "listens";
const DIALS: &str = "dials";
const PORT: u16 = 7000;
/// What the dialling pod says, as its program prints it.
const CONNECTED: &str = "Connected";
const TIMEOUT: &str = "Timeout";

/// Image of the recording client, which the pods of a trial run too: the harness's own, or that of
/// `ETCD_HARNESS_WORKLOAD_IMAGE`.
pub(crate) fn client_image() -> String {
    let chosen = std::env::var("ETCD_HARNESS_WORKLOAD_IMAGE").ok();
    chosen
        .filter(|image| !image.is_empty())
        .unwrap_or_else(|| "etcd-harness/workload:dev".to_owned())
}

/// Who enforces policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// The cluster's own network plugin.
    Plugin,
    /// The harness's DaemonSet.
    Ours,
    /// A connection that a policy forbids gets through.
    None,
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plugin => "network policies are enforced by the network plugin",
            Self::Ours => "network policies are enforced by the harness's pod-policies",
            Self::None => {
                "network policies are not enforced: a connection that one forbids gets through"
            }
        })
    }
}

/// Tries, and installs what enforces policies in a cluster of our own where nothing does.
///
/// # Errors
/// When it cannot be tried, or what is installed does not run.
pub(crate) async fn ensure(
    cluster: &Cluster,
    repository: &Repository,
    image: &str,
) -> Result<Enforcement, DeployError> {
    if !is_installed(&cluster.kube).await? {
        if are_enforced(&cluster.kube, image, effect(false)).await? {
            return Ok(Enforcement::Plugin);
        }
        if !cluster.own {
            return Ok(Enforcement::None);
        }
    }
    let mut objects = parse(MANIFEST, &repository.read(MANIFEST)?)?;
    operator::name_builds(&mut objects, cluster).await;
    apply(&cluster.kube, NAMESPACE, &objects).await?;
    wait_running(&cluster.kube).await?;
    let enforced = are_enforced(&cluster.kube, image, effect(true)).await?;
    Ok(if enforced {
        Enforcement::Ours
    } else {
        Enforcement::None
    })
}

/// Tries without changing anything that stays.
///
/// # Errors
/// When it cannot be tried.
pub(crate) async fn look(kube: &Client, image: &str) -> Result<Enforcement, DeployError> {
    let ours = is_installed(kube).await?;
    let enforced = are_enforced(kube, image, effect(ours)).await?;
    Ok(match (enforced, ours) {
        (false, _) => Enforcement::None,
        (true, true) => Enforcement::Ours,
        (true, false) => Enforcement::Plugin,
    })
}

async fn is_installed(kube: &Client) -> Result<bool, DeployError> {
    let sets: Api<DaemonSet> = Api::namespaced(kube.clone(), NAMESPACE);
    let found = sets.get_opt(NAME).await;
    let found =
        found.map_err(|error| DeployError::call("read", format!("DaemonSet {NAME}"), error))?;
    Ok(found.is_some())
}

async fn wait_running(kube: &Client) -> Result<(), DeployError> {
    let sets: Api<DaemonSet> = Api::namespaced(kube.clone(), NAMESPACE);
    let what = "pod-policies to run on every node";
    let waited = wait_until(what, timeouts::OPERATOR_AVAILABLE, async || {
        match sets.get(NAME).await {
            Ok(set) => match unfinished(&set) {
                None => Poll::Ready(()),
                Some(status) => Poll::NotYet::<(), String>(status),
            },
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    waited.await.map_err(|error| unseen(what, error))
}

/// What is missing until every node has its pod; nothing when it has.
fn unfinished(set: &DaemonSet) -> Option<String> {
    let status = set.status.clone().unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or_default();
    let available = status.number_available.unwrap_or_default();
    let seen = status.observed_generation >= set.metadata.generation;
    let done = seen && wanted > 0 && updated >= wanted && available >= wanted;
    (!done).then(|| format!("{available} of {wanted} available, {updated} updated"))
}

fn unseen(what: &str, seen: impl fmt::Display) -> DeployError {
    DeployError::Await {
        what: what.to_owned(),
        seen: seen.to_string(),
    }
}

/// How long a policy's effect is waited for. Where the harness's own enforces it comes, if late on a busy machine. That
/// nothing enforces shows only by the time in which no effect came.
fn effect(ours: bool) -> Duration {
    match ours {
        true => timeouts::patient(timeouts::POLICY),
        false => timeouts::POLICY,
    }
}

/// One pod dials another: it gets through, and no more once a policy forbids it, within this time.
async fn are_enforced(kube: &Client, image: &str, effect: Duration) -> Result<bool, DeployError> {
    let namespace = TempNamespace::create(kube, "network-policies").await?;
    let tried = attempt(kube, &namespace.name, image, effect).await;
    namespace.delete().await?;
    tried
}

async fn attempt(
    kube: &Client,
    namespace: &str,
    image: &str,
    effect: Duration,
) -> Result<bool, DeployError> {
    let pods: Api<Pod> = Api::namespaced(kube.clone(), namespace);
    let port = PORT.to_string();
    make(
        kube,
        namespace,
        &plain_pod(LISTENS, image, &["answer", "--port", &port]),
    )
    .await?;
    let listens = address(&pods, LISTENS).await?;
    // It begins to dial before the policy is there.
    let limit = (timeouts::CLUSTER_RUNNING + effect).as_secs().to_string();
    let target = format!("{listens}:{PORT}");
    let arguments = ["dial", &target, "connected", "timeout", "--seconds", &limit];
    make(kube, namespace, &plain_pod(DIALS, image, &arguments)).await?;
    wait_until(
        "one pod to reach another",
        timeouts::CLUSTER_RUNNING,
        async || said(&pods, CONNECTED).await,
    )
    .await
    .map_err(|error| unseen("one pod reach another", error))?;
    make(kube, namespace, &forbids()).await?;
    let refused = wait_until("the policy's effect", effect, async || {
        said(&pods, TIMEOUT).await
    });
    Ok(refused.await.is_ok())
}

async fn said(pods: &Api<Pod>, word: &str) -> Poll<(), String> {
    match pods.logs(DIALS, &LogParams::default()).await {
        Ok(text) if text.lines().any(|line| line == word) => Poll::Ready(()),
        Ok(text) => Poll::NotYet(format!("it says {text:?}")),
        Err(error) => Poll::NotYet(error.to_string()),
    }
}

/// Waits for the address of a pod that runs.
///
/// # Errors
/// When it does not run in time.
pub(crate) async fn address(pods: &Api<Pod>, name: &str) -> Result<String, DeployError> {
    let what = format!("pod {name} to run");
    let found = wait_until(what.clone(), timeouts::CLUSTER_RUNNING, async || {
        let status = match pods.get(name).await {
            Ok(pod) => pod.status.unwrap_or_default(),
            Err(error) => return Poll::NotYet::<_, String>(error.to_string()),
        };
        match (status.phase.as_deref(), status.pod_ip) {
            (Some("Running"), Some(ip)) => Poll::Ready(ip),
            (phase, _) => Poll::NotYet(format!("its phase is {phase:?}")),
        }
    });
    found.await.map_err(|error| unseen(&what, error))
}

/// Applies an object; a new namespace takes no pods before its service account is there.
///
/// # Errors
/// When it is refused until the end.
pub(crate) async fn make(
    kube: &Client,
    namespace: &str,
    object: &Value,
) -> Result<(), DeployError> {
    let object: DynamicObject = serde_json::from_value(object.clone())
        .map_err(|error| DeployError::call("build", "an object", error))?;
    let objects = [object];
    let what = "an object accepted";
    let made = wait_until(what, timeouts::API_CALL, async || {
        match apply(kube, namespace, &objects).await {
            Ok(_) => Poll::Ready(()),
            Err(error) => refused(&error),
        }
    });
    made.await.map_err(|error| unseen(what, error))
}

/// A pod of the recording client's image that runs one of its plain commands.
pub(crate) fn plain_pod(name: &str, image: &str, arguments: &[&str]) -> Value {
    let command: Vec<&str> = ["/workload"].iter().chain(arguments).copied().collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "etcd-harness/part": name } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": command,
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}

/// Lets no one reach the listening pod.
fn forbids() -> Value {
    policy(
        "forbids",
        json!({
            "podSelector": { "matchLabels": { "etcd-harness/part": LISTENS } },
            "policyTypes": ["Ingress"],
        }),
    )
}

fn policy(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": name }, "spec": spec,
    })
}

/// What stands between pods and the members of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// What the operator makes by default.
    #[default]
    Usual,
    /// Nothing: what others try at the members' ports must meet the members.
    Unbound,
    /// A namespace that denies by default, with what is documented that etcd needs in it.
    DeniedByDefault,
}

/// The documented flows of such a namespace.
const DEFAULT_DENY: &str = "deploy/samples/default-deny.yaml";

impl Reach {
    /// Makes the policies of a run's namespace.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(crate) async fn prepare(self, kube: &Client, namespace: &str) -> Result<(), DeployError> {
        if self == Self::Unbound {
            return Ok(());
        }
        let_nodes_look(kube, namespace).await?;
        if self == Self::DeniedByDefault {
            let text = Repository::find()?.read(DEFAULT_DENY)?;
            apply(kube, namespace, &parse(DEFAULT_DENY, &text)?).await?;
        }
        Ok(())
    }

    /// What the Cluster's annotation chooses; nothing for the default.
    pub(crate) fn chosen(self) -> Option<&'static str> {
        (self == Self::Unbound).then_some(labels::REACH_ALL)
    }
}

/// Name of the policy by which the harness looks at members.
pub(crate) const LOOKS: &str = "harness-looks";

/// Lets nodes reach members: the harness asks agents and etcd through the API server, which runs on one of them.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn let_nodes_look(kube: &Client, namespace: &str) -> Result<(), DeployError> {
    let nodes: Api<Node> = Api::all(kube.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.map_err(|error| DeployError::call("list", "nodes", error))?;
    let looks = looks(&nodes.items);
    make(kube, namespace, &looks).await
}

fn looks(nodes: &[Node]) -> Value {
    let addresses = nodes.iter().flat_map(|node| {
        let status = node.status.iter();
        status.flat_map(|status| status.addresses.iter().flatten())
    });
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    let from: Vec<Value> = internal
        .map(|address| {
            let length = if address.address.contains(':') {
                128
            } else {
                32
            };
            json!({ "ipBlock": { "cidr": format!("{}/{length}", address.address) } })
        })
        .collect();
    // Without an address no one is let in: an empty list would be all clients.
    let ingress = if from.is_empty() {
        json!([])
    } else {
        json!([{ "from": from }])
    };
    policy(
        LOOKS,
        json!({
            "podSelector": { "matchExpressions": [{ "key": labels::COMPONENT_NAME, "operator": "Exists" }] },
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        }),
    )
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;

    use super::*;

    fn node(address: &str) -> Node {
        let addresses = json!([
            { "type": "InternalIP", "address": address }, { "type": "Hostname", "address": "worker" },
        ]);
        serde_json::from_value(json!({ "status": { "addresses": addresses } })).expect("a node")
    }

    #[test]
    fn nodes_may_look_at_members_and_no_one_may_where_there_is_no_address() {
        let looks = super::looks(&[node("172.18.0.2"), node("fd00::2")]);
        let from = &looks["spec"]["ingress"][0]["from"];
        assert_eq!(from[0]["ipBlock"]["cidr"], "172.18.0.2/32");
        assert_eq!(from[1]["ipBlock"]["cidr"], "fd00::2/128");
        assert_eq!(from.as_array().map(Vec::len), Some(2));
        assert_eq!(super::looks(&[])["spec"]["ingress"], json!([]));
    }

    #[test]
    fn an_effect_that_is_known_to_come_is_waited_for_on_a_busy_machine_too() {
        assert_eq!(effect(false), timeouts::POLICY);
        assert!(effect(true) >= 4 * timeouts::POLICY);
    }

    #[test]
    fn every_node_must_have_the_new_pod() {
        let set = |generation, updated, available| -> DaemonSet {
            serde_json::from_value(json!({
                "metadata": { "generation": 2 },
                "status": {
                    "observedGeneration": generation, "desiredNumberScheduled": 6, "currentNumberScheduled": 6,
                    "numberMisscheduled": 0, "numberReady": available, "numberAvailable": available,
                    "updatedNumberScheduled": updated,
                },
            }))
            .expect("a DaemonSet")
        };
        assert_eq!(unfinished(&set(2, 6, 6)), None);
        for (generation, updated, available) in [(1, 6, 6), (2, 5, 6), (2, 6, 5), (2, 0, 0)] {
            assert!(unfinished(&set(generation, updated, available)).is_some());
        }
        assert!(
            unfinished(&DaemonSet::default()).is_some(),
            "no node was counted yet"
        );
    }

    #[test]
    fn the_manifest_can_be_read_and_may_do_no_more_than_look_and_set_rules() {
        let text = include_str!("../../pod-policies/daemonset.yaml");
        let objects = parse(MANIFEST, text).expect("objects");
        let set = objects.last().expect("the DaemonSet");
        assert_eq!(set.name_any(), NAME);
        let container = &set.data["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "etcd-harness/pod-policies:dev");
        assert_eq!(
            container["securityContext"]["capabilities"]["add"],
            json!(["NET_ADMIN"])
        );
        let role = objects
            .iter()
            .find(|o| o.types.as_ref().is_some_and(|t| t.kind == "ClusterRole"));
        let rules = role.expect("a role").data["rules"]
            .as_array()
            .expect("rules");
        assert!(
            rules
                .iter()
                .all(|rule| rule["verbs"] == json!(["list", "watch"]))
        );
    }
}
