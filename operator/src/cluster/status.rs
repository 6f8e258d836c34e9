//! PURE: what a Cluster tells its user, from its components and the outcome of the reconcile.

use std::collections::BTreeMap;

use etcd_operator_api::cluster::ClusterComponentStatus;
use etcd_operator_api::condition::{self, ConditionType, Observation, Reason, Truth};
use etcd_operator_api::{
    Cluster, ClusterPhase, ClusterStatus, Component, ComponentPhase, TerminationPolicy, labels,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use super::phase::compose;

/// How the reconcile went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All children are as desired.
    Applied,
    /// The spec cannot be carried out.
    Refused(String),
    /// A child could not be read or written; what Kubernetes refuses and would refuse again, by object.
    Failed(String, BTreeMap<String, String>),
}

/// The status that follows; `missing` names the admission policies that are not installed.
pub(super) fn status(
    cluster: &Cluster,
    components: &[Component],
    outcome: &Outcome,
    missing: &[String],
    now: &Time,
) -> ClusterStatus {
    let deleting = cluster.metadata.deletion_timestamp.is_some();
    let held_back = cluster.spec.termination_policy == TerminationPolicy::DoNotTerminate;
    let old = cluster.status.clone().unwrap_or_default();
    let phases: Vec<_> = components.iter().map(phase_of).collect();
    let phase = if deleting && !held_back {
        Some(ClusterPhase::Deleting)
    } else if components.is_empty() && *outcome != Outcome::Applied {
        // Nothing was ever made: the spec or the API server stands in the way.
        Some(ClusterPhase::Failed)
    } else {
        compose(&phases).or(old.phase)
    };
    let mut observations = match (outcome, refused_component(components)) {
        (Outcome::Applied, Some(text)) => outcome_conditions(cluster, &Outcome::Refused(text)),
        _ => outcome_conditions(cluster, outcome),
    };
    observations.extend(component_conditions(cluster, components));
    observations.extend(unprotected(missing));
    if deleting {
        observations.push(terminating(held_back));
    }
    let mut conditions = old.conditions;
    condition::record(
        &mut conditions,
        &observations,
        cluster.metadata.generation,
        now,
    );
    conditions.retain(|known| observations.iter().any(|o| o.kind.as_str() == known.type_));
    ClusterStatus {
        observed_generation: cluster.metadata.generation,
        phase,
        message: message(components, outcome),
        components: components
            .iter()
            .map(|c| component_status(cluster, c))
            .collect(),
        refused_objects: match outcome {
            Outcome::Failed(_, refused) => refused.clone(),
            Outcome::Applied | Outcome::Refused(_) => BTreeMap::new(),
        },
        conditions,
    }
}

/// The phase of a component; one that has not seen its newest spec yet is not running by it.
fn phase_of(component: &Component) -> Option<ComponentPhase> {
    let status = component.status.as_ref()?;
    let current = status.observed_generation == component.metadata.generation;
    match status.phase {
        Some(ComponentPhase::Running) if !current => Some(ComponentPhase::Updating),
        phase => phase,
    }
}

fn component_status(cluster: &Cluster, component: &Component) -> (String, ClusterComponentStatus) {
    let generation: Option<i64> = component
        .annotations()
        .get(labels::GENERATION)
        .and_then(|text| text.parse().ok());
    let status = component.status.clone().unwrap_or_default();
    let seen = status.observed_generation == component.metadata.generation;
    let applied = condition::holds(&status.conditions, ConditionType::ApplyResources);
    // What it has read and could not write is not reflected by what runs.
    let observed_generation = generation.filter(|_| seen && applied);
    let current = seen && generation.is_some() && generation == cluster.metadata.generation;
    let summary = ClusterComponentStatus {
        phase: phase_of(component),
        component_def: Some(component.spec.comp_def.clone()),
        service_version: component.spec.service_version.clone(),
        message: status.message,
        refused_objects: if current {
            status.refused_objects
        } else {
            BTreeMap::new()
        },
        observed_generation,
        up_to_date: observed_generation.is_some()
            && observed_generation == cluster.metadata.generation,
    };
    (component_name(component), summary)
}

fn component_name(component: &Component) -> String {
    component
        .labels()
        .get(labels::COMPONENT_NAME)
        .cloned()
        .unwrap_or_else(|| component.name_any())
}

/// What a component says that cannot be carried out: it is the Cluster's spec that must be mended.
fn refused_component(components: &[Component]) -> Option<String> {
    components.iter().find_map(|component| {
        let conditions = &component.status.as_ref()?.conditions;
        let started = condition::find(conditions, ConditionType::ProvisioningStarted)?;
        let refused = started.status == Truth::False.as_str();
        let name = component_name(component);
        refused.then(|| format!("spec.componentSpecs[{name}].{}", started.message))
    })
}

fn outcome_conditions(cluster: &Cluster, outcome: &Outcome) -> Vec<Observation> {
    let name = cluster.name_any();
    let started = |text: String| {
        Observation::new(
            ConditionType::ProvisioningStarted,
            true,
            Reason::PreCheckSucceed,
            text,
        )
    };
    let applied = |status: Truth, reason, text: String| {
        Observation::new(ConditionType::ApplyResources, status, reason, text)
    };
    let began = format!("the operator provisions cluster {name}");
    match outcome {
        Outcome::Applied => vec![
            started(began),
            applied(
                Truth::True,
                Reason::ApplyResourcesSucceed,
                "all objects are applied".into(),
            ),
        ],
        Outcome::Failed(text, _) => vec![
            started(began),
            applied(Truth::False, Reason::ApplyResourcesFailed, text.clone()),
        ],
        Outcome::Refused(text) => vec![
            Observation::new(
                ConditionType::ProvisioningStarted,
                false,
                Reason::PreCheckFailed,
                text,
            ),
            applied(
                Truth::False,
                Reason::ApplyResourcesFailed,
                "the spec cannot be carried out and nothing of it is applied; what was applied last continues".into(),
            ),
        ],
    }
}

fn component_conditions(cluster: &Cluster, components: &[Component]) -> Vec<Observation> {
    let name = cluster.name_any();
    let not_ready: Vec<String> = components
        .iter()
        .filter(|component| phase_of(component) != Some(ComponentPhase::Running))
        .map(component_name)
        .collect();
    let ready = if components.is_empty() {
        let text = format!("cluster {name} is NOT ready, it has no components yet");
        Observation::new(
            ConditionType::Ready,
            false,
            Reason::ComponentsNotReady,
            text,
        )
    } else if not_ready.is_empty() {
        let text = format!("cluster {name} is ready");
        Observation::new(ConditionType::Ready, true, Reason::ClusterReady, text)
    } else {
        let names = not_ready.join(",");
        let text = format!("cluster {name} is NOT ready, unavailable components: {names}");
        Observation::new(
            ConditionType::Ready,
            false,
            Reason::ComponentsNotReady,
            text,
        )
    };
    let away: Vec<String> = components
        .iter()
        .filter(|component| {
            let status = component.status.as_ref();
            !status.is_some_and(|s| condition::holds(&s.conditions, ConditionType::Available))
        })
        .map(component_name)
        .collect();
    let available = if !components.is_empty() && away.is_empty() {
        let text = format!("cluster {name} is available");
        Observation::new(ConditionType::Available, true, Reason::Available, text)
    } else {
        let text = format!(
            "cluster {name} is NOT available, components: {}",
            away.join(",")
        );
        Observation::new(ConditionType::Available, false, Reason::Unavailable, text)
    };
    let mut all = vec![ready, available];
    all.extend(standing(components, condition::alarm_of));
    all.extend(standing(components, condition::tainted_of));
    all.extend(held(components));
    all.extend(certificates(components));
    all.extend(accounts(components));
    all
}

/// The updates of its components that are held back.
fn held(components: &[Component]) -> Option<Observation> {
    let told = components.iter().filter_map(|component| {
        let held = condition::held_of(&component.status.as_ref()?.conditions)?;
        let text = format!("{}: {}", component_name(component), held.message);
        Some((held.reason, text))
    });
    let (reasons, told): (Vec<_>, Vec<_>) = told.unzip();
    // What ends by itself first.
    let mut first = [Reason::BackupFirst, Reason::V2StoreUnchecked].into_iter();
    let reason = first.find(|reason| reasons.contains(reason));
    let reason = reason.unwrap_or(Reason::OperatorChanged);
    let kind = ConditionType::UpdateHeld;
    (!told.is_empty()).then(|| Observation::new(kind, true, reason, told.join("; ")))
}

/// What its components say of their certificates; one that is at fault before those that are not.
fn certificates(components: &[Component]) -> Option<Observation> {
    let told = components.iter().filter_map(|component| {
        let told = condition::certificates_of(&component.status.as_ref()?.conditions)?;
        Some((component_name(component), told))
    });
    worst(told.collect())
}

/// What its components say of etcd's users; one that is at fault before those that are not.
fn accounts(components: &[Component]) -> Option<Observation> {
    let told = components.iter().filter_map(|component| {
        let told = condition::accounts_of(&component.status.as_ref()?.conditions)?;
        Some((component_name(component), told))
    });
    worst(told.collect())
}

/// What is at fault before what is not, each text with its component.
fn worst(told: Vec<(String, Observation)>) -> Option<Observation> {
    let fault = told.iter().find(|(_, told)| told.status != Truth::True);
    let first = &fault.or(told.first())?.1;
    let texts = told.iter().filter(|(_, told)| told.status == first.status);
    let texts: Vec<_> = texts
        .map(|(name, told)| format!("{name}: {}", told.message))
        .collect();
    Some(Observation::new(
        first.kind,
        first.status,
        first.reason,
        texts.join("; "),
    ))
}

/// What stands in its components, the reason that of the first.
fn standing(
    components: &[Component],
    of: fn(&[Condition]) -> Option<Observation>,
) -> Option<Observation> {
    let raised = components.iter().filter_map(|component| {
        let told = of(&component.status.as_ref()?.conditions)?;
        Some((component_name(component), told))
    });
    let raised: Vec<_> = raised.collect();
    let (kind, reason) = raised.first().map(|(_, told)| (told.kind, told.reason))?;
    let told = raised.iter();
    let told = told.map(|(name, told)| format!("{name}: {}", told.message));
    let text = told.collect::<Vec<_>>().join("; ");
    Some(Observation::new(kind, true, reason, text))
}

/// Others may edit what the operator owns: its members can be taken away by an ordinary edit.
fn unprotected(missing: &[String]) -> Option<Observation> {
    let text = format!(
        "members are not protected from edits of other accounts, apply what `/operator admission` prints in the pod of the operator: {}",
        missing.join("; ")
    );
    let (kind, reason) = (ConditionType::Unprotected, Reason::AdmissionMissing);
    (!missing.is_empty()).then(|| Observation::new(kind, true, reason, text))
}

fn terminating(held_back: bool) -> Observation {
    if held_back {
        let text = "deletion is blocked by spec.terminationPolicy DoNotTerminate: set it to Delete or WipeOut to delete the cluster";
        Observation::new(
            ConditionType::Terminating,
            false,
            Reason::TerminationRefused,
            text,
        )
    } else {
        let text = "components are being deleted";
        Observation::new(
            ConditionType::Terminating,
            true,
            Reason::DeletingChildren,
            text,
        )
    }
}

fn message(components: &[Component], outcome: &Outcome) -> Option<String> {
    if let Outcome::Refused(text) | Outcome::Failed(text, _) = outcome {
        return Some(text.clone());
    }
    let parts: Vec<String> = components
        .iter()
        .flat_map(|component| {
            let name = component_name(component);
            let messages: BTreeMap<_, _> = component
                .status
                .as_ref()
                .map(|s| s.message.clone())
                .unwrap_or_default();
            messages
                .into_iter()
                .map(move |(object, text)| format!("{name}: {object}: {text}"))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
