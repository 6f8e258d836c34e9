//! PURE: what each type of operation is: one file a type, behind one trait.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{
    ComponentOps, LastComponentConfiguration, LastConfiguration, OpsRequestSpec,
};
use etcd_operator_api::{
    Cluster, ClusterPhase, ComponentPhase, InstanceSet, InstanceSetStatus, OpsRequest, OpsType,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};

use super::edit::{Change, Field};
use super::observed::Seen;
use super::obstacle::Needs;
use super::progress::{Progress, Row, View, by_pods, has_newest_revision};
use super::refusal::Refused;

mod expose;
mod horizontal_scaling;
mod rebuild_instance;
mod reconfiguring;
mod recover_quorum;
mod restart;
mod start;
mod stop;
mod switchover;
mod upgrade;
mod vertical_scaling;

pub(super) use expose::objects as services_of;
pub(super) use rebuild_instance::begun;
pub(super) use recover_quorum::{under_way, wishes, withdrawn};
pub(super) use switchover::leaders;

/// Time for what needs no more than a few pods to start or stop, or a platform to give an address.
const SHORT: Duration = Duration::from_secs(600);
/// Time for members that are recreated, or copy all data, one after the other.
const LONG: Duration = Duration::from_secs(3600);

/// Name of the agent's container.
const AGENT: &str = "kbagent";

/// A type of operation.
pub(super) trait Kind: Sync {
    /// The field that says to what it is done, and the components that it names.
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>);

    /// Whether naming no component means all of them.
    fn means_all(&self) -> bool {
        false
    }

    /// Phases of the Cluster in which it may begin without `force`: KubeBlocks' table.
    fn begins_in(&self, phase: ClusterPhase) -> bool {
        matches!(
            phase,
            ClusterPhase::Running | ClusterPhase::Failed | ClusterPhase::Abnormal
        )
    }

    /// KubeBlocks' condition while it is under way.
    fn started(&self) -> (ConditionType, Reason);

    /// How long it may take when the request does not say.
    fn deadline(&self) -> Duration;

    /// What it needs of its components to come to its end.
    fn needs(&self, spec: &OpsRequestSpec) -> Needs;

    /// Whether the request fits the Cluster. Adds to what is on record of the state before.
    fn check(
        &self,
        _request: &OpsRequest,
        _seen: &Seen,
        _before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        Ok(())
    }

    /// The edit of a component's spec; `began` is when the operation did.
    fn fields(&self, edited: &Edited<'_>) -> Result<Vec<Field>, Refused>;

    /// The edit of the Cluster's services.
    fn services(&self, _request: &OpsRequest) -> Vec<Change> {
        Vec::new()
    }

    /// Phase of a component when it is done.
    fn due(&self) -> ComponentPhase {
        ComponentPhase::Running
    }

    /// Whether etcd's member list is what the spec wants: as many voters, no other member.
    fn is_settled(&self, set: &InstanceSet, status: &InstanceSetStatus) -> bool {
        let voters = status.members.iter().filter(|m| !m.is_learner).count();
        voters == status.members.len() && i32::try_from(voters) == Ok(set.spec.replicas)
    }

    /// The pods that it is about, and what is still missing for each.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        rows_of_all(facts)
    }

    /// What came of it, for the message of its end; an error when nothing more will.
    fn outcome(&self, _view: &View<'_>) -> Result<String, String> {
        Ok(String::new())
    }

    /// How far it is.
    fn progress(&self, view: &View<'_>) -> Progress {
        by_pods(self, view)
    }
}

/// A component that an operation edits.
pub(super) struct Edited<'a> {
    pub(super) spec: &'a OpsRequestSpec,
    /// Name of the component.
    pub(super) component: &'a str,
    /// Its state before the operation.
    pub(super) last: &'a LastComponentConfiguration,
    /// When the operation began.
    pub(super) began: &'a str,
}

/// A component whose pods are looked at for what an operation has done.
pub(super) struct Facts<'a> {
    pub(super) spec: &'a OpsRequestSpec,
    pub(super) component: &'a str,
    /// Its state before the operation.
    pub(super) last: &'a LastComponentConfiguration,
    pub(super) cluster: &'a Cluster,
    pub(super) set: &'a InstanceSet,
    /// The InstanceSet's status.
    pub(super) status: &'a InstanceSetStatus,
    /// The Cluster's pods, by name.
    pub(super) pods: &'a BTreeMap<String, Pod>,
}

impl Facts<'_> {
    /// A row for each pod of the component: it has its newest revision, serves in a role, and `lacks` nothing else.
    fn rows_after_rollout(&self, lacks: impl Fn(&str) -> Option<String>) -> Vec<Row> {
        let all = self.status.update_revisions.keys();
        all.map(|pod| Row {
            pod: pod.clone(),
            lacks: has_newest_revision(self.status, pod)
                .err()
                .or_else(|| lacks(pod)),
        })
        .collect()
    }

    /// What the pods are made from.
    fn template(&self) -> Option<PodSpec> {
        let template = self.set.spec.template.parse::<PodTemplateSpec>("template");
        template.ok()?.spec
    }

    /// The container of a pod that runs etcd: the template's first one but for the agent, which the kubelet starts
    /// before it. Others may have put more containers into the pod.
    fn etcd_of<'p>(&self, pod: &'p PodSpec) -> Option<&'p Container> {
        let template = self.template()?;
        let etcd = template.containers.iter().find(|c| c.name != AGENT)?;
        pod.containers.iter().find(|c| c.name == etcd.name)
    }
}

/// The type's own file.
pub(super) fn of(kind: OpsType) -> &'static dyn Kind {
    match kind {
        OpsType::Restart => &restart::Restart,
        OpsType::Stop => &stop::Stop,
        OpsType::Start => &start::Start,
        OpsType::HorizontalScaling => &horizontal_scaling::HorizontalScaling,
        OpsType::VerticalScaling => &vertical_scaling::VerticalScaling,
        OpsType::Switchover => &switchover::Switchover,
        OpsType::Upgrade => &upgrade::Upgrade,
        OpsType::Reconfiguring => &reconfiguring::Reconfiguring,
        OpsType::Expose => &expose::Expose,
        OpsType::RebuildInstance => &rebuild_instance::RebuildInstance,
        OpsType::RecoverQuorum => &recover_quorum::RecoverQuorum,
    }
}

fn plain(field: &'static str, list: &[ComponentOps]) -> (&'static str, Vec<String>) {
    let names = list.iter().map(|ops| ops.component_name.clone());
    (field, names.collect())
}

/// All pods of the component: each has its newest revision and serves in a role.
pub(super) fn rows_of_all(facts: &Facts<'_>) -> Vec<Row> {
    facts.rows_after_rollout(|_| None)
}
