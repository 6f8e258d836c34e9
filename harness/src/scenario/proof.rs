//! What an operation has done, asked of etcd and Kubernetes instead of the operator: `Succeed` alone proves nothing.

use etcd_operator_api::{InstanceSet, InstanceSetStatus};
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

use super::Operation;
use super::difference::{lacking, returned};
use super::operation::{Replaced, exposed};
use super::state::State;
use super::subject::Subject;
use crate::scenario::RunError;
use crate::timeouts;
use crate::wait::{Poll, wait_until};

impl Operation {
    /// Whether it had its effect since `before`; `replaced` is the pod whose member was to be replaced.
    pub(super) async fn proof(
        self,
        subject: &Subject,
        before: &State,
        replaced: Option<&Replaced>,
    ) -> Result<(), RunError> {
        let service = exposed();
        let wrong = match self {
            Operation::Expose | Operation::Balance => unanswered(subject, &service).await,
            Operation::Conceal => revealed(subject, &service).await?,
            Operation::MoveFollower => {
                let after = State::of(subject).await?;
                match lacking(self, before, &after, replaced) {
                    None => bound(subject).await?,
                    wrong => wrong,
                }
            }
            Operation::Switchover => {
                let after = State::agreed(subject).await?;
                if let Some(reason) = returned(before, &after) {
                    return Err(RunError::Unready(reason));
                }
                lacking(self, before, &after, replaced)
            }
            _ => lacking(self, before, &State::of(subject).await?, replaced),
        };
        match wrong {
            None => Ok(()),
            Some(wrong) => {
                let word = self.word();
                Err(RunError::Wait(format!(
                    "the effect of {word}, which ended Succeed: {wrong}"
                )))
            }
        }
    }
}

/// A service that does not answer, asked again and again: its endpoints follow a moment later.
async fn unanswered(subject: &Subject, service: &str) -> Option<String> {
    let what = format!("service {service} does not answer");
    let answered = wait_until(what, timeouts::EFFECT, async || {
        match subject.http_service(service, 2379, "health").await {
            Ok(_) => Poll::Ready(()),
            Err(error) => Poll::NotYet::<_, String>(error),
        }
    });
    answered.await.err().map(|error| error.to_string())
}

/// What still binds a member to a node: once it votes nothing does.
async fn bound(subject: &Subject) -> Result<Option<String>, RunError> {
    let sets: Api<InstanceSet> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let set = sets.get(&Subject::leader_service()).await;
    let set = set.map_err(|error| RunError::api("read the InstanceSet", &error))?;
    Ok(set.status.as_ref().and_then(still_bound))
}

fn still_bound(status: &InstanceSetStatus) -> Option<String> {
    let first = status.placements.first()?;
    let (pod, node) = (&first.pod_name, &first.node_name);
    Some(format!("pod {pod} is still bound to node {node}"))
}

/// The service that was to go, when it is there. That the API server says so is the proof: one that cannot be asked
/// says nothing, and a service without endpoints does not answer either.
async fn revealed(subject: &Subject, service: &str) -> Result<Option<String>, RunError> {
    let api: Api<Service> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let what = format!("whether service {service} is gone");
    wait_until(what, timeouts::EFFECT_SLOW, async || {
        let asked = tokio::time::timeout(timeouts::API_CALL, api.get_opt(service)).await;
        let answer = match asked {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        still_there(service, answer)
    })
    .await
    .map_err(|error| RunError::Wait(error.to_string()))
}

/// What the API server's answer says of a service that was to go.
fn still_there(
    service: &str,
    answer: Result<Option<Service>, String>,
) -> Poll<Option<String>, String> {
    match answer {
        Ok(None) => Poll::Ready(None),
        Ok(Some(found)) => {
            let kind = found.spec.and_then(|spec| spec.type_);
            let kind = kind.as_deref().unwrap_or("ClusterIP");
            Poll::Ready(Some(format!(
                "service {service} of type {kind} is still there"
            )))
        }
        Err(error) => Poll::NotYet(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_gone_when_the_api_server_says_so_and_not_when_it_does_not_answer() {
        let of_type = |kind: &str| {
            let object = serde_json::json!({ "spec": { "type": kind } });
            serde_json::from_value::<Service>(object).expect("a service")
        };
        let still_there = |answer| still_there("outside", answer);
        assert_eq!(still_there(Ok(None)), Poll::Ready(None));
        let refused = "connection refused".to_owned();
        assert_eq!(still_there(Err(refused.clone())), Poll::NotYet(refused));
        for kind in ["NodePort", "LoadBalancer", "ClusterIP"] {
            let told = format!("service outside of type {kind} is still there");
            assert_eq!(
                still_there(Ok(Some(of_type(kind)))),
                Poll::Ready(Some(told))
            );
        }
    }

    #[test]
    fn a_member_that_has_moved_is_bound_to_no_node() {
        let mut status = InstanceSetStatus::default();
        assert_eq!(still_bound(&status), None);
        let placement = serde_json::json!({ "podName": "q-2", "nodeName": "n-9", "memberID": "a" });
        let placement = serde_json::from_value(placement).expect("a placement");
        status.placements.push(placement);
        let told = "pod q-2 is still bound to node n-9";
        assert_eq!(still_bound(&status).as_deref(), Some(told));
    }
}
