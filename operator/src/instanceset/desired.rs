//! What an InstanceSet shall be: the only reader of its raw spec. Pure.
//!
//! A field that cannot be read ends here, with its path, and touches no member.

use std::collections::BTreeMap;

use etcd_operator_api::instance_set::{InstanceSet, InstanceSetStatus};
use etcd_operator_api::labels;
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::opaque::NotOfType;
use etcd_operator_api::update::{InstanceUpdateStrategyType, MemberUpdateStrategy, amount};
use etcd_operator_api::volume::{Retention, VolumeClaimTemplate};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

/// The wish, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Name of the InstanceSet, the root of its children's names.
    pub name: ComponentName,
    /// Its namespace.
    pub namespace: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// Reference to it, for its children.
    pub owner: OwnerReference,
    /// UID of the Cluster: part of the token and of every data directory (B4).
    pub cluster_uid: String,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// Labels of every child.
    pub labels: BTreeMap<String, String>,
    /// Names of the pods that shall be members, lowest ordinal first.
    pub members: Vec<String>,
    /// True when no pod shall run.
    pub stop: bool,
    /// True when nothing shall be changed.
    pub paused: bool,
    /// True when all shall go.
    pub deleting: bool,
    /// True when the finalizer is there.
    pub has_finalizer: bool,
    /// What a pod is made of.
    pub template: PodTemplateSpec,
    /// What a pod's claims are made of.
    pub claims: Vec<VolumeClaimTemplate>,
    /// True when claims stay after a member has left.
    pub keep_when_scaled: bool,
    /// True when claims stay after the InstanceSet.
    pub keep_when_deleted: bool,
    /// Seconds that a pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// How pods are updated.
    pub update: Update,
    /// Environment that is no part of the revision.
    pub vars: BTreeMap<String, String>,
    /// Annotations of the headless service.
    pub service_annotations: BTreeMap<String, String>,
    /// Roles that are declared, by name.
    pub roles: Vec<etcd_operator_api::component_definition::ReplicaRole>,
    /// What was recorded before: latches are read from it, nothing else (C1).
    pub recorded: InstanceSetStatus,
}

/// How pods are updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// False when the user deletes pods to update them.
    pub rolling: bool,
    /// How many pods may have the new revision.
    pub replicas: usize,
    /// How many pods may be unavailable at a time; quorum is kept whatever it says.
    pub at_a_time: usize,
}

impl Desired {
    /// Reads an InstanceSet.
    ///
    /// # Errors
    /// When a field does not have the type it needs.
    pub fn read(its: &InstanceSet, cluster_domain: &str) -> Result<Self, NotOfType> {
        let spec = &its.spec;
        let name = ComponentName::existing(&its.name_any());
        let replicas = if spec.stop {
            0
        } else {
            spec.replicas.clamp(0, 7)
        } as u32;
        // Members may always go, whatever their number.
        if !spec.stop && its.metadata.deletion_timestamp.is_none() {
            odd(spec.replicas)?;
        }
        let template: PodTemplateSpec = spec.template.parse("spec.template")?;
        if template.spec.is_none() {
            let reason = "it has no spec".to_owned();
            return Err(NotOfType {
                field: "spec.template".to_owned(),
                reason,
            });
        }
        let retention = &spec.persistent_volume_claim_retention_policy;
        let keeps = |policy: Option<Retention>| policy == Some(Retention::Retain);
        let uid = its.uid().unwrap_or_default();
        Ok(Self {
            namespace: its.namespace().unwrap_or_default(),
            generation: its.metadata.generation,
            owner: its.controller_owner_ref(&()).unwrap_or_default(),
            cluster_uid: its
                .annotations()
                .get(labels::CLUSTER_UID)
                .cloned()
                .unwrap_or(uid),
            cluster_domain: cluster_domain.to_owned(),
            labels: spec.selector.match_labels.clone().unwrap_or_default(),
            members: name.pods(replicas, &spec.offline_instances),
            stop: replicas == 0,
            paused: spec.paused,
            deleting: its.metadata.deletion_timestamp.is_some(),
            has_finalizer: its
                .finalizers()
                .iter()
                .any(|f| f == labels::INSTANCE_SET_FINALIZER),
            claims: spec.volume_claim_templates.clone(),
            keep_when_scaled: keeps(retention.when_scaled),
            keep_when_deleted: keeps(retention.when_deleted),
            min_ready_seconds: i64::from(spec.min_ready_seconds),
            update: update(its, replicas as usize),
            vars: spec.template_vars.clone(),
            service_annotations: spec.headless_service_annotations.clone(),
            roles: spec.roles.clone(),
            recorded: its.status.clone().unwrap_or_default(),
            template,
            name,
        })
    }

    /// Domain of the pods' host names.
    #[must_use]
    pub fn domain(&self) -> String {
        let (name, namespace) = (&self.name, &self.namespace);
        etcd_operator_api::names::headless_domain(name, namespace, &self.cluster_domain)
    }

    /// True when `pod` shall be a member.
    #[must_use]
    pub fn wants(&self, pod: &str) -> bool {
        self.members.iter().any(|name| name == pod)
    }
}

/// Admission refuses an even count first, where its rules are installed.
fn odd(replicas: i32) -> Result<(), NotOfType> {
    if replicas == 0 || replicas % 2 == 1 {
        return Ok(());
    }
    let (below, above) = (replicas - 1, replicas + 1);
    Err(NotOfType {
        field: "spec.replicas".to_owned(),
        reason: format!("it is {replicas} and must be odd: {below} or {above}"),
    })
}

fn update(its: &InstanceSet, replicas: usize) -> Update {
    let strategy = &its.spec.instance_update_strategy;
    let rolling = strategy.rolling_update.as_ref();
    let at_a_time = match its.spec.member_update_strategy {
        MemberUpdateStrategy::Serial => 1,
        MemberUpdateStrategy::BestEffortParallel | MemberUpdateStrategy::Parallel => replicas,
    };
    let limit = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let limit = limit.map_or(replicas, |limit| amount(limit, replicas).max(1));
    let upto = rolling.and_then(|rolling| rolling.replicas.as_ref());
    Update {
        rolling: strategy.kind == InstanceUpdateStrategyType::RollingUpdate,
        replicas: upto.map_or(replicas, |upto| amount(upto, replicas)),
        at_a_time: at_a_time.min(limit),
    }
}
