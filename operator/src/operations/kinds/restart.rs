//! Restart: pods are recreated one by one.

use etcd_operator_api::OpsRequest;
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{LastConfiguration, OpsRequestSpec};
use kube::ResourceExt;

use crate::operations::edit::Field;
use crate::operations::facts::{Facts, Row};
use crate::operations::kind::{Edited, Kind, plain};
use crate::operations::observed::Seen;
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct Restart;

impl Kind for Restart {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        plain("restart", &spec.restart)
    }

    fn started(&self) -> (ConditionType, Reason) {
        (ConditionType::Restarting, Reason::RestartStarted)
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::ROLLOUT
    }

    /// Puts on record which pods were there.
    fn check(
        &self,
        _request: &OpsRequest,
        seen: &Seen,
        before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        for (component, last) in &mut before.components {
            let set = seen.sets.get(component).and_then(|set| set.status.as_ref());
            let pods = set.into_iter().flat_map(|s| s.current_revisions.keys());
            let uid = |pod: &String| Some((pod.clone(), seen.pods.get(pod)?.uid()?));
            last.pods = pods.filter_map(uid).collect();
        }
        Ok(())
    }

    fn fields(&self, edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        Ok(vec![Field::Restart(Some(edited.began.to_owned()))])
    }

    /// Every pod is another one than before.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        facts.rows_after_rollout(|pod| match facts.pods.get(pod) {
            None => Some("its pod was not seen yet".to_owned()),
            Some(seen) => {
                let same = facts.last.pods.get(pod) == seen.metadata.uid.as_ref();
                same.then(|| "it is still the pod that was there before".to_owned())
            }
        })
    }
}
