//! PURE: the phase of a Component from what its InstanceSet says, by KubeBlocks' rules.

use std::time::Duration;

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::{Component, ComponentPhase, InstanceSet, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::class;
use crate::definition::Minor;

/// All members ready, but not all with a role, for so long: the role path does not see them.
pub(super) const ROLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a phase follows from.
pub(super) struct Facts<'a> {
    pub(super) component: &'a Component,
    pub(super) instance_set: Option<&'a InstanceSet>,
    pub(super) now: &'a Time,
}

pub(super) fn phase(facts: &Facts<'_>) -> ComponentPhase {
    let component = facts.component;
    let before = component.status.as_ref().and_then(|status| status.phase);
    if component.metadata.deletion_timestamp.is_some() {
        return ComponentPhase::Deleting;
    }
    let Some(its) = facts.instance_set else {
        return ComponentPhase::Creating;
    };
    let (reflected, ready) = (
        reflects(its, component),
        is_ready(its) && !changes_minor(its, component) && !moves(its),
    );
    if component.spec.stop == Some(true) {
        let empty = its
            .status
            .as_ref()
            .is_some_and(|status| status.replicas == 0);
        let stopped = reflected && is_observed(its) && its.spec.stop && empty;
        return if stopped {
            ComponentPhase::Stopped
        } else {
            ComponentPhase::Stopping
        };
    }
    if failed(its) || roles_missing_for(its, facts.now).is_some_and(|t| t >= ROLE_TIMEOUT) {
        return ComponentPhase::Failed;
    }
    if reflected && ready {
        return ComponentPhase::Running;
    }
    let latched = its
        .status
        .as_ref()
        .is_some_and(|status| status.cluster_id.is_some());
    match before {
        Some(ComponentPhase::Stopped | ComponentPhase::Stopping | ComponentPhase::Starting) => {
            ComponentPhase::Starting
        }
        Some(ComponentPhase::Creating) | None => ComponentPhase::Creating,
        Some(_) if !latched => ComponentPhase::Creating,
        Some(_) => ComponentPhase::Updating,
    }
}

/// Whether the InstanceSet was built from the Component's newest spec.
fn reflects(its: &InstanceSet, component: &Component) -> bool {
    let generation = component
        .metadata
        .generation
        .unwrap_or_default()
        .to_string();
    its.annotations().get(labels::GENERATION) == Some(&generation)
}

/// Whether pods are still made for another minor than the one that is asked for.
fn changes_minor(its: &InstanceSet, component: &Component) -> bool {
    let asked = component
        .spec
        .service_version
        .as_deref()
        .and_then(Minor::of);
    let made_for = its.annotations().get(labels::SERVICE_VERSION);
    let made_for = made_for.and_then(|version| Minor::of(version));
    asked.is_some() && made_for.is_some() && asked != made_for
}

/// Whether members are still to move to another storage class.
fn moves(its: &InstanceSet) -> bool {
    let mut templates = its.spec.volume_claim_templates.iter();
    templates.any(|template| class::moves(its, template))
}

/// Whether the InstanceSet's status describes its newest spec.
fn is_observed(its: &InstanceSet) -> bool {
    let seen = its
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    seen.is_some() && seen == its.metadata.generation
}

/// KubeBlocks' `IsInstanceSetReady`: all there, ready, up to date and with a role.
fn is_ready(its: &InstanceSet) -> bool {
    let Some(status) = &its.status else {
        return false;
    };
    let wanted = its.spec.replicas;
    let counts = [
        status.replicas,
        status.ready_replicas,
        status.updated_replicas,
    ];
    is_observed(its) && counts.iter().all(|count| *count == wanted) && has_all_roles(its)
}

fn has_all_roles(its: &InstanceSet) -> bool {
    let members = its
        .status
        .as_ref()
        .map_or(0, |status| status.members_status.len());
    its.spec.roles.is_empty() || i32::try_from(members) == Ok(its.spec.replicas)
}

fn failed(its: &InstanceSet) -> bool {
    let status = its.status.as_ref();
    status.is_some_and(|s| condition::holds(&s.conditions, ConditionType::InstanceFailure))
}

/// How long all members have been ready without all of them having a role; `None` when that is not so.
pub(super) fn roles_missing_for(its: &InstanceSet, now: &Time) -> Option<Duration> {
    let status = its.status.as_ref()?;
    if has_all_roles(its) {
        return None;
    }
    let ready = condition::find(&status.conditions, ConditionType::InstanceReady)?;
    if ready.status != "True" {
        return None;
    }
    Duration::try_from(now.0.duration_since(ready.last_transition_time.0)).ok()
}

/// Whether the service answers: a leader, and a quorum of voters that are ready.
pub(super) fn is_available(its: &InstanceSet) -> bool {
    let Some(status) = &its.status else {
        return false;
    };
    if condition::find(&status.conditions, ConditionType::Quorate)
        .is_some_and(|quorate| quorate.status == "False")
    {
        return false;
    }
    if its.spec.roles.is_empty() {
        return status.ready_replicas > 0;
    }
    let members = &status.members_status;
    let voting = members
        .iter()
        .filter(|member| member.role.participates_in_quorum)
        .count();
    let leads = members.iter().any(|member| member.role.is_exclusive);
    let needed = super::build::quorum(its.spec.replicas);
    leads && i32::try_from(voting).is_ok_and(|voting| voting >= needed)
}
