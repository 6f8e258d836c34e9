//! Stop: pods go; claims and membership stay.

use std::time::Duration;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::OpsRequestSpec;
use etcd_operator_api::{ClusterPhase, ComponentPhase, InstanceSet, InstanceSetStatus};

use crate::operations::edit::Field;
use crate::operations::facts::{Facts, Row};
use crate::operations::kind::{Edited, Kind, SHORT, plain};
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct Stop;

impl Kind for Stop {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        plain("stop", &spec.stop)
    }

    fn means_all(&self) -> bool {
        true
    }

    fn begins_in(&self, phase: ClusterPhase) -> bool {
        use ClusterPhase::{Abnormal, Failed, Running, Updating};
        matches!(phase, Running | Failed | Abnormal | Updating)
    }

    fn started(&self) -> (ConditionType, Reason) {
        (ConditionType::Stopping, Reason::StopStarted)
    }

    fn deadline(&self) -> Duration {
        SHORT
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::CHANGES
    }

    fn fields(&self, _edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        Ok(vec![Field::Stop(Some(true))])
    }

    fn due(&self) -> ComponentPhase {
        ComponentPhase::Stopped
    }

    fn is_settled(&self, _set: &InstanceSet, status: &InstanceSetStatus) -> bool {
        status.replicas == 0
    }

    /// Members' pods are gone.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let members = facts.status.members.iter().map(|member| &member.pod_name);
        members
            .map(|pod| {
                let known = facts.status.current_revisions.contains_key(pod);
                let there = known || facts.pods.contains_key(pod);
                let lacks = there.then(|| "it is still there".to_owned());
                let pod = pod.clone();
                Row { pod, lacks }
            })
            .collect()
    }
}
