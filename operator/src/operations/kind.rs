//! PURE: what there is to say of a type of operation, and what an edit of its own is made from.

use std::time::Duration;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{
    ComponentOps, LastComponentConfiguration, LastConfiguration, OpsRequestSpec,
};
use etcd_operator_api::{ClusterPhase, ComponentPhase, InstanceSet, InstanceSetStatus, OpsRequest};

use super::edit::{Change, Field};
use super::facts::{Facts, Progress, Row, View, rows_of_all};
use super::observed::Seen;
use super::obstacle::Needs;
use super::refusal::Refused;

/// Time for what needs no more than a few pods to start or stop, or a platform to give an address.
pub(super) const SHORT: Duration = Duration::from_secs(600);
/// Time for members that are recreated, or copy all data, one after the other.
pub(super) const LONG: Duration = Duration::from_secs(3600);

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
    fn deadline(&self) -> Duration {
        LONG
    }

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
    fn fields(&self, _edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        Ok(Vec::new())
    }

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

    /// How far it is, for a type that is not about pods.
    fn progress(&self, _view: &View<'_>) -> Option<Progress> {
        None
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

/// The components of a type whose entries hold nothing but a name.
pub(super) fn plain(field: &'static str, list: &[ComponentOps]) -> (&'static str, Vec<String>) {
    let names = list.iter().map(|ops| ops.component_name.clone());
    (field, names.collect())
}
