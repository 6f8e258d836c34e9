//! The members of a cluster and their pods at one moment, as etcd and Kubernetes report them.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::Value;

use super::subject::{COMPONENT, Subject};
use crate::scenario::RunError;
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// The members and their pods at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    /// By name.
    pub(super) pods: BTreeMap<String, PodState>,
    /// As a quorum of etcd agrees.
    pub(super) members: Vec<Listed>,
}

/// A pod, as Kubernetes and its etcd report it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PodState {
    pub(super) uid: String,
    /// How often its containers were started again.
    pub(super) restarts: i32,
    /// Limit of processor time of etcd's container, as the kubelet has applied it.
    pub(super) cpu_limit: Option<String>,
    /// Identifier of the member.
    pub(super) member: String,
    /// Identifier of the leader that it follows.
    pub(super) leader: String,
    /// The term in which it is.
    pub(super) term: u64,
    pub(super) version: String,
    /// The node that it is on.
    pub(super) node: String,
    /// Largest size of the database, in bytes.
    pub(super) quota: Option<f64>,
}

/// A row of etcd's member list.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Listed {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, rename = "isLearner")]
    pub(super) learner: bool,
}

impl State {
    /// Asks until all have answered: a member may just be coming back from a fault.
    pub(super) async fn of(subject: &Subject) -> Result<Self, RunError> {
        let what = "every member and its pod have reported their state";
        Self::that_fits(subject, what, |_| true).await
    }

    /// The same, once all follow one leader: an election may be under way.
    pub(super) async fn agreed(subject: &Subject) -> Result<Self, RunError> {
        let what = "every member follows one leader";
        Self::that_fits(subject, what, |state| state.leader().is_some()).await
    }

    async fn that_fits(
        subject: &Subject,
        what: &str,
        fits: impl Fn(&Self) -> bool,
    ) -> Result<Self, RunError> {
        let told = wait_until(what, timeouts::EFFECT, async || {
            match Self::look(subject).await {
                Ok(state) if fits(&state) => Poll::Ready(state),
                Ok(state) => Poll::NotYet(format!("{:?}", state.pods)),
                Err(error) => Poll::NotYet::<_, String>(error),
            }
        });
        told.await
            .map_err(|error| RunError::Wait(error.to_string()))
    }

    async fn look(subject: &Subject) -> Result<Self, String> {
        let mut listed = subject.pods().await?;
        listed.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let names: Vec<String> = listed.iter().map(ResourceExt::name_any).collect();
        if names.is_empty() {
            return Ok(Self::default());
        }
        let mut told = subject.etcd_state(&names).await?;
        let status = &told["pods"];
        let asked = listed.iter().map(|pod| async {
            let name = pod.name_any();
            let state = look_at(subject, pod, &status[&name]).await?;
            Ok::<_, String>((name, state))
        });
        let pods = try_join_all(asked).await?.into_iter().collect();
        let members = serde_json::from_value(told["members"].take());
        let members = members.map_err(|error| format!("the member list: {error}"))?;
        Ok(Self { pods, members })
    }

    /// The pod that leads, if all agree.
    pub(super) fn leader(&self) -> Option<&str> {
        let told: BTreeSet<&str> = self.pods.values().map(|pod| &*pod.leader).collect();
        let mut pods = self.pods.iter();
        let (name, _) = pods.find(|(_, pod)| told.len() == 1 && told.contains(&*pod.member))?;
        Some(name)
    }

    /// The newest term that a member knows.
    pub(super) fn term(&self) -> u64 {
        let terms = self.pods.values().map(|pod| pod.term);
        terms.max().unwrap_or_default()
    }
}

async fn look_at(subject: &Subject, pod: &Pod, status: &Value) -> Result<PodState, String> {
    let name = pod.name_any();
    let metrics = subject.http(&name, 2381, "metrics").await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let term = text(&status["header"]["raft_term"]).parse();
    Ok(PodState {
        uid: pod.uid().unwrap_or_default(),
        restarts: restarts(pod),
        cpu_limit: cpu_limit(pod),
        member: text(&status["header"]["member_id"]),
        leader: text(&status["leader"]),
        term: term.map_err(|error| format!("the term of {name}: {error}"))?,
        version: text(&status["version"]),
        node: pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default(),
        quota: metrics.lines().find_map(|line| {
            let value = line.strip_prefix("etcd_server_quota_backend_bytes ")?;
            value.parse().ok()
        }),
    })
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let statuses = status.and_then(|status| status.container_statuses.as_deref());
    let all = statuses.unwrap_or_default().iter();
    all.map(|status| status.restart_count).sum()
}

fn cpu_limit(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    let of_etcd = |status: &&ContainerStatus| status.name == COMPONENT;
    let resources = statuses.iter().find(of_etcd)?.resources.as_ref()?;
    Some(resources.limits.as_ref()?.get("cpu")?.0.clone())
}
