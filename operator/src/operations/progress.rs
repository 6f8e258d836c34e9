//! PURE: how far an operation has come, by what the InstanceSets say of pods and members.
//!
//! Done means seen: the Cluster reflects the edit, and every member that the operation is about is where it shall be,
//! by the member list that etcd itself gave, not by what was asked of it.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::ops_request::{
    LastComponentConfiguration, OpsComponentStatus, OpsRequestStatus, ProgressDetail,
    ProgressStatus,
};
use etcd_operator_api::{Cluster, ComponentPhase, InstanceSet, InstanceSetStatus, OpsType};

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// By component.
    pub(super) components: BTreeMap<String, OpsComponentStatus>,
    /// Whether all of it was seen.
    pub(super) complete: bool,
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

/// The progress of an operation, by what is on record of it; `undone` when it is being taken back.
pub(super) fn progress(
    kind: OpsType,
    recorded: &OpsRequestStatus,
    cluster: &Cluster,
    sets: &BTreeMap<String, InstanceSet>,
    undone: bool,
) -> Progress {
    // A spec that was refused after the edit is observed too, and its members are as they were before.
    let conditions = cluster.status.as_ref().map(|s| s.conditions.as_slice());
    let taken = |kind| conditions.is_some_and(|known| condition::holds(known, kind));
    let mut progress = Progress {
        complete: taken(ConditionType::ProvisioningStarted) && taken(ConditionType::ApplyResources),
        ..Progress::default()
    };
    for (name, last) in &recorded.last_configuration.components {
        let said = cluster.status.as_ref().and_then(|s| s.components.get(name));
        let set = sets.get(name);
        let reflected = said
            .and_then(|said| said.observed_generation)
            .zip(recorded.cluster_generation)
            .is_some_and(|(seen, edited)| seen >= edited);
        let current = reflected && set.is_some_and(is_observed);
        let details = set.map_or_else(Vec::new, |set| {
            let facts = Facts {
                kind,
                set,
                last,
                current,
                undone,
            };
            facts.details()
        });
        let phase = said.and_then(|said| said.phase);
        let due = match kind {
            OpsType::Stop => ComponentPhase::Stopped,
            _ => ComponentPhase::Running,
        };
        let settled = set.is_some_and(|set| settled(kind, set));
        let done = details.iter().all(|d| d.status == ProgressStatus::Succeed);
        progress.complete &= current && phase == Some(due) && settled && done;
        let waits = set
            .and_then(|set| set.status.as_ref())
            .and_then(|status| status.waiting_on.first());
        progress.components.insert(
            name.clone(),
            OpsComponentStatus {
                phase,
                progress_details: details,
                reason: waits.map(|waits| waits.reason.clone()),
                message: waits.map(|waits| waits.message.clone()),
            },
        );
    }
    progress
}

fn is_observed(set: &InstanceSet) -> bool {
    let seen = set.status.as_ref().and_then(|s| s.observed_generation);
    seen.is_some() && seen == set.metadata.generation
}

/// Whether etcd's member list is what the spec wants: as many voters, nobody else.
fn settled(kind: OpsType, set: &InstanceSet) -> bool {
    let Some(status) = &set.status else {
        return false;
    };
    if kind == OpsType::Stop {
        return status.replicas == 0;
    }
    let voters = status.members.iter().filter(|m| !m.is_learner).count();
    voters == status.members.len() && i32::try_from(voters) == Ok(set.spec.replicas)
}

struct Facts<'a> {
    kind: OpsType,
    set: &'a InstanceSet,
    last: &'a LastComponentConfiguration,
    /// Whether the status describes the edited spec.
    current: bool,
    undone: bool,
}

impl Facts<'_> {
    /// A line for each pod that the operation is about. Before the edit is reflected nothing is done.
    fn details(&self) -> Vec<ProgressDetail> {
        let status = self.set.status.clone().unwrap_or_default();
        let rows: Vec<(String, bool)> = match self.kind {
            OpsType::HorizontalScaling if !self.undone => self.scaled(&status),
            OpsType::RebuildInstance => self.rebuilt(&status),
            OpsType::Stop => {
                let all = status.members.iter().map(|m| m.pod_name.clone());
                all.map(|pod| {
                    let gone = !status.current_revisions.contains_key(&pod);
                    (pod, gone)
                })
                .collect()
            }
            _ => {
                let all = status.update_revisions.keys();
                all.map(|pod| (pod.clone(), is_updated(&status, pod)))
                    .collect()
            }
        };
        rows.into_iter()
            .map(|(pod, done)| ProgressDetail {
                object_key: format!("Pod/{pod}"),
                status: if done && self.current {
                    ProgressStatus::Succeed
                } else {
                    ProgressStatus::Processing
                },
                message: None,
            })
            .collect()
    }

    /// Members that are made anew: there is another one of that name, and it votes.
    fn rebuilt(&self, status: &InstanceSetStatus) -> Vec<(String, bool)> {
        let done = |(pod, old): (&String, &String)| {
            let new = |m: &KnownMember| m.pod_name == *pod && m.member_id != *old && !m.is_learner;
            let votes = status.members.iter().any(new);
            (pod.clone(), votes && is_updated(status, pod))
        };
        self.last.rebuilt_members.iter().map(done).collect()
    }

    /// Pods that come or go, against those that held a member when the operation began.
    fn scaled(&self, status: &InstanceSetStatus) -> Vec<(String, bool)> {
        let before = &self.last.instances;
        let wanted = &status.update_revisions;
        let come = wanted
            .keys()
            .filter(|pod| !before.contains(pod))
            .map(|pod| {
                let votes = |m: &KnownMember| m.pod_name == *pod && !m.is_learner;
                let done = is_updated(status, pod) && status.members.iter().any(votes);
                (pod.clone(), done)
            });
        let go = before
            .iter()
            .filter(|pod| !wanted.contains_key(*pod))
            .map(|pod| {
                let listed = status.members.iter().any(|m| m.pod_name == *pod);
                (
                    pod.clone(),
                    !listed && !status.current_revisions.contains_key(pod),
                )
            });
        come.chain(go).collect()
    }
}

/// Whether the pod has its newest revision and serves in a role.
fn is_updated(status: &InstanceSetStatus, pod: &str) -> bool {
    let newest = status.update_revisions.get(pod);
    newest.is_some()
        && status.current_revisions.get(pod) == newest
        && status.members_status.iter().any(|m| m.pod_name == pod)
}
