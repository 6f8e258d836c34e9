//! Members move to another storage class, by the edit of an owner; in the end every claim is of that class.

use std::time::Duration;

use etcd_operator_api::names;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::cluster::volumes::{LOCAL, Pool};
use crate::scenario::edits::{self, DATA};
use crate::scenario::state::State;
use crate::scenario::subject::Subject;
use crate::scenario::{Operation, RunError};
use crate::wait::{Poll, wait_until};

/// Where they move to.
pub(super) const TO: Pool = LOCAL;
/// What the operator says while they do.
const REASON: &str = "MovingVolumes";

/// A move that was asked for.
pub(super) struct Moving {
    subject: Subject,
    before: State,
}

impl Moving {
    /// Asks for it, as an owner does.
    pub(super) async fn ask(subject: &Subject) -> Result<Self, RunError> {
        let before = State::of(subject).await?;
        let what = "name another storage class";
        edits::set_claim(subject, "storageClassName", TO.class, what).await?;
        Ok(Self {
            subject: subject.clone(),
            before,
        })
    }

    /// Waits until the operator has taken it up, and says what it says.
    pub(super) async fn begun(&self) -> Result<String, RunError> {
        edits::said(&self.subject, REASON, "").await
    }

    /// Waits until all have moved and the cluster is whole, and proves it.
    pub(super) async fn ended(&self, limit: Duration) -> Result<String, RunError> {
        let subject = &self.subject;
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(subject.kube.clone(), &subject.namespace);
        let pods = subject.pod_names();
        let what = format!("every member's claim is of class {}", TO.class);
        let moved = wait_until(what, limit, async || {
            let listed = match claims.list(&ListParams::default()).await {
                Ok(listed) => listed.items,
                Err(error) => return Poll::NotYet::<_, String>(error.to_string()),
            };
            match lacking(&listed, &pods) {
                None => Poll::Ready(()),
                Some(wrong) => Poll::NotYet(wrong),
            }
        });
        moved
            .await
            .map_err(|error| RunError::Wait(error.to_string()))?;
        subject.wait_whole(limit).await?;
        let operation = Operation::MoveVolumes;
        operation.proof(subject, &self.before, None).await?;
        let pods = pods.len();
        Ok(format!(
            "the claims of {pods} members are of class {}, and so many members are new",
            TO.class
        ))
    }
}

/// Whose claim is not there, not bound, or of another class.
fn lacking(claims: &[PersistentVolumeClaim], pods: &[String]) -> Option<String> {
    pods.iter().find_map(|pod| {
        let name = names::claim(DATA, pod);
        let Some(claim) = claims.iter().find(|claim| claim.name_any() == name) else {
            return Some(format!("claim {name} is not there"));
        };
        let spec = claim.spec.as_ref();
        let class = spec.and_then(|spec| spec.storage_class_name.as_deref());
        let status = claim.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let going = claim.metadata.deletion_timestamp.is_some();
        let good = class == Some(TO.class) && phase == Some("Bound") && !going;
        (!good).then(|| format!("claim {name} is of class {class:?}, its phase is {phase:?}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_member_must_have_a_bound_claim_of_the_class() {
        let claim = |pod: &str, class: &str, phase: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({ "metadata": { "name": format!("data-{pod}") },
                "spec": { "storageClassName": class }, "status": { "phase": phase } }))
            .expect("a claim")
        };
        let pods = ["q-0".to_owned(), "q-1".to_owned()];
        let first = claim("q-0", TO.class, "Bound");
        let told = |second: Option<PersistentVolumeClaim>| {
            let claims: Vec<_> = [Some(first.clone()), second]
                .into_iter()
                .flatten()
                .collect();
            lacking(&claims, &pods)
        };
        assert_eq!(told(Some(claim("q-1", TO.class, "Bound"))), None);
        let mut going = claim("q-1", TO.class, "Bound");
        going.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        for second in [
            None,
            Some(claim("q-1", "other", "Bound")),
            Some(claim("q-1", TO.class, "Pending")),
            Some(going),
        ] {
            let wrong = told(second.clone()).expect("it is seen");
            assert!(wrong.contains("data-q-1"), "{second:?}: {wrong}");
        }
    }
}
