//! Who reaches the members' ports from another pod, of the same namespace and of another one, while the component's
//! NetworkPolicy is each of those that its Cluster can choose. What one of them forbids another one must let through,
//! or nothing was shown.

use etcd_operator_api::labels;
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::bring_up::bring_up;
use super::checklist::Checklist;
use super::outcome::{found, not_there};
use crate::deploy::policies::{self, Enforcement, LOOKS};
use crate::deploy::{DeployError, TempNamespace};
use crate::scenario::inside::Inside;
use crate::scenario::outcome::Found;
use crate::scenario::subject::{CLUSTER, Subject};
use crate::scenario::{Lab, RunError};
use crate::timeouts;

/// Name of the check.
const CHECK: &str = "network_policies";
/// The policy by which an owner lets a pod in, and the pod.
const LETS_IN: &str = "lets-in";
const GUEST: &str = "guest";
/// The pod of another namespace.
const STRANGER: &str = "stranger";
/// The port at which these pods wait for the end of the run.
const WAITS: &str = "7000";
/// Ports of a member: of clients, of figures, and what only members, the operator and the kubelet need.
const CLIENTS: u16 = 2379;
const FIGURES: u16 = 9187;
const INNER: [u16; 3] = [2380, 5001, 2381];
/// Attempts that are under way at once.
const AT_ONCE: usize = 6;

/// What dialling must come to, as the program takes it.
const CONNECTED: &str = "connected";
const TIMEOUT: &str = "timeout";

/// Pods that dial: one of the cluster's namespace, one of another.
struct Stage<'a> {
    subject: &'a Subject,
    guest: Inside,
    stranger: Inside,
    members: Vec<(String, String)>,
}

/// The whole of it, on a new cluster.
pub(crate) async fn network_policies(lab: &Lab, subject: &Subject) -> Found {
    match policies::look(&subject.kube, &lab.client_image).await {
        Ok(Enforcement::None) => return not_there(CHECK, &Enforcement::None.to_string()),
        Ok(enforcement) => lab.live.say(enforcement.to_string()),
        Err(error) => return not_there(CHECK, &error.to_string()),
    }
    let mut list = Checklist::new(CHECK, lab.live.clone());
    if !bring_up(lab, subject, &mut list).await {
        return found(list);
    }
    let elsewhere = TempNamespace::create(&subject.kube, STRANGER).await;
    let elsewhere = elsewhere.map_err(RunError::from);
    if let Some(elsewhere) = list.step("another namespace is made", elsewhere) {
        let acted = act(lab, subject, &elsewhere, &mut list).await;
        list.step("pods dial the members", acted);
        let gone = elsewhere.delete().await.map_err(RunError::from);
        list.step("the other namespace is deleted", gone);
    }
    found(list)
}

async fn act(
    lab: &Lab,
    subject: &Subject,
    elsewhere: &TempNamespace,
    list: &mut Checklist,
) -> Result<(), RunError> {
    let stage = Stage {
        subject,
        guest: dialler(lab, &subject.namespace, GUEST).await?,
        stranger: dialler(lab, &elsewhere.name, STRANGER).await?,
        members: addresses(subject).await?,
    };
    let (guest, stranger) = (&stage.guest, &stage.stranger);
    let both = [guest, stranger];
    lab.live
        .say("the default without TLS: clients of the namespace");
    stage.see(list, &[guest], &[CLIENTS], CONNECTED).await;
    stage.see(list, &[stranger], &[CLIENTS], TIMEOUT).await;
    stage.see(list, &both, &[FIGURES], CONNECTED).await;
    stage.see(list, &both, &INNER, TIMEOUT).await;

    lab.live.say("the policy `open`");
    stage.choose(json!(labels::REACH_OPEN)).await?;
    stage.see(list, &both, &[CLIENTS, FIGURES], CONNECTED).await;
    stage.see(list, &both, &INNER, TIMEOUT).await;

    lab.live.say("the policy `members`");
    stage.choose(json!(labels::REACH_MEMBERS)).await?;
    stage.see(list, &both, &[CLIENTS, FIGURES], TIMEOUT).await;
    lab.live
        .say("and one of the owner's, which lets the guest in");
    policies::make(&subject.kube, &subject.namespace, &lets_in()).await?;
    stage.see(list, &[guest], &[CLIENTS, 2380], CONNECTED).await;
    stage.see(list, &[guest], &[5001], TIMEOUT).await;
    stage
        .see(list, &[stranger], &[CLIENTS, 2380], TIMEOUT)
        .await;

    lab.live.say("the policy `none`, and none of the owner's");
    stage.choose(json!(labels::REACH_ALL)).await?;
    stage.without(&[LETS_IN, LOOKS]).await?;
    stage.see(list, &both, &[CLIENTS, FIGURES], CONNECTED).await;
    stage.see(list, &both, &INNER, CONNECTED).await;

    lab.live.say("the default again");
    stage.choose(Value::Null).await?;
    policies::let_nodes_look(&subject.kube, &subject.namespace).await?;
    stage.see(list, &[stranger], &[CLIENTS], TIMEOUT).await;
    stage.see(list, &both, &INNER, TIMEOUT).await;
    // Members, the operator and the kubelet still reach what they need.
    let limit = timeouts::patient(timeouts::CLUSTER_RUNNING);
    let whole = subject.wait_whole(limit).await;
    list.came_about(
        "the cluster is whole",
        whole.map_err(|error| error.to_string()),
    );
    Ok(())
}

impl Stage<'_> {
    /// Each of these pods dials these ports of every member.
    async fn see(&self, list: &mut Checklist, who: &[&Inside], ports: &[u16], wanted: &str) {
        let mut attempts = Vec::new();
        for inside in who {
            for (member, ip) in &self.members {
                for port in ports {
                    attempts.push(async move {
                        let effect = timeouts::patient(timeouts::POLICY);
                        let seconds = effect.as_secs().to_string();
                        // Half of it is for one attempt.
                        let limit = 2 * (effect + timeouts::NODE_COMMAND);
                        let address = format!("{ip}:{port}");
                        let arguments = ["dial", &address, wanted, "--seconds", &seconds];
                        let seen = inside.exec(&arguments, limit).await;
                        let what = format!("{} at {port} of {member} is {wanted}", inside.pod);
                        (what, seen.map_err(|error| error.to_string()))
                    });
                }
            }
        }
        let mut seen = stream::iter(attempts).buffered(AT_ONCE);
        while let Some((what, seen)) = seen.next().await {
            list.came_about(what, seen);
        }
    }

    /// Chooses the component's policy, as its owner does.
    async fn choose(&self, policy: Value) -> Result<(), RunError> {
        let annotations = json!({ labels::NETWORK_POLICY: policy });
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let clusters = self.subject.clusters();
        let patched = clusters
            .patch(CLUSTER, &PatchParams::default(), &patch)
            .await;
        patched
            .map(drop)
            .map_err(|error| RunError::api("choose a network policy", &error))
    }

    /// Takes policies of the owner's away.
    async fn without(&self, names: &[&str]) -> Result<(), RunError> {
        let kube = self.subject.kube.clone();
        let api: Api<NetworkPolicy> = Api::namespaced(kube, &self.subject.namespace);
        for name in names {
            let deleted = api.delete(name, &DeleteParams::default()).await;
            deleted.map_err(|error| RunError::api(format!("delete policy {name}"), &error))?;
        }
        Ok(())
    }
}

/// A pod that waits for commands.
async fn dialler(lab: &Lab, namespace: &str, name: &'static str) -> Result<Inside, DeployError> {
    let kube = &lab.cluster.kube;
    let pod = policies::plain_pod(name, &lab.client_image, &["answer", "--port", WAITS]);
    policies::make(kube, namespace, &pod).await?;
    let pods: Api<Pod> = Api::namespaced(kube.clone(), namespace);
    policies::address(&pods, name).await?;
    Ok(Inside::other(pods, name))
}

/// Name and address of every member.
async fn addresses(subject: &Subject) -> Result<Vec<(String, String)>, RunError> {
    let pods = subject.pods().await.map_err(RunError::Wait)?;
    let address = |pod: &Pod| {
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        ip.map(|ip| (pod.name_any(), ip))
    };
    Ok(pods.iter().filter_map(address).collect())
}

/// Lets the guest, and no one else, in where clients and peers are.
fn lets_in() -> Value {
    let members = json!([{ "key": labels::COMPONENT_NAME, "operator": "Exists" }]);
    let guest = json!({ "podSelector": { "matchLabels": { "etcd-harness/part": GUEST } } });
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": LETS_IN },
        "spec": {
            "podSelector": { "matchExpressions": members }, "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [guest],
                "ports": [{ "port": 2379, "protocol": "TCP" }, { "port": 2380, "protocol": "TCP" }],
            }],
        },
    })
}
