//! Start: the same members come back with their data.

use std::time::Duration;

use etcd_operator_api::ClusterPhase;
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::OpsRequestSpec;

use crate::operations::edit::Field;
use crate::operations::facts::{Facts, Row};
use crate::operations::kind::{Edited, Kind, SHORT, plain};
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct Start;

impl Kind for Start {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        plain("start", &spec.start)
    }

    fn means_all(&self) -> bool {
        true
    }

    fn begins_in(&self, phase: ClusterPhase) -> bool {
        use ClusterPhase::{Abnormal, Failed, Running, Stopped, Stopping, Updating};
        matches!(
            phase,
            Running | Failed | Abnormal | Updating | Stopped | Stopping
        )
    }

    fn started(&self) -> (ConditionType, Reason) {
        (ConditionType::Starting, Reason::StartCluster)
    }

    fn deadline(&self) -> Duration {
        SHORT
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::CHANGES
    }

    fn fields(&self, _edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        Ok(vec![Field::Stop(Some(false))])
    }

    /// Every pod is ready.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        facts.rows_after_rollout(|pod| {
            let status = facts.pods.get(pod).and_then(|pod| pod.status.as_ref());
            let mut conditions = status
                .into_iter()
                .flat_map(|s| s.conditions.iter().flatten());
            let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
            (!ready).then(|| "it is not ready yet".to_owned())
        })
    }
}
