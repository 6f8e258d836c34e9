//! Switchover: leadership moves. Who leads, and who is fit to, is told by the members' agents when they are asked.

use etcd_operator_api::OpsRequest;
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{LastConfiguration, OpsRequestSpec};

use super::{Edited, Kind};
use crate::operations::edit::Field;
use crate::operations::observed::Seen;
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

    fn fields(&self, _edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        Ok(Vec::new())
    }
}
