//! Operations on a running cluster, asked for as its owner asks: by an OpsRequest that is made and then watched.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;
use serde_json::{Value, json};

use crate::scenario::RunError;
use crate::scenario::state::State;
use crate::scenario::subject::{CLUSTER, COMPONENT, Subject};
use crate::scenario::{backup, disaster};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// What is asked of a running cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// To so many members.
    Scale(u32),
    /// Every pod is recreated.
    Restart,
    /// etcd gets a larger limit of processor time.
    Resize,
    /// Leadership leaves the pod that has it.
    Switchover,
    /// All members are stopped, then started again.
    StopAndStart,
    /// From one version to another; the cluster begins with the first.
    Upgrade {
        /// The first.
        from: &'static str,
        /// The other.
        to: &'static str,
    },
    /// A setting of etcd changes.
    Reconfigure,
    /// Every volume grows to so many MiB.
    Grow(u32),
    /// Every volume is to grow to more MiB than its driver can make, until the owner sets so many instead.
    GrowTooFar {
        /// What is asked for first.
        first: u32,
        /// What the owner sets then.
        then: u32,
    },
    /// A service on a port of every node comes.
    Expose,
    /// A service of a load balancer comes.
    Balance,
    /// The service of either kind goes.
    Conceal,
    /// A follower's member is replaced by a new one of its name, with an empty disk.
    RebuildFollower,
    /// The same, and the new member is placed on a node that has no member yet, by its name.
    MoveFollower,
    /// Another storage class is named: every member is replaced by a new one whose claim is of that class.
    MoveVolumes,
    /// A majority is lost with its data; one survivor continues alone, and others join it.
    RecoverQuorum,
    /// A backup is made, and restored into a second Cluster beside the first.
    BackUpAndRestore,
    /// An archive is kept, its pod is deleted, and it is restored to revisions and to a time.
    ArchiveAndRestore,
    /// The CA is replaced by another one.
    RotateCa,
    /// A user's password is replaced by another one.
    RotatePassword,
}

/// Largest database after [`Operation::Reconfigure`], in bytes.
pub(super) const QUOTA: u64 = 256 * 1024 * 1024;
/// Limit of processor time of etcd's container after [`Operation::Resize`].
pub(super) const CPU_LIMIT: &str = "1500m";
/// Last part of the name of the service of [`Operation::Expose`] and [`Operation::Balance`].
const EXPOSED: &str = "outside";

impl Operation {
    /// Members afterwards, of so many before.
    pub(super) const fn members_after(self, before: u32) -> u32 {
        match self {
            Operation::Scale(to) => to,
            _ => before,
        }
    }

    /// How long it may take.
    pub(super) const fn limit(self) -> Duration {
        match self {
            Operation::RotateCa | Operation::RotatePassword => timeouts::ROTATION,
            Operation::Grow(_) | Operation::GrowTooFar { .. } => timeouts::GROWTH,
            _ => timeouts::OPERATION,
        }
    }

    /// How often it recreates every member beyond the first time.
    pub(super) const fn more_restarts(self) -> u64 {
        match self {
            Operation::RotateCa => 1,
            _ => 0,
        }
    }

    /// The version that the cluster must begin with.
    pub(super) const fn begins_with(self) -> Option<&'static str> {
        match self {
            Operation::Upgrade { from, .. } => Some(from),
            _ => None,
        }
    }

    /// True when etcd gets another minor: then the operator makes a backup first.
    fn changes_minor(self) -> bool {
        let minor = |version: &'static str| version.rsplit_once('.').map(|(minor, _patch)| minor);
        match self {
            Operation::Upgrade { from, to } => minor(from) != minor(to),
            _ => false,
        }
    }

    /// The pod whose member it replaces, of these, when the leader is in the pod `leader`.
    fn replaces(self, pods: &[String], leader: &str) -> Option<String> {
        let mut followers = pods.iter().filter(|pod| *pod != leader);
        followers
            .next_back()
            .filter(|_| matches!(self, Operation::RebuildFollower | Operation::MoveFollower))
            .cloned()
    }

    /// The pods that are lost before it is asked for.
    fn loses(self, pods: &[String], leader: &str) -> Vec<String> {
        match self {
            Operation::RecoverQuorum => disaster::lost(pods, leader),
            _ => Vec::new(),
        }
    }

    /// The pods whose members may be others afterwards. One member is left of a quorum that was recovered; which one is
    /// the operator's choice, and [`proof`](super::proof) says that it is one.
    pub(super) fn renews(self, pods: &[String], leader: &str) -> Vec<String> {
        match self {
            Operation::RecoverQuorum | Operation::MoveVolumes => pods.to_vec(),
            _ => self.replaces(pods, leader).into_iter().collect(),
        }
    }

    /// The requests' specs in their order, for a cluster of `members` whose leader is in the pod `leader`; `replaced`
    /// is the pod whose member is rebuilt.
    fn specs(self, members: u32, leader: &str, replaced: Option<&Replaced>) -> Vec<Value> {
        let component = json!([{ "componentName": COMPONENT }]);
        let mut specs = match self {
            Operation::Scale(to) => {
                let (word, changes) = if to >= members {
                    ("scaleOut", to - members)
                } else {
                    ("scaleIn", members - to)
                };
                vec![json!({ "type": "HorizontalScaling",
                    "horizontalScaling": [{ "componentName": COMPONENT, word: { "replicaChanges": changes } }] })]
            }
            Operation::Restart => vec![json!({ "type": "Restart", "restart": component })],
            Operation::Resize => vec![json!({ "type": "VerticalScaling",
                "verticalScaling": [{ "componentName": COMPONENT, "limits": { "cpu": CPU_LIMIT } }] })],
            Operation::Switchover => vec![json!({ "type": "Switchover",
                "switchover": [{ "componentName": COMPONENT, "instanceName": leader }] })],
            Operation::Upgrade { to, .. } => vec![json!({ "type": "Upgrade",
                "upgrade": { "components": [{ "componentName": COMPONENT, "serviceVersion": to }] } })],
            Operation::Reconfigure => vec![json!({ "type": "Reconfiguring",
                "reconfigures": [{ "componentName": COMPONENT,
                    "parameters": [{ "key": "quota-backend-bytes", "value": QUOTA.to_string() }] }] })],
            Operation::Grow(mebibytes) => vec![growing(mebibytes)],
            // What the owner sets then is an edit (`scenario::too_large`).
            Operation::GrowTooFar { first, .. } => vec![growing(first)],
            Operation::Expose => vec![exposing("Enable", "NodePort")],
            Operation::Balance => vec![exposing("Enable", "LoadBalancer")],
            Operation::Conceal => vec![exposing("Disable", "NodePort")],
            Operation::RebuildFollower | Operation::MoveFollower => vec![rebuilding(replaced)],
            Operation::RecoverQuorum => vec![recovering("dryRun"), recovering("acceptDataLoss")],
            // No OpsRequest: an object of its own (`scenario::backup`, `scenario::archive`), or an edit
            // (`scenario::rotation`, `scenario::moving`).
            Operation::MoveVolumes
            | Operation::BackUpAndRestore
            | Operation::ArchiveAndRestore
            | Operation::RotateCa
            | Operation::RotatePassword => vec![],
            Operation::StopAndStart => vec![
                json!({ "type": "Stop", "stop": component }),
                json!({ "type": "Start", "start": component }),
            ],
        };
        for spec in &mut specs {
            spec["clusterName"] = json!(CLUSTER);
        }
        specs
    }

    /// A word for it that is valid in names.
    pub(super) fn word(self) -> String {
        match self {
            Operation::Scale(to) => format!("scale-to-{to}"),
            Operation::Restart => "restart".to_owned(),
            Operation::Resize => "resize".to_owned(),
            Operation::Switchover => "switchover".to_owned(),
            Operation::StopAndStart => "stop-and-start".to_owned(),
            Operation::Upgrade { .. } => "upgrade".to_owned(),
            Operation::Reconfigure => "reconfigure".to_owned(),
            Operation::Grow(_) => "grow".to_owned(),
            Operation::GrowTooFar { .. } => "grow-too-far".to_owned(),
            Operation::Expose => "expose".to_owned(),
            Operation::Balance => "expose-load-balancer".to_owned(),
            Operation::Conceal => "conceal".to_owned(),
            Operation::RebuildFollower => "rebuild-follower".to_owned(),
            Operation::MoveFollower => "move-follower".to_owned(),
            Operation::MoveVolumes => "move-volumes".to_owned(),
            Operation::RecoverQuorum => "recover-quorum".to_owned(),
            Operation::BackUpAndRestore => "back-up-and-restore".to_owned(),
            Operation::ArchiveAndRestore => "archive-and-restore".to_owned(),
            Operation::RotateCa => "rotate-ca".to_owned(),
            Operation::RotatePassword => "rotate-password".to_owned(),
        }
    }
}

fn growing(mebibytes: u32) -> Value {
    let claim = json!({ "name": "data", "storage": format!("{mebibytes}Mi") });
    json!({ "type": "VolumeExpansion",
        "volumeExpansion": [{ "componentName": COMPONENT, "volumeClaimTemplates": [claim] }] })
}

fn rebuilding(replaced: Option<&Replaced>) -> Value {
    let mut instance = json!({ "name": replaced.map(|replaced| &replaced.pod) });
    if let Some(node) = replaced.and_then(|replaced| replaced.target.as_ref()) {
        instance["targetNodeName"] = json!(node);
    }
    json!({ "type": "RebuildInstance", "force": true,
        "rebuildFrom": [{ "componentName": COMPONENT, "inPlace": true, "instances": [instance] }] })
}

/// Name of the service that is exposed.
pub(super) fn exposed() -> String {
    format!("{}-{EXPOSED}", Subject::leader_service())
}

fn exposing(switch: &str, kind: &str) -> Value {
    let service = json!({ "name": EXPOSED, "serviceType": kind });
    // Members of a run have no TLS: that takes `force`, which would not wait for its turn.
    json!({ "type": "Expose", "force": true, "enqueueOnForce": true,
        "expose": [{ "componentName": COMPONENT, "switch": switch, "services": [service] }] })
}

fn recovering(how: &str) -> Value {
    json!({ "type": "RecoverQuorum", "force": true,
        "recoverQuorum": [{ "componentName": COMPONENT, "survivor": "furthest", how: true }] })
}

/// Requests that are made one after the other; the first of them was.
pub(super) struct Asked {
    api: Api<DynamicObject>,
    namespace: String,
    name: String,
    /// What is still to be asked, last first.
    rest: Vec<Value>,
    /// How things were before.
    pub(super) before: State,
    /// The pod whose member is to be replaced.
    pub(super) replaced: Option<Replaced>,
}

/// A pod whose member is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replaced {
    pub(super) pod: String,
    /// The node that the new one is to be on, when it is named.
    pub(super) target: Option<String>,
}

impl Replaced {
    async fn of(
        subject: &Subject,
        operation: Operation,
        leader: &str,
    ) -> Result<Option<Self>, RunError> {
        let Some(pod) = operation.replaces(&subject.pod_names(), leader) else {
            return Ok(None);
        };
        let target = match operation {
            Operation::MoveFollower => Some(free_node(subject).await.map_err(RunError::Wait)?),
            _ => None,
        };
        Ok(Some(Self { pod, target }))
    }
}

/// A node that takes pods and has no member.
async fn free_node(subject: &Subject) -> Result<String, String> {
    let pods = subject.pods().await?;
    let node_of = |pod: &Pod| pod.spec.as_ref()?.node_name.clone();
    let used: Vec<String> = pods.iter().filter_map(node_of).collect();
    let nodes: Api<Node> = Api::all(subject.kube.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.map_err(|error| error.to_string())?.items;
    choose(&nodes, &used).ok_or_else(|| {
        format!(
            "no node is ready, takes pods and has no member: members are on {}",
            used.join(", ")
        )
    })
}

fn choose(nodes: &[Node], used: &[String]) -> Option<String> {
    let takes_pods = |node: &Node| {
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.as_ref();
        let mut conditions = status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        spec.unschedulable != Some(true)
            && spec.taints.unwrap_or_default().is_empty()
            && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let free = nodes.iter().filter(|node| takes_pods(node));
    let mut names: Vec<String> = free.map(ResourceExt::name_any).collect();
    names.retain(|name| !used.contains(name));
    names.into_iter().min()
}

/// What a request says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) phase: String,
    pub(super) text: String,
}

impl Told {
    fn of(object: &DynamicObject) -> Self {
        let status = &object.data["status"];
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let last = conditions.last().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            phase: text(&status["phase"]),
            text: format!("{} {}", text(&status["progress"]), text(&last["message"])),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(
            self.phase.as_str(),
            "Succeed" | "Failed" | "Aborted" | "Cancelled"
        )
    }

    pub(super) fn succeeded(&self) -> bool {
        self.phase == "Succeed"
    }
}

/// Makes the first request of an operation, the `number`th of its run; the leader is in the pod `leader`.
pub(super) async fn ask(
    subject: &Subject,
    operation: Operation,
    number: u32,
    leader: &str,
) -> Result<Asked, RunError> {
    let replaced = Replaced::of(subject, operation, leader).await?;
    if operation.changes_minor() {
        backup::on_a_claim(subject).await?;
    }
    let before = match operation {
        Operation::Switchover => State::agreed(subject).await?,
        _ => State::of(subject).await?,
    };
    let lost = operation.loses(&subject.pod_names(), leader);
    if !lost.is_empty() {
        disaster::strike(subject, &lost).await?;
    }
    let mut rest = operation.specs(subject.members, leader, replaced.as_ref());
    rest.reverse();
    let mut asked = Asked {
        api: Api::namespaced_with(subject.kube.clone(), &subject.namespace, &resource()),
        namespace: subject.namespace.clone(),
        name: format!("{}-{number}", operation.word()),
        rest,
        before,
        replaced,
    };
    asked.next().await?;
    Ok(asked)
}

impl Asked {
    /// Makes the next request; false when there is none.
    async fn next(&mut self) -> Result<bool, RunError> {
        let Some(spec) = self.rest.pop() else {
            return Ok(false);
        };
        let kind = spec["type"].as_str().unwrap_or_default().to_lowercase();
        self.name = format!("{}-{kind}", self.name);
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "operations.kubeblocks.io/v1alpha1",
            "kind": "OpsRequest",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": spec,
        }))
        .map_err(|error| RunError::Wait(error.to_string()))?;
        let made = self.api.create(&PostParams::default(), &object).await;
        made.map(|_| true).map_err(|error| {
            RunError::Wait(format!("failed to make OpsRequest {}: {error}", self.name))
        })
    }

    /// Waits until it is running, or has ended already.
    pub(super) async fn begun(&self) -> Result<Told, RunError> {
        let begun = |told: &Told| told.phase == "Running" || told.has_ended();
        let limit = timeouts::patient(timeouts::EFFECT_SLOW);
        self.wait("begun", limit, begun).await
    }

    /// Waits until it has ended, and makes the next one when that was a success; tells the last one's end.
    pub(super) async fn ended(&mut self, limit: Duration) -> Result<Told, RunError> {
        loop {
            let told = self.wait("ended", limit, Told::has_ended).await?;
            if !told.succeeded() || !self.next().await? {
                return Ok(told);
            }
        }
    }

    async fn wait(
        &self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&Told) -> bool,
    ) -> Result<Told, RunError> {
        let what = format!("OpsRequest {} has {what}", self.name);
        let found = wait_until(what, limit, async || match self.api.get(&self.name).await {
            Ok(object) => {
                let told = Told::of(&object);
                if fits(&told) {
                    Poll::Ready(told)
                } else {
                    Poll::NotYet::<_, String>(format!("{} {}", told.phase, told.text))
                }
            }
            Err(error) => Poll::NotYet(error.to_string()),
        });
        found
            .await
            .map_err(|error| RunError::Wait(error.to_string()))
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "operations.kubeblocks.io",
        "v1alpha1",
        "OpsRequest",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaling_says_the_difference_and_which_way() {
        let wish = |operation: Operation, members| {
            operation.specs(members, "", None)[0]["horizontalScaling"][0].clone()
        };
        assert_eq!(
            wish(Operation::Scale(5), 3)["scaleOut"]["replicaChanges"],
            2
        );
        assert_eq!(wish(Operation::Scale(1), 3)["scaleIn"]["replicaChanges"], 2);
    }

    /// The judge knows one value for a whole run.
    #[test]
    fn no_request_changes_what_etcd_compacts_by_itself() {
        let specs = Operation::Reconfigure.specs(3, "q-0", None);
        let told = serde_json::to_string(&specs).expect("it is JSON");
        assert!(!told.contains("auto-compaction"), "{told}");
    }

    #[test]
    fn the_size_that_is_too_large_is_the_one_that_is_requested() {
        let operation = Operation::GrowTooFar {
            first: 8192,
            then: 512,
        };
        let specs = operation.specs(3, "q-0", None);
        let claim = json!({ "name": "data", "storage": "8192Mi" });
        let expansion = &specs[0]["volumeExpansion"][0];
        assert_eq!(expansion["volumeClaimTemplates"], json!([claim]));
        assert_eq!((specs.len(), operation.limit()), (1, timeouts::GROWTH));
    }

    #[test]
    fn members_are_renewed_where_it_is_asked_for() {
        let pods: Vec<String> = (0..5).map(|n| format!("q-{n}")).collect();
        assert_eq!(Operation::RecoverQuorum.renews(&pods, "q-1"), pods);
        assert_eq!(Operation::MoveVolumes.renews(&pods, "q-1"), pods);
        assert_eq!(Operation::RebuildFollower.renews(&pods, "q-4"), ["q-3"]);
        assert_eq!(Operation::MoveFollower.renews(&pods, "q-4"), ["q-3"]);
        assert!(Operation::Switchover.renews(&pods, "q-1").is_empty());
    }

    #[test]
    fn a_follower_moves_to_a_node_that_takes_it_and_has_no_member() {
        let node = |name: &str, ready: &str, spec: &Value| -> Node {
            let conditions = json!([{ "type": "Ready", "status": ready }]);
            let node = json!({ "metadata": { "name": name }, "spec": spec,
                "status": { "conditions": conditions } });
            serde_json::from_value(node).expect("a node")
        };
        let taint = json!({ "taints": [{ "key": "control-plane", "effect": "NoSchedule" }] });
        let mut nodes = vec![
            node("a", "True", &taint),
            node("b", "False", &json!({})),
            node("c", "True", &json!({ "unschedulable": true })),
            node("d", "True", &json!({})),
        ];
        let used = ["d".to_owned()];
        assert_eq!(choose(&nodes, &used), None);
        nodes.push(node("e", "True", &json!({})));
        let target = choose(&nodes, &used);
        assert_eq!(target.as_deref(), Some("e"));
        let pod = "q-3".to_owned();
        let spec = &Operation::MoveFollower.specs(5, "q-4", Some(&Replaced { pod, target }))[0];
        let instance = json!({ "name": "q-3", "targetNodeName": "e" });
        assert_eq!(spec["rebuildFrom"][0]["instances"], json!([instance]));
    }

    #[test]
    fn another_minor_takes_a_repository_and_another_patch_does_not() {
        let upgrade = |from, to| Operation::Upgrade { from, to };
        assert!(upgrade("3.5.35", "3.6.16").changes_minor());
        assert!(upgrade("3.6.16", "3.5.35").changes_minor());
        assert!(!upgrade("3.6.1", "3.6.16").changes_minor());
        assert!(!Operation::Restart.changes_minor());
    }

    #[test]
    fn a_request_tells_its_last_word() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "x", "metadata": {},
            "status": { "phase": "Failed", "progress": "1/2", "conditions": [{ "message": "old" }, { "message": "it lags" }] },
        }))
        .expect("an object");
        let told = Told::of(&object);
        assert!(told.has_ended() && !told.succeeded());
        assert_eq!(told.text, "1/2 it lags");
    }
}
