//! Carries out one decision about labels: guarded patches in their order. Knows no policy.
//!
//! Every patch names the version and UID it was decided on, so an API server that has moved on refuses it.

use std::time::Instant;

use crate::client::message;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::timeout;

use etcd_operator_api::{FIELD_MANAGER, labels};

use super::decide::{Decision, Write, decide};
use super::endpoints::Endpoints;
use super::facts::PodFacts;
use super::knowledge::AgentReports;
use super::timing;

/// Why labels could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The pods could not be read.
    #[error("failed to list the pods of {instance_set}: {}", message(.source))]
    List {
        /// Name of the InstanceSet.
        instance_set: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// A pod could not be patched.
    #[error("failed to write the role of pod {pod}: {}", message(.source))]
    Patch {
        /// Name of the pod.
        pod: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("failed to hear from the API server in {} ms: {what}", timing::API_CALL.as_millis())]
    Silent {
        /// What was asked of it.
        what: String,
    },
}

/// A pod's version that was written here.
pub(super) struct Written {
    pub(super) facts: PodFacts,
    /// When the API server had answered.
    pub(super) at: Instant,
}

/// How a patch ended.
enum Outcome {
    /// The pod has the role; its new version.
    Written(Written),
    /// The version is not the newest any more, or the pod is gone.
    Outdated,
}

/// The pods of one InstanceSet, as the API server has them.
#[derive(Clone)]
pub(super) struct Labeller {
    pods: Api<Pod>,
    pub(super) endpoints: Endpoints,
    instance_set: String,
}

impl Labeller {
    pub(super) fn new(pods: Api<Pod>, endpoints: Endpoints) -> Self {
        let instance_set = endpoints.instance_set.clone();
        Self {
            pods,
            endpoints,
            instance_set,
        }
    }

    /// Brings the labels in line with `knowledge`, starting from what the watch has told. Returns the versions
    /// written; decides again on every conflict.
    pub(super) async fn settle(
        &self,
        cached: &[PodFacts],
        knowledge: &AgentReports,
    ) -> Result<Vec<Written>, Error> {
        let mut written = Vec::new();
        let mut early = decide(cached, knowledge);
        if early.at_once
            && let Some(grant) = early.then.take()
            && let Outcome::Written(facts) = self.label(&grant).await?
        {
            return Ok(vec![facts]);
        }
        for _ in 0..timing::ROUNDS {
            // Stripping is safe on any version, so it starts on the watch's. The list is asked for in the same
            // moment, so it is younger than the knowledge; the strips' own events make the API server's cache
            // catch up with it (a consistent list waits for that).
            let (listed, stripped) = tokio::join!(self.list(), self.all(&early.first));
            let mut pods = listed?;
            for one in stripped? {
                overlay(&mut pods, &one.facts);
                written.push(one);
            }
            let Decision { first, then, .. } = decide(&pods, knowledge);
            if first.is_empty() && then.is_none() {
                return Ok(written);
            }
            let owed = first.len();
            let done = self.all(&first).await?;
            let complete = done.len() == owed;
            written.extend(done);
            if complete {
                match then {
                    None => return Ok(written),
                    Some(grant) => {
                        if let Outcome::Written(facts) = self.label(&grant).await? {
                            written.push(facts);
                            return Ok(written);
                        }
                    }
                }
            }
            early = Decision::default();
        }
        Ok(written)
    }

    async fn list(&self) -> Result<Vec<PodFacts>, Error> {
        let selector = format!("{}={}", labels::WORKLOAD_INSTANCE, self.instance_set);
        let params = ListParams::default().labels(&selector);
        let listed = timeout(timing::API_CALL, self.pods.list_metadata(&params))
            .await
            .map_err(|_| Error::Silent {
                what: format!("the pods of {}", self.instance_set),
            })?
            .map_err(|source| Error::List {
                instance_set: self.instance_set.clone(),
                source: Box::new(source),
            })?;
        Ok(listed.items.iter().map(PodFacts::of).collect())
    }

    /// Writes all at once; returns the new versions of those that were written.
    async fn all(&self, writes: &[Write]) -> Result<Vec<Written>, Error> {
        let mut written = Vec::new();
        for outcome in join_all(writes.iter().map(|write| self.patch(write))).await {
            if let Outcome::Written(facts) = outcome? {
                written.push(facts);
            }
        }
        Ok(written)
    }

    /// The one write that makes a leader, so that endpoints follow it at once.
    async fn label(&self, grant: &Write) -> Result<Outcome, Error> {
        self.endpoints.let_go(&grant.pod.name).await;
        self.patch(grant).await
    }

    async fn patch(&self, write: &Write) -> Result<Outcome, Error> {
        let name = &write.pod.name;
        let body = json!({ "metadata": {
            "uid": write.pod.uid,
            "resourceVersion": write.pod.resource_version,
            "labels": { labels::ROLE: write.role },
            "annotations": {
                labels::ROLE_TERM: write.term.map(|term| term.to_string()),
                labels::ROLE_FENCE: write.fence.map(|term| term.to_string()),
            },
        }});
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(body);
        let call = self.pods.patch_metadata(name, &params, &patch);
        match timeout(timing::API_CALL, call).await {
            Err(_) => Err(Error::Silent {
                what: format!("the role of pod {name}"),
            }),
            Ok(Ok(pod)) => Ok(Outcome::Written(Written {
                facts: PodFacts::of(&pod),
                at: Instant::now(),
            })),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409 | 422) => {
                Ok(Outcome::Outdated)
            }
            Ok(Err(source)) => Err(Error::Patch {
                pod: name.clone(),
                source: Box::new(source),
            }),
        }
    }
}

/// Replaces a pod's version by a newer one of the same pod. A pod that is not listed stays out: it is gone.
fn overlay(pods: &mut [PodFacts], newer: &PodFacts) {
    if let Some(known) = pods.iter_mut().find(|known| known.name == newer.name)
        && newer.is_newer_than(known)
    {
        *known = newer.clone();
    }
}
