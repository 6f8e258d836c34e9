//! PURE: how far an operation has come, by what the InstanceSets say of pods and members.
//!
//! Done means seen: the Cluster reflects the edit, and every member that the operation is about is where it must be, by
//! the member list that etcd itself returned and by the pods, not by what was asked of them.

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::ops_request::{
    LastComponentConfiguration, OpsComponentStatus, ProgressDetail, ProgressStatus,
};
use etcd_operator_api::{ComponentPhase, InstanceSet, InstanceSetStatus};

use super::facts::{Facts, Progress, Row, View, rows_of_all};
use super::kind::Kind;

/// How far an operation is.
pub(super) fn of(kind: &dyn Kind, view: &View<'_>) -> Progress {
    kind.progress(view).unwrap_or_else(|| by_pods(kind, view))
}

/// The progress of an operation that is about pods.
fn by_pods(kind: &dyn Kind, view: &View<'_>) -> Progress {
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
fn by_set(
    kind: &dyn Kind,
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
