//! Pods deleted through the API: gracefully, by force, evicted. Works on any cluster; Kubernetes itself puts back what
//! was deleted, so there is nothing to heal.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, EvictParams, Preconditions};

use crate::faults::members::roster;
use crate::faults::running::{Injected, Running};
use crate::faults::{
    Deletion, Evidence, Fault, FaultContext, FaultError, Member, Selector, Target,
};
use crate::timeouts;
use crate::wait::{Poll, wait_every, wait_until};

/// Deletes the pods that are meant, all at the same moment.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    of: &Selector,
    how: Deletion,
) -> Result<Injected, FaultError> {
    let roster = roster(context).await?;
    let victims = of.select(&roster.members, context.seed)?;
    let api: Api<Pod> = Api::namespaced(context.cluster.kube.clone(), &context.namespace);
    let refusals = join_all(victims.iter().map(|victim| delete(&api, victim, how))).await;
    let mut evidence = Evidence::new()
        .with("pods from", roster.pods_from)
        .with("roles from", roster.roles_from);
    for (victim, refused) in victims.iter().zip(refusals) {
        let refused = refused?;
        if refused > 0 {
            evidence.add(
                format!("pod/{}", victim.pod),
                format!("refused {refused} times by a disruption budget"),
            );
        }
    }
    let targets = victims
        .iter()
        .map(|victim| Target::Member {
            pod: victim.pod.clone(),
            node: victim.node.clone(),
            part: String::new(),
        })
        .collect();
    Ok(Injected {
        targets,
        evidence,
        running: Box::new(Deleted {
            fault: fault.to_string(),
            api,
            victims,
        }),
    })
}

/// Deletes one pod; returns the number of times that a disruption budget refused first.
pub(crate) async fn delete(
    api: &Api<Pod>,
    victim: &Member,
    how: Deletion,
) -> Result<u32, FaultError> {
    let this_pod = Preconditions {
        uid: Some(victim.uid.clone()),
        resource_version: None,
    };
    let params = DeleteParams {
        grace_period_seconds: (how == Deletion::Forced).then_some(0),
        preconditions: Some(this_pod),
        ..Default::default()
    };
    let refused = AtomicU32::new(0);
    let action = format!("delete pod {}", victim.pod);
    let done = wait_every(
        timeouts::POLL_SLOW,
        action.clone(),
        timeouts::EVICTION,
        async || {
            let result = match how {
                Deletion::Evicted => {
                    let params = EvictParams {
                        delete_options: Some(params.clone()),
                        ..Default::default()
                    };
                    api.evict(&victim.pod, &params).await.map(drop)
                }
                Deletion::Graceful | Deletion::Forced => {
                    api.delete(&victim.pod, &params).await.map(drop)
                }
            };
            match result {
                Ok(()) => Poll::Ready(()),
                Err(kube::Error::Api(status)) if status.code == 429 => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    Poll::NotYet(status.message.clone())
                }
                Err(error) => Poll::Failed(error),
            }
        },
    )
    .await;
    done.map_err(|error| FaultError::api(action, error))?;
    Ok(refused.into_inner())
}

/// Pods that were deleted.
struct Deleted {
    fault: String,
    api: Api<Pod>,
    victims: Vec<Member>,
}

impl Deleted {
    /// The pod of this UID is gone; another of its name may be there already.
    async fn gone(&self, victim: &Member) -> Result<Result<String, String>, FaultError> {
        let found = self.api.get_opt(&victim.pod).await;
        let found =
            found.map_err(|error| FaultError::api(format!("read pod {}", victim.pod), error))?;
        let Some(pod) = found else {
            return Ok(Ok("gone, none in its place yet".into()));
        };
        let uid = pod.metadata.uid.unwrap_or_default();
        if uid == victim.uid {
            let ending = pod.metadata.deletion_timestamp.is_some();
            return Ok(Err(if ending {
                "terminating".into()
            } else {
                "still there".into()
            }));
        }
        Ok(Ok(format!("replaced: UID {} is now {uid}", victim.uid)))
    }
}

impl Running for Deleted {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let mut evidence = Evidence::new();
        for victim in &self.victims {
            let name = format!("pod/{}", victim.pod);
            let seen = wait_until(name.clone(), timeouts::EFFECT_SLOW, async || {
                match self.gone(victim).await {
                    Ok(Ok(text)) => Poll::Ready(text),
                    Ok(Err(text)) => Poll::NotYet(text),
                    // The API server may be the next fault's victim.
                    Err(error) => Poll::NotYet::<_, FaultError>(error.to_string()),
                }
            })
            .await;
            let text = seen.map_err(|error| FaultError::unseen(&self.fault, error))?;
            evidence.add(name, text);
        }
        Ok(evidence)
    }
}
