//! PURE: what a Component tells, from its InstanceSet and the outcome of the reconcile.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{self, ConditionType, Observation, Reason, Truth};
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{
    Component, ComponentPhase, ComponentStatus, InstanceSet, TerminationPolicy,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::certificates::Certified;
use super::change::Wait;
use super::credentials::Provided;
use super::phase::{Facts, is_available, phase, roles_missing_for};

/// How the reconcile went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All children are as desired.
    Applied,
    /// So they are, but for what the operator would change in the pods on its own.
    Held(String),
    /// So they are, but that something comes before etcd changes its minor.
    Waits(Wait),
    /// The spec cannot be carried out.
    Refused(String),
    /// A child could not be read or written; what Kubernetes refuses and would refuse again, by object.
    Failed(String, BTreeMap<String, String>),
}

/// What came of Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Secured {
    /// Of the certificates; `None` without TLS, or when nothing was looked at.
    pub(super) certified: Option<Certified>,
    /// Of etcd's users; `None` without any, or when nothing was looked at.
    pub(super) provided: Option<Provided>,
}

/// The status that follows.
pub(super) fn status(
    component: &Component,
    instance_set: Option<&InstanceSet>,
    outcome: &Outcome,
    secured: &Secured,
    now: &Time,
) -> ComponentStatus {
    let facts = Facts {
        component,
        instance_set,
        now,
    };
    let phase = match (outcome, instance_set) {
        // Nothing runs and nothing can be made: only a new spec helps.
        (Outcome::Refused(_), None) if component.metadata.deletion_timestamp.is_none() => {
            ComponentPhase::Failed
        }
        _ => phase(&facts),
    };
    let mut observations = outcome_conditions(component, outcome);
    observations.push(available(component, instance_set));
    observations.extend(instance_set.into_iter().flat_map(standing));
    observations.extend(secured.certified.as_ref().map(certificates));
    let provided = secured.provided.as_ref();
    observations.extend(provided.map(|provided| accounts(provided, instance_set)));
    let mut conditions = component
        .status
        .as_ref()
        .map(|s| s.conditions.clone())
        .unwrap_or_default();
    condition::record(
        &mut conditions,
        &observations,
        component.metadata.generation,
        now,
    );
    conditions.retain(|known| observations.iter().any(|o| o.kind.as_str() == known.type_));
    ComponentStatus {
        observed_generation: component.metadata.generation,
        conditions,
        phase: Some(phase),
        message: messages(&facts, outcome, secured),
        refused_objects: match outcome {
            Outcome::Failed(_, refused) => refused.clone(),
            Outcome::Applied | Outcome::Held(_) | Outcome::Waits(_) | Outcome::Refused(_) => {
                BTreeMap::new()
            }
        },
    }
}

fn outcome_conditions(component: &Component, outcome: &Outcome) -> Vec<Observation> {
    let name = component.name_any();
    let (started, applied) = (
        ConditionType::ProvisioningStarted,
        ConditionType::ApplyResources,
    );
    let began = format!("the operator provisions component {name}");
    let fine = Observation::new(started, true, Reason::PreCheckSucceed, began);
    match outcome {
        Outcome::Applied | Outcome::Held(_) | Outcome::Waits(_) => {
            let text = "all objects are applied";
            let written = Observation::new(applied, true, Reason::ApplyResourcesSucceed, text);
            let held = |reason, text| {
                Some(Observation::new(
                    ConditionType::UpdateHeld,
                    true,
                    reason,
                    text,
                ))
            };
            let held = match outcome {
                Outcome::Held(text) => held(Reason::OperatorChanged, text),
                Outcome::Waits(wait) => held(wait.reason, &wait.text),
                _ => None,
            };
            [fine, written].into_iter().chain(held).collect()
        }
        Outcome::Failed(text, _) => {
            vec![
                fine,
                Observation::new(applied, false, Reason::ApplyResourcesFailed, text),
            ]
        }
        Outcome::Refused(text) => {
            let nothing = "the spec cannot be carried out and nothing of it is applied; what was applied last continues";
            vec![
                Observation::new(started, false, Reason::PreCheckFailed, text),
                Observation::new(applied, false, Reason::ApplyResourcesFailed, nothing),
            ]
        }
    }
}

fn available(component: &Component, instance_set: Option<&InstanceSet>) -> Observation {
    let name = component.name_any();
    let kind = ConditionType::Available;
    if instance_set.is_some_and(is_available) {
        let text = format!("component {name} has a leader and a quorum of ready voters");
        Observation::new(kind, true, Reason::Available, text)
    } else {
        let text = format!("component {name} has no leader or no quorum of ready voters");
        Observation::new(kind, false, Reason::Unavailable, text)
    }
}

/// The alarm that its etcd has raised, and its tainted nodes; no condition while there is none.
fn standing(its: &InstanceSet) -> Vec<Observation> {
    let conditions = its.status.as_ref().map(|status| &status.conditions[..]);
    let conditions = conditions.unwrap_or_default();
    let told = [
        condition::alarm_of(conditions),
        condition::tainted_of(conditions),
    ];
    told.into_iter().flatten().collect()
}

fn certificates(certified: &Certified) -> Observation {
    let kind = ConditionType::CertificatesValid;
    match certified {
        Certified::Good(text) => Observation::new(kind, true, Reason::Certified, text),
        Certified::Kept(text) => Observation::new(kind, false, Reason::CertificateFault, text),
    }
}

fn accounts(provided: &Provided, instance_set: Option<&InstanceSet>) -> Observation {
    let kind = ConditionType::AccountsReady;
    let told = instance_set.and_then(|its| its.status.as_ref()?.accounts.as_ref());
    let users = provided.users;
    if let Some(text) = &provided.kept {
        return Observation::new(kind, false, Reason::AccountFault, text);
    }
    if told.is_some_and(|told| told.applied.as_ref() == Some(&provided.generation)) {
        let text = format!("etcd has its {users} users, and asks who calls");
        return Observation::new(kind, true, Reason::AccountsApplied, text);
    }
    match told.and_then(|told| told.fault.as_ref()) {
        Some(text) => Observation::new(kind, false, Reason::AccountFault, text),
        None => Observation::new(
            kind,
            Truth::Unknown,
            Reason::AccountsPending,
            "the leader's agent has not given etcd the newest users yet: a mounted Secret takes a minute or two to arrive",
        ),
    }
}

fn messages(facts: &Facts<'_>, outcome: &Outcome, secured: &Secured) -> BTreeMap<String, String> {
    let mut messages = BTreeMap::new();
    if let Outcome::Refused(text)
    | Outcome::Failed(text, _)
    | Outcome::Held(text)
    | Outcome::Waits(Wait { text, .. }) = outcome
    {
        messages.insert(
            format!("Component/{}", facts.component.name_any()),
            text.clone(),
        );
    }
    let name = ComponentName::existing(&facts.component.name_any());
    if let Some(Certified::Kept(text)) = &secured.certified {
        messages.insert(format!("Secret/{}", name.tls_secret()), text.clone());
    }
    if let Some(Provided {
        kept: Some(text), ..
    }) = &secured.provided
    {
        messages.insert(format!("Secret/{}", name.accounts_secret()), text.clone());
    }
    let Some(its) = facts.instance_set else {
        return messages;
    };
    let goes = its.metadata.deletion_timestamp.is_some();
    let held = facts.component.spec.termination_policy == TerminationPolicy::DoNotTerminate;
    // What was wrong with one that goes matters no more.
    let told = waiting_of(its).filter(|_| goes && !held);
    if let Some(text) = told.or_else(|| instance_set_message(its, facts.now)) {
        messages.insert(format!("InstanceSet/{}", its.name_any()), text);
    }
    messages
}

/// The gravest thing the InstanceSet says: a failed condition, missing roles, what is being waited for.
fn instance_set_message(its: &InstanceSet, now: &Time) -> Option<String> {
    let status = its.status.as_ref()?;
    let grave = [
        (ConditionType::InstanceFailure, Truth::True),
        (ConditionType::AlarmRaised, Truth::True),
        (ConditionType::Reconciled, Truth::False),
        (ConditionType::ClusterIdConsistent, Truth::False),
        (ConditionType::Quorate, Truth::False),
    ];
    let wrong = grave.iter().find_map(|(kind, bad)| {
        let found = condition::find(&status.conditions, *kind)?;
        (found.status == bad.as_str()).then(|| format!("{}: {}", found.reason, found.message))
    });
    if wrong.is_some() {
        return wrong;
    }
    if roles_missing_for(its, now).is_some_and(|t| t >= super::phase::ROLE_TIMEOUT) {
        return Some("Role probe timeout, check whether the application is available".to_owned());
    }
    waiting_of(its).or_else(|| status.message.clone())
}

/// The first thing that it waits for.
fn waiting_of(its: &InstanceSet) -> Option<String> {
    let first = its.status.as_ref()?.waiting_on.first()?;
    Some(format!("{}: {}", first.reason, first.message))
}
