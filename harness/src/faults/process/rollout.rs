//! The operator replaced by a rollout of its Deployment, as an upgrade does: one pod after the other is asked to stop.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use crate::cluster::Cluster;
use crate::deploy::operator;
use crate::faults::process::replicas::pods;
use crate::faults::running::{Injected, Running};
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Member, Replicas, Target};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Starts a rollout of every Deployment of the operator, as `kubectl rollout restart` does.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    replicas: Replicas,
) -> Result<Injected, FaultError> {
    if replicas != Replicas::All {
        return Err(FaultError::Unavailable {
            fault: fault.to_string(),
            reason: "a rollout replaces every replica: name them all".into(),
        });
    }
    let before: Vec<Member> = pods(context, replicas)
        .await?
        .into_iter()
        .map(|(member, _)| member)
        .collect();
    let api: Api<Deployment> = Api::namespaced(context.cluster.kube.clone(), operator::NAMESPACE);
    let params = kube::api::ListParams::default().labels(operator::POD_LABELS);
    let listed = api.list(&params).await;
    let listed =
        listed.map_err(|error| FaultError::api("list the operator's Deployments", error))?;
    if listed.items.is_empty() {
        let reason = format!(
            "no such Deployment with {} in namespace {}",
            operator::POD_LABELS,
            operator::NAMESPACE
        );
        return Err(FaultError::find("the operator's Deployment", reason));
    }
    for name in listed.items.into_iter().filter_map(|one| one.metadata.name) {
        let restarted = api.restart(&name).await;
        restarted.map_err(|error| FaultError::api(format!("restart Deployment {name}"), error))?;
    }
    let targets = before
        .iter()
        .map(|member| Target::Pod {
            pod: member.pod.clone(),
            node: member.node.clone().unwrap_or_default(),
            part: "replaced by a rollout".into(),
        })
        .collect();
    Ok(Injected {
        targets,
        evidence: Evidence::new().with("replicas", before.len()),
        running: Box::new(Rollout {
            context: context.clone(),
            fault: fault.to_string(),
            before: before.into_iter().map(|member| member.uid).collect(),
        }),
    })
}

struct Rollout {
    context: FaultContext,
    fault: String,
    /// UIDs of the replicas that have to go.
    before: Vec<String>,
}

impl Running for Rollout {
    /// Seen when the new replicas are available and none of the former ones is left.
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let cluster: &Cluster = &self.context.cluster;
        let available = operator::wait_available(&cluster.kube).await;
        available.map_err(|error| FaultError::api("wait for the rollout", error))?;
        let what = "the operator's former replicas gone";
        let gone = wait_until(what, timeouts::OPERATOR_AVAILABLE, async || {
            match pods(&self.context, Replicas::All).await {
                Err(error) => Poll::NotYet::<_, FaultError>(error.to_string()),
                Ok(now) => {
                    let left = left_of(&self.before, now.iter().map(|(member, _)| &*member.uid));
                    if left > 0 {
                        Poll::NotYet(format!("{left} of {} are left", self.before.len()))
                    } else {
                        Poll::Ready(now.len())
                    }
                }
            }
        });
        let replicas = gone
            .await
            .map_err(|error| FaultError::unseen(&self.fault, error))?;
        Ok(Evidence::new().with("new replicas", replicas))
    }
}

/// How many of the former replicas are among those of now.
fn left_of<'a>(before: &[String], now: impl Iterator<Item = &'a str>) -> usize {
    now.filter(|uid| before.iter().any(|old| old == uid))
        .count()
}

#[cfg(test)]
mod tests {
    use super::left_of;

    #[test]
    fn a_replica_is_known_by_its_uid() {
        let before = ["a".to_owned(), "b".to_owned()];
        assert_eq!(left_of(&before, ["b", "c"].into_iter()), 1);
        assert_eq!(left_of(&before, ["c", "d"].into_iter()), 0);
    }
}
