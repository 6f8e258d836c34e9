//! PURE: how far an operation has come, by what the InstanceSets say of pods and members.
//!
//! Done means seen: the Cluster reflects the edit, and every member that the operation is about is where it must be, by
//! the member list that etcd itself returned and by the pods, not by what was asked of them.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::ops_request::{
    LastComponentConfiguration, OpsComponentStatus, OpsRequestStatus, ProgressDetail,
    ProgressStatus,
};
use etcd_operator_api::{Cluster, ComponentPhase, InstanceSet, InstanceSetStatus, OpsRequest};

use super::kinds::{Facts, Kind, rows_of_all};
use super::observed::Seen;

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

/// The progress of an operation that is about pods.
pub(super) fn by_pods<K: Kind + ?Sized>(kind: &K, view: &View<'_>) -> Progress {
    let status = view.cluster.status.as_ref();
    // A spec that was refused after the edit is observed too, and its members are as they were before.
    let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
    let mut progress = Progress {
        complete: condition::holds(conditions, ConditionType::ProvisioningStarted),
        ..Progress::default()
    };
    for (name, last) in &view.recorded.last_configuration.components {
        let said = status.and_then(|status| status.components.get(name));
        let reflected = said
            .and_then(|said| said.observed_generation)
            .zip(view.recorded.cluster_generation)
            .is_some_and(|(seen, edited)| seen >= edited);
        let phase = said.and_then(|said| said.phase);
        let (component, settled) = match view.seen.sets.get(name) {
            Some(set) => by_set(kind, view, (name, last), set, reflected),
            None => (OpsComponentStatus::default(), false),
        };
        let done = |detail: &ProgressDetail| detail.status == ProgressStatus::Succeed;
        let due = match view.undone {
            true => ComponentPhase::Running,
            false => kind.due(),
        };
        progress.complete &=
            phase == Some(due) && settled && component.progress_details.iter().all(done);
        let component = OpsComponentStatus { phase, ..component };
        progress.components.insert(name.clone(), component);
    }
    progress
}

/// The progress of one component, and whether its members are as the spec wants them.
fn by_set<K: Kind + ?Sized>(
    kind: &K,
    view: &View<'_>,
    (component, last): (&str, &LastComponentConfiguration),
    set: &InstanceSet,
    reflected: bool,
) -> (OpsComponentStatus, bool) {
    let status = set.status.clone().unwrap_or_default();
    let current = reflected && is_observed(set, &status);
    let facts = Facts {
        spec: &view.request.spec,
        component,
        last,
        cluster: view.cluster,
        set,
        status: &status,
        pods: &view.seen.pods,
    };
    let rows = match view.undone {
        true => rows_of_all(&facts),
        false => kind.rows(&facts),
    };
    // Before the edit is reflected nothing is done.
    let detail = |row: Row| ProgressDetail {
        object_key: format!("Pod/{}", row.pod),
        status: match row.lacks {
            None if current => ProgressStatus::Succeed,
            _ => ProgressStatus::Processing,
        },
        message: row.lacks,
    };
    let waits = status.waiting_on.first();
    let component = OpsComponentStatus {
        phase: None,
        progress_details: rows.into_iter().map(detail).collect(),
        reason: waits.map(|waits| waits.reason.clone()),
        message: waits.map(|waits| waits.message.clone()),
    };
    (component, current && kind.is_settled(set, &status))
}

fn is_observed(set: &InstanceSet, status: &InstanceSetStatus) -> bool {
    let seen = status.observed_generation;
    seen.is_some() && seen == set.metadata.generation
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
