//! The disruption budget: an integer that is never below the quorum (rule P4).

use std::collections::BTreeMap;

use etcd_operator_api::{InstanceSet, labels};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::Valid;
use super::metadata::{child, child_labels};
use crate::controller::own;

/// Voters that must answer out of `voters`.
pub(in super::super) fn quorum(voters: i32) -> i32 {
    voters / 2 + 1
}

/// Only voters count, and while members leave the larger membership's quorum holds. One member has no quorum to
/// keep: its budget lets drains pass. Pods that are not ready may always be evicted: they keep no quorum.
pub(in super::super) fn disruption_budget(
    valid: &Valid<'_>,
    live: Option<&InstanceSet>,
) -> PodDisruptionBudget {
    let spec = &valid.component.spec;
    let status = live.and_then(|its| its.status.as_ref());
    let voters = status.map_or(0, |s| s.members.iter().filter(|m| !m.is_learner).count());
    let members = spec.replicas.max(i32::try_from(voters).unwrap_or(0));
    let stopped = spec.stop == Some(true);
    let least = if stopped || members < 3 {
        0
    } else {
        quorum(members)
    };
    let mut budget = PodDisruptionBudget {
        metadata: child(valid, valid.name.disruption_budget()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(least)),
            selector: Some(voters_of(valid)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    };
    own(&mut budget, valid.component);
    budget
}

fn voters_of(valid: &Valid<'_>) -> LabelSelector {
    let labels: BTreeMap<String, String> = child_labels(valid);
    let roles = valid
        .definition
        .spec
        .roles
        .iter()
        .filter(|role| role.participates_in_quorum);
    let voting: Vec<String> = roles.map(|role| role.name.clone()).collect();
    let only_voters = LabelSelectorRequirement {
        key: labels::ROLE.to_owned(),
        operator: "In".to_owned(),
        values: Some(voting.clone()),
    };
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: (!voting.is_empty()).then(|| vec![only_voters]),
    }
}
