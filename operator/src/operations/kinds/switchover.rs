//! Switchover: leadership moves. Who leads, and who is fit to, is told by the members' agents when they are asked.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{
    LastConfiguration, OpsComponentStatus, OpsRequestSpec, ProgressDetail, ProgressStatus,
};
use etcd_operator_api::{InstanceSet, OpsRequest};

use crate::operations::facts::{Progress, View};
use crate::operations::kind::Kind;
use crate::operations::observed::{Moved, Seen};
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct Switchover;

impl Kind for Switchover {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = spec.switchover.iter();
        let names = names.map(|ops| ops.component_name.clone().unwrap_or_default());
        ("switchover", names.collect())
    }

    fn started(&self) -> (ConditionType, Reason) {
        (ConditionType::Switchover, Reason::SwitchoverStarted)
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::MEMBERS
    }

    /// Leadership is asked to move between members of the component.
    fn check(
        &self,
        request: &OpsRequest,
        _seen: &Seen,
        before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        for asked in &request.spec.switchover {
            let component = asked.component_name.clone().unwrap_or_default();
            let Some(last) = before.components.get(&component) else {
                continue;
            };
            let instance = Some(&asked.instance_name);
            let candidate = asked
                .candidate_name
                .as_ref()
                .filter(|name| !name.is_empty());
            if instance == candidate {
                let name = asked.instance_name.clone();
                return Err(Refused::ItselfAsCandidate { component, name });
            }
            let mut named = instance.into_iter().chain(candidate);
            if let Some(name) = named.find(|name| !last.instances.contains(*name)) {
                return Err(Refused::Stranger {
                    component,
                    name: name.clone(),
                    known: last.instances.join(", "),
                });
            }
        }
        Ok(())
    }
    /// The pods that the agents said lead have the role that only a leader has.
    fn progress(&self, view: &View<'_>) -> Option<Progress> {
        let mut progress = Progress {
            components: view.recorded.components.clone(),
            complete: true,
        };
        for (name, component) in &mut progress.components {
            let set = view.seen.sets.get(name);
            for detail in &mut component.progress_details {
                let leads = set.is_some_and(|set| leads(set, &detail.object_key));
                progress.complete &= leads;
                let (status, lacks) = match leads {
                    true => (ProgressStatus::Succeed, None),
                    false => (
                        ProgressStatus::Processing,
                        Some("it has no leader's role yet"),
                    ),
                };
                detail.status = status;
                detail.message = lacks.map(str::to_owned);
            }
        }
        Some(progress)
    }
}

/// Where no roles are declared, the agent's word is all there is.
fn leads(set: &InstanceSet, object: &str) -> bool {
    let members = set.status.iter().flat_map(|status| &status.members_status);
    let mut leaders = members.filter(|member| member.role.is_exclusive);
    set.spec.roles.is_empty() || leaders.any(|leader| object == format!("Pod/{}", leader.pod_name))
}

/// The pods that must be seen to lead, for the record.
pub(in super::super) fn leaders(moved: &Moved) -> BTreeMap<String, OpsComponentStatus> {
    let line = |(component, pod): (&String, &String)| {
        let detail = ProgressDetail {
            object_key: format!("Pod/{pod}"),
            status: ProgressStatus::Processing,
            message: None,
        };
        let status = OpsComponentStatus {
            progress_details: vec![detail],
            ..OpsComponentStatus::default()
        };
        (component.clone(), status)
    };
    moved.leaders.iter().map(line).collect()
}
