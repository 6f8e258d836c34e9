//! The desired state of an InstanceSet: the only reader of its raw spec. Pure.
//!
//! A field that cannot be read ends here, with its path, and touches no member.

use std::collections::BTreeMap;

use etcd_operator_api::defragmentation::DefragmentationWish;
use etcd_operator_api::instance_set::{InstanceSet, InstanceSetStatus};
use etcd_operator_api::labels;
use etcd_operator_api::lifecycle::Action;
use etcd_operator_api::names::{self, ComponentName};
use etcd_operator_api::opaque::NotOfType;
use etcd_operator_api::recovery::RecoveryWish;
use etcd_operator_api::restore::{SEED, Seed};
use etcd_operator_api::rules::MAX_REPLICAS;
use etcd_operator_api::update::{
    InstanceUpdateStrategyType, MemberUpdateStrategy, PodManagementPolicy, PodUpdatePolicy, amount,
};
use etcd_operator_api::volume::{Retention, VolumeClaimTemplate};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::controller::is_orphaning;
use crate::definition::Minor;

/// The desired state, parsed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Desired {
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
    /// Names of the pods that are to be members, lowest ordinal first.
    pub members: Vec<String>,
    /// True when no pod may run.
    pub stop: bool,
    /// True when nothing may be changed.
    pub paused: bool,
    /// True when everything is to be deleted.
    pub deleting: bool,
    /// True when it was deleted and stays anyway: its Cluster must not be terminated.
    pub held: bool,
    /// True when what it owns is to stay without it, if it is deleted.
    pub orphaning: bool,
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
    /// True when a change of labels or annotations recreates pods, too.
    pub recreate: bool,
    /// Time limits of the agents' actions in seconds, where the definition sets them.
    pub limits: Limits,
    /// Environment that is no part of the revision.
    pub vars: BTreeMap<String, String>,
    /// Annotations of the headless service.
    pub service_annotations: BTreeMap<String, String>,
    /// Seconds after which a member is replaced whose node is not ready; `None` for never.
    pub replace_after: Option<i64>,
    /// The request to give up a quorum, when there is one.
    pub recovery: Option<RecoveryWish>,
    /// The request to defragment members, when there is one.
    pub defragmentation: Option<DefragmentationWish>,
    /// The minor that etcd's data is to be led back to.
    pub downgrade: Option<Minor>,
    /// The minor for whose servers the members' logs are prepared.
    pub upgrade: Option<Minor>,
    /// The version that pods stay of until what comes before another minor is done.
    pub minor_awaited: Option<String>,
    /// Roles that are declared, by name.
    pub roles: Vec<etcd_operator_api::component_definition::ReplicaRole>,
    /// UID of the Backup that the first member's data comes from, instead of none.
    pub seed: Option<String>,
    /// What was recorded before: latches are read from it, nothing else (C1).
    pub recorded: InstanceSetStatus,
}

/// Time limits in seconds; `None` leaves it to the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of a join and of the vote that follows.
    pub join: Option<u32>,
    /// Of a removal.
    pub leave: Option<u32>,
    /// Of a move of leadership.
    pub switchover: Option<u32>,
}

/// How pods are updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Update {
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
    pub(crate) fn read(its: &InstanceSet, cluster_domain: &str) -> Result<Self, NotOfType> {
        let spec = &its.spec;
        let name = ComponentName::existing(&its.name_any());
        let replicas = if spec.stop {
            0
        } else {
            spec.replicas.clamp(0, MAX_REPLICAS)
        } as u32;
        // Members may always go, whatever their number.
        if !spec.stop && its.metadata.deletion_timestamp.is_none() {
            odd(spec.replicas)?;
        }
        let policy = its.annotations().get(labels::TERMINATION_POLICY);
        let kept = policy.is_some_and(|policy| policy == labels::HELD);
        let deleted = its.metadata.deletion_timestamp.is_some();
        let template = if deleted && !kept {
            // No pod is made of one that goes, whatever is in it.
            PodTemplateSpec::deserialize(&spec.template.0).unwrap_or_default()
        } else {
            template(its)?
        };
        let asked = Asked::of(its, deleted && !kept)?;
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
            deleting: deleted && !kept,
            held: deleted && kept,
            orphaning: is_orphaning(its),
            has_finalizer: its
                .finalizers()
                .iter()
                .any(|f| f == labels::INSTANCE_SET_FINALIZER),
            claims: spec.volume_claim_templates.clone(),
            keep_when_scaled: keeps(retention.when_scaled),
            keep_when_deleted: kept || keeps(retention.when_deleted),
            min_ready_seconds: i64::from(spec.min_ready_seconds),
            update: update(its, replicas as usize),
            recreate: spec.pod_update_policy == PodUpdatePolicy::ReCreate,
            limits: limits(its),
            vars: spec.template_vars.clone(),
            service_annotations: spec.headless_service_annotations.clone(),
            replace_after: replace_after(its),
            recovery: asked.recovery,
            defragmentation: asked.defragmentation,
            downgrade: asked.downgrade,
            upgrade: asked.upgrade,
            minor_awaited: its.annotations().get(labels::MINOR_AWAITED).cloned(),
            roles: spec.roles.clone(),
            seed: asked.seed,
            recorded: its.status.clone().unwrap_or_default(),
            template,
            name,
        })
    }

    /// Domain of the pods' host names.
    #[must_use]
    pub(crate) fn domain(&self) -> String {
        let (name, namespace) = (&self.name, &self.namespace);
        etcd_operator_api::names::headless_domain(name, namespace, &self.cluster_domain)
    }

    /// Name of the claim template that etcd's data is on.
    #[must_use]
    pub(crate) fn data_claim(&self) -> &str {
        let named = self
            .claims
            .iter()
            .find(|template| template.name == names::DATA);
        named
            .or_else(|| self.claims.first())
            .map_or(names::DATA, |template| &template.name)
    }

    /// True when `pod` is to be a member.
    #[must_use]
    pub(crate) fn wants(&self, pod: &str) -> bool {
        self.members.iter().any(|name| name == pod)
    }
}

/// What annotations ask for.
#[derive(Default)]
struct Asked {
    recovery: Option<RecoveryWish>,
    defragmentation: Option<DefragmentationWish>,
    downgrade: Option<Minor>,
    upgrade: Option<Minor>,
    seed: Option<String>,
}

impl Asked {
    /// One that cannot be read keeps no InstanceSet that goes.
    fn of(its: &InstanceSet, goes: bool) -> Result<Self, NotOfType> {
        match Self::read(its) {
            Err(_) if goes => Ok(Self::default()),
            asked => asked,
        }
    }

    fn read(its: &InstanceSet) -> Result<Self, NotOfType> {
        Ok(Self {
            recovery: wish(its, labels::RECOVER, "RecoverQuorum")?,
            defragmentation: wish(its, labels::DEFRAGMENT, "Custom")?,
            downgrade: minor(its, labels::DOWNGRADE)?,
            upgrade: minor(its, labels::UPGRADE)?,
            seed: seed(its)?,
        })
    }
}

/// Admission refuses an even count first, where its rules are installed.
fn odd(replicas: i32) -> Result<(), NotOfType> {
    if replicas == 0 || replicas % 2 == 1 {
        return Ok(());
    }
    let (below, above) = (replicas.saturating_sub(1), replicas.saturating_add(1));
    Err(NotOfType {
        field: "spec.replicas".to_owned(),
        reason: format!("it is {replicas} and must be odd: {below} or {above}"),
    })
}

/// What is not a number of minutes was refused when the Component was read.
fn replace_after(its: &InstanceSet) -> Option<i64> {
    let minutes = its.annotations().get(labels::REPLACE_UNREACHABLE)?;
    let minutes = labels::minutes_unreachable(minutes)?;
    Some(i64::from(minutes) * 60)
}

/// What an OpsRequest of this type asks for.
fn wish<T: DeserializeOwned>(
    its: &InstanceSet,
    annotation: &str,
    kind: &str,
) -> Result<Option<T>, NotOfType> {
    let Some(text) = its.annotations().get(annotation) else {
        return Ok(None);
    };
    let wish = serde_json::from_str(text).map_err(|error| NotOfType {
        field: format!("metadata.annotations[{annotation}]"),
        reason: format!("{error}; remove it, and ask for it by an OpsRequest {kind}"),
    })?;
    Ok(Some(wish))
}

/// The minor to go to.
fn minor(its: &InstanceSet, annotation: &str) -> Result<Option<Minor>, NotOfType> {
    let Some(text) = its.annotations().get(annotation) else {
        return Ok(None);
    };
    let minor = Minor::of(text).ok_or_else(|| NotOfType {
        field: format!("metadata.annotations[{annotation}]"),
        reason: format!("it is {text:?}, no minor such as 3.5; set serviceVersion in the Cluster"),
    })?;
    Ok(Some(minor))
}

/// The backup to begin with. One that cannot be read is an error: without it an empty cluster would be made.
fn seed(its: &InstanceSet) -> Result<Option<String>, NotOfType> {
    let Some(text) = its.annotations().get(SEED) else {
        return Ok(None);
    };
    let seed: Seed = serde_json::from_str(text).map_err(|error| NotOfType {
        field: format!("metadata.annotations[{SEED}]"),
        reason: error.to_string(),
    })?;
    Ok(Some(seed.backup_uid))
}

/// What pods are made of.
fn template(its: &InstanceSet) -> Result<PodTemplateSpec, NotOfType> {
    let wrong = |field: &str, reason: &str| NotOfType {
        field: field.to_owned(),
        reason: reason.to_owned(),
    };
    if let Some((field, reason)) = without_effect(its) {
        return Err(wrong(field, reason));
    }
    let template: PodTemplateSpec = its.spec.template.parse("spec.template")?;
    match template.spec {
        None => Err(wrong("spec.template", "it has no spec")),
        Some(_) => Ok(template),
    }
}

/// Fields of which nothing would come.
fn without_effect(its: &InstanceSet) -> Option<(&'static str, &'static str)> {
    let spec = &its.spec;
    let expressions = spec.selector.match_expressions.as_ref();
    if expressions.is_some_and(|all| !all.is_empty()) {
        let why = "it is not supported: pods are known by matchLabels";
        return Some(("spec.selector.matchExpressions", why));
    }
    let ordered = spec.pod_management_policy == PodManagementPolicy::OrderedReady;
    let why = "OrderedReady is not supported: no member is ready before a quorum runs";
    ordered.then_some(("spec.podManagementPolicy", why))
}

fn limits(its: &InstanceSet) -> Limits {
    let Some(actions) = &its.spec.lifecycle_actions else {
        return Limits::default();
    };
    let of = |action: &Option<Action>| {
        let seconds = u32::try_from(action.as_ref()?.timeout_seconds).ok()?;
        (seconds > 0).then_some(seconds)
    };
    Limits {
        join: of(&actions.member_join),
        leave: of(&actions.member_leave),
        switchover: of(&actions.switchover),
    }
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
