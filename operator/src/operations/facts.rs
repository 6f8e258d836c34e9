//! PURE: what the progress of an operation is read from, and how it is reported.

use std::collections::BTreeMap;

use etcd_operator_api::ops_request::{
    LastComponentConfiguration, OpsComponentStatus, OpsRequestSpec, OpsRequestStatus,
    ProgressStatus,
};
use etcd_operator_api::{Cluster, InstanceSet, InstanceSetStatus, OpsRequest};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};

use super::observed::Seen;

/// Name of the agent's container.
pub(super) const AGENT: &str = "kbagent";

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// By component.
    pub(super) components: BTreeMap<String, OpsComponentStatus>,
    /// Whether all of it was seen.
    pub(super) complete: bool,
}

/// A pod that an operation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its name.
    pub(super) pod: String,
    /// What is still missing; `None` when it is done.
    pub(super) lacks: Option<String>,
}

/// What progress is read from.
pub(super) struct View<'a> {
    pub(super) request: &'a OpsRequest,
    /// What is on record of the operation.
    pub(super) recorded: &'a OpsRequestStatus,
    pub(super) cluster: &'a Cluster,
    pub(super) seen: &'a Seen,
    /// True while the operation is being undone.
    pub(super) undone: bool,
}

impl Progress {
    /// As KubeBlocks writes it: done of all.
    pub(super) fn text(&self) -> String {
        let details = || {
            self.components
                .values()
                .flat_map(|status| &status.progress_details)
        };
        let done = details().filter(|detail| detail.status == ProgressStatus::Succeed);
        format!("{}/{}", done.count(), details().count())
    }
}

/// A component whose pods are looked at for what an operation has done.
pub(super) struct Facts<'a> {
    pub(super) spec: &'a OpsRequestSpec,
    pub(super) component: &'a str,
    /// Its state before the operation.
    pub(super) last: &'a LastComponentConfiguration,
    pub(super) cluster: &'a Cluster,
    pub(super) set: &'a InstanceSet,
    /// The InstanceSet's status.
    pub(super) status: &'a InstanceSetStatus,
    /// The Cluster's pods, by name.
    pub(super) pods: &'a BTreeMap<String, Pod>,
}

impl Facts<'_> {
    /// A row for each pod of the component: it has its newest revision, serves in a role, and `lacks` nothing else.
    pub(super) fn rows_after_rollout(&self, lacks: impl Fn(&str) -> Option<String>) -> Vec<Row> {
        let all = self.status.update_revisions.keys();
        all.map(|pod| Row {
            pod: pod.clone(),
            lacks: has_newest_revision(self.status, pod)
                .err()
                .or_else(|| lacks(pod)),
        })
        .collect()
    }

    /// What the pods are made from.
    pub(super) fn template(&self) -> Option<PodSpec> {
        let template = self.set.spec.template.parse::<PodTemplateSpec>("template");
        template.ok()?.spec
    }

    /// The container of a pod that runs etcd: the template's first one but for the agent, which the kubelet starts
    /// before it. Others may have put more containers into the pod.
    pub(super) fn etcd_of<'p>(&self, pod: &'p PodSpec) -> Option<&'p Container> {
        let template = self.template()?;
        let etcd = template.containers.iter().find(|c| c.name != AGENT)?;
        pod.containers.iter().find(|c| c.name == etcd.name)
    }
}

/// All pods of the component: each has its newest revision and serves in a role.
pub(super) fn rows_of_all(facts: &Facts<'_>) -> Vec<Row> {
    facts.rows_after_rollout(|_| None)
}

/// Whether the pod has its newest revision and serves in a role; if not, what is missing.
pub(super) fn has_newest_revision(status: &InstanceSetStatus, pod: &str) -> Result<(), String> {
    let newest = status.update_revisions.get(pod);
    if newest.is_none() || status.current_revisions.get(pod) != newest {
        return Err("it is not made from the newest template yet".to_owned());
    }
    let serves = status.members_status.iter().any(|m| m.pod_name == pod);
    match serves {
        true => Ok(()),
        false => Err("it does not serve in a role yet".to_owned()),
    }
}
