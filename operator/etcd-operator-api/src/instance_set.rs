//! InstanceSet: members with stable identities, their pods and claims. Data and admission rules only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component_definition::ReplicaRole;
use crate::defragmentation::Defragmentation;
use crate::lifecycle::{Action, LifecycleActions};
use crate::opaque::Opaque;
use crate::recovery::Recovery;
use crate::rules;
use crate::update::{
    InstanceUpdateStrategy, MemberUpdateStrategy, PodManagementPolicy, PodUpdatePolicy,
};
use crate::volume::{RetentionPolicy, VolumeClaimTemplate};

/// The desired state of an InstanceSet. Written by the Component controller.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "workloads.kubeblocks.io",
    version = "v1",
    kind = "InstanceSet",
    namespaced,
    status = "InstanceSetStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "its",
    category = "kubeblocks",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas"
    ),
    doc = "Members of a component: pods with stable names and their own claims.",
    printcolumn = r#"{"name":"READY","type":"integer","jsonPath":".status.readyReplicas"}"#,
    printcolumn = r#"{"name":"DESIRED","type":"integer","jsonPath":".spec.replicas"}"#,
    printcolumn = r#"{"name":"UP-TO-DATE","type":"integer","jsonPath":".status.updatedReplicas"}"#,
    printcolumn = r#"{"name":"AVAILABLE","type":"integer","jsonPath":".status.availableReplicas"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::zero_when_stopped(),
    rules::unsupported_entries("instances"),
    rules::pod_update_policy(),
]))]
pub struct InstanceSetSpec {
    /// Number of members: 1, 3, 5 or 7; 0 only when stopped.
    #[schemars(
        range(min = -2147483648_i64, max = 2147483647),
        extend("x-kubernetes-validations" = rules::odd_replicas())
    )]
    pub replicas: i32,
    /// True when the members are stopped: pods go, claims and membership stay, whatever `replicas` says.
    #[serde(default)]
    pub stop: bool,
    /// Seconds that a pod must be ready to count as available.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,
    /// Labels that all pods have.
    pub selector: LabelSelector,
    /// A `PodTemplateSpec` of Kubernetes.
    pub template: Opaque,
    /// Claims of each pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub volume_claim_templates: Vec<VolumeClaimTemplate>,
    /// How long claims live.
    #[serde(default)]
    pub persistent_volume_claim_retention_policy: RetentionPolicy,
    /// In what order pods are made.
    #[serde(default)]
    pub pod_management_policy: PodManagementPolicy,
    /// Whether a change recreates pods.
    #[serde(default)]
    pub pod_update_policy: PodUpdatePolicy,
    /// How pods are updated.
    #[serde(default)]
    pub instance_update_strategy: InstanceUpdateStrategy,
    /// How many members may be updated at a time.
    #[serde(default)]
    pub member_update_strategy: MemberUpdateStrategy,
    /// The roles that members may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub roles: Vec<ReplicaRole>,
    /// How leadership is moved before a leader's pod is stopped (KubeBlocks' place for it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership_reconfiguration: Option<MembershipReconfiguration>,
    /// Actions of the component's definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_actions: Option<LifecycleActions>,
    /// Environment of all containers that is not part of the pods' revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub template_vars: BTreeMap<String, String>,
    /// Annotations of the headless service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headless_service_annotations: BTreeMap<String, String>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub instances: Vec<Opaque>,
    /// Names of pods that must not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub offline_instances: Vec<String>,
    /// True makes the operator leave pods, claims and members alone. Set by hand: the Component never writes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// How membership changes are carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembershipReconfiguration {
    /// How leadership is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<Action>,
}

/// What is known of an InstanceSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSetStatus {
    /// Generation of the spec that the rest describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods that have been ready for `minReadySeconds`.
    #[serde(default)]
    pub available_replicas: i32,
    /// Pods of `currentRevision`.
    #[serde(default)]
    pub current_replicas: i32,
    /// Pods of `updateRevision`.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Members at bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_replicas: Option<i32>,
    /// Members at bootstrap that have been ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_init_replicas: Option<i32>,
    /// Revision that all pods had last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// Desired revision of all pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<String>,
    /// Revisions that pods have, by pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub current_revisions: BTreeMap<String, String>,
    /// Desired revision of each pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub update_revisions: BTreeMap<String, String>,
    /// Conditions; docs/troubleshooting.md lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Ready pods with a declared role, leader first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members_status: Vec<MemberStatus>,
    /// Identifier of the etcd cluster (hexadecimal), set once when bootstrap has succeeded and never changed
    /// (rules B1, B2): from then on no member is ever bootstrapped again.
    #[serde(default, rename = "clusterID", skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Pods that bootstrap the cluster, frozen before the first of them is made (rule B1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bootstrap_members: Vec<String>,
    /// Member identifiers (hexadecimal) last seen, by pod. Rule M11: a pod without its data is not this member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<KnownMember>,
    /// How a quorum that did not come back is recovered (rule D11); the last one stays on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Members that are defragmented because their owner asked for it; the last request stays on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defragmentation: Option<Defragmentation>,
    /// The minor that reads the data of all members, during a downgrade, or their logs, before an upgrade to 3.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readable_by: Option<String>,
    /// Before an upgrade to 3.7: a raft index that was committed when every member ran 3.6 or later, so that what
    /// servers of 3.5 wrote to the log is before it (rule V7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_requests_end: Option<i64>,
    /// Nodes that new members are placed on, as a RebuildInstance asked, until they vote, or have not started there
    /// within 15 minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<Placement>,
    /// The volumes of members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeStatus>,
    /// What is being waited for; empty when nothing is to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_on: Vec<WaitingOn>,
    /// Users of etcd, where it has been given some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<AccountsStatus>,
    /// The first thing that is being waited for, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What etcd has of the users that it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountsStatus {
    /// The generation of users that it has in full, with authentication switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// Why it has not the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A ready pod and its role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The pod.
    pub pod_name: String,
    /// Its role.
    pub role: ReplicaRole,
}

/// A pod and the member that lives in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KnownMember {
    /// The pod.
    pub pod_name: String,
    /// The member's identifier, hexadecimal.
    #[serde(rename = "memberID")]
    pub member_id: String,
    /// True while the member has no vote.
    #[serde(default)]
    pub is_learner: bool,
    /// The version of etcd that it runs, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What its store of etcd's API v2 holds, in 3.5: servers of 3.6 do not start with what clients have left there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2_store: Option<V2StoreStatus>,
}

/// What a member's store of etcd's API v2 holds, as etcd's own check says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct V2StoreStatus {
    /// True when clients have left nothing there, false when they have; absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean: Option<bool>,
    /// What was found, or why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The node that a new member is placed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// The pod.
    pub pod_name: String,
    /// Name of the node.
    pub node_name: String,
    /// Identifier (hexadecimal) of the member that is replaced: its own pod is not bound to the node.
    #[serde(rename = "memberID")]
    pub member_id: String,
}

/// How large a member's volume is, and of which class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStatus {
    /// Name of the claim template.
    pub name: String,
    /// The pod.
    pub pod_name: String,
    /// Storage class that was asked for when its claim was made, also where a policy of the cluster has put another one
    /// into the claim; empty for none, absent until it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// What its claim asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
    /// What its claim has, as Kubernetes says; absent until there is a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// Bytes of the file system that holds etcd's data, as the pod itself sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system_bytes: Option<i64>,
}

/// A step that is not taken, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingOn {
    /// A fixed word.
    pub reason: String,
    /// What exactly is being waited for.
    pub message: String,
}
