//! A quorum that does not come back: the pods and claims of a majority are deleted at once, the leader's are not.

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::{InstanceSet, names};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams};

use crate::scenario::RunError;
use crate::scenario::subject::{CLUSTER, COMPONENT, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Name of the claim template.
const DATA: &str = "data";

/// The pods that are lost of these: a majority, without the leader, which knows of every write that was acknowledged.
pub(super) fn lost(pods: &[String], leader: &str) -> Vec<String> {
    let others = pods.iter().filter(|pod| *pod != leader);
    others.take(pods.len() / 2 + 1).cloned().collect()
}

/// Deletes them with their data, and waits until the operator has seen that there is no quorum.
pub(super) async fn strike(subject: &Subject, lost: &[String]) -> Result<(), RunError> {
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(subject.kube.clone(), &subject.namespace);
    let pods: Api<Pod> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let failed = |what: &str, error: kube::Error| {
        RunError::Wait(format!("failed to delete {what}: {error}"))
    };
    let at_once = DeleteParams::default().grace_period(1);
    for pod in lost {
        let claim = names::claim(DATA, pod);
        let gone = claims.delete(&claim, &DeleteParams::default()).await;
        gone.map_err(|error| failed(&claim, error))?;
    }
    let gone = lost.iter().map(|pod| pods.delete(pod, &at_once));
    for (pod, gone) in lost.iter().zip(futures::future::join_all(gone).await) {
        gone.map_err(|error| failed(pod, error))?;
    }
    let sets: Api<InstanceSet> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let name = format!("{CLUSTER}-{COMPONENT}");
    let seen = wait_until(
        "the operator sees that the quorum is lost",
        timeouts::patient(timeouts::EFFECT_SLOW),
        async || {
            let conditions = match sets.get(&name).await {
                Ok(set) => set
                    .status
                    .map(|status| status.conditions)
                    .unwrap_or_default(),
                Err(error) => return Poll::NotYet::<_, String>(error.to_string()),
            };
            match condition::find(&conditions, ConditionType::Quorate) {
                Some(quorate) if quorate.status == "False" => Poll::Ready(()),
                Some(quorate) => Poll::NotYet(quorate.message.clone()),
                None => Poll::NotYet("it has no condition Quorate".to_owned()),
            }
        },
    );
    seen.await
        .map_err(|error| RunError::Wait(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_lost_and_the_leader_is_not() {
        for (members, leader, wanted) in [(3, "q-0", 2), (3, "q-2", 2), (5, "q-1", 3)] {
            let pods: Vec<String> = (0..members).map(|n| format!("q-{n}")).collect();
            let lost = lost(&pods, leader);
            assert_eq!(lost.len(), wanted);
            assert!(!lost.iter().any(|pod| pod == leader));
        }
    }
}
