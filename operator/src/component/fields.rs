//! PURE: fields of a Component that Kubernetes would take and that mean nothing here, or too much. Each is refused by
//! name.

use etcd_operator_api::names::ComponentName;
use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{Component, labels};
use failover_traces::{COLLECTOR_VARIABLE, endpoint};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

/// A field that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadField {
    #[error(
        "volumeClaimTemplates[{name}].spec.volumeMode {mode:?} is not supported: etcd needs Filesystem"
    )]
    VolumeMode { name: String, mode: String },
    #[error(
        "instanceUpdateStrategy.rollingUpdate.maxUnavailable is 0, by which no pod is ever updated: set 1 or more, or the \
         type OnDelete"
    )]
    NoneUnavailable,
    #[error(
        "offlineInstances[{name}] is no pod of {component}, whose pods are {component}-0, {component}-1 and so on"
    )]
    Offline { name: String, component: String },
    #[error(
        "metadata.annotations[{}] {value:?} is none of open (clients from everywhere), namespace (clients of this namespace), members \
         (clients by policies of your own) and none",
        labels::NETWORK_POLICY
    )]
    NetworkPolicy { value: String },
    #[error(
        "metadata.annotations[{}] {value:?} is no whole number of minutes from {} to {}",
        labels::REPLACE_UNREACHABLE,
        labels::UNREACHABLE_LEAST,
        labels::UNREACHABLE_MOST
    )]
    ReplaceUnreachable { value: String },
    #[error(
        "metadata.annotations[{}] {value:?} is neither true (etcd changes its minor without a backup before) nor false",
        labels::WITHOUT_BACKUP
    )]
    WithoutBackup { value: String },
    #[error("env {COLLECTOR_VARIABLE}: {0}")]
    Collector(String),
    #[error(
        "metadata.annotations[{}] {value:?} is neither true (etcd goes from 3.5 to 3.6 whatever its store of API v2 holds) nor \
         false",
        labels::WITHOUT_V2_CHECK
    )]
    WithoutV2Check { value: String },
}

pub(super) fn check(component: &Component) -> Result<(), BadField> {
    let spec = &component.spec;
    for template in &spec.volume_claim_templates {
        let mode = template.spec.volume_mode.as_deref().unwrap_or("Filesystem");
        if mode != "Filesystem" {
            let (name, mode) = (template.name.clone(), mode.to_owned());
            return Err(BadField::VolumeMode { name, mode });
        }
    }
    let strategy = spec.instance_update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    if rolling
        .and_then(|rolling| rolling.max_unavailable.as_ref())
        .is_some_and(is_none)
    {
        return Err(BadField::NoneUnavailable);
    }
    let minutes = component.annotations().get(labels::REPLACE_UNREACHABLE);
    if let Some(value) = minutes.filter(|text| labels::minutes_unreachable(text).is_none()) {
        let value = value.clone();
        return Err(BadField::ReplaceUnreachable { value });
    }
    let neither = |name: &str| {
        let value = component.annotations().get(name);
        value
            .filter(|text| !matches!(text.as_str(), "true" | "false"))
            .cloned()
    };
    if let Some(value) = neither(labels::WITHOUT_BACKUP) {
        return Err(BadField::WithoutBackup { value });
    }
    let mut told = spec.env.iter().filter(|env| env.name == COLLECTOR_VARIABLE);
    let bad = told.find_map(|env| {
        let collector = env.value.as_deref().filter(|text| !text.is_empty())?;
        endpoint(collector).err()
    });
    if let Some(error) = bad {
        return Err(BadField::Collector(error.to_string()));
    }
    if let Some(value) = neither(labels::WITHOUT_V2_CHECK) {
        return Err(BadField::WithoutV2Check { value });
    }
    let name = ComponentName::existing(&component.name_any());
    let mut offline = spec.offline_instances.iter();
    match offline.find(|pod| name.ordinal(pod).is_none()) {
        Some(pod) => Err(BadField::Offline {
            name: pod.clone(),
            component: name.to_string(),
        }),
        None => Ok(()),
    }
}

fn is_none(amount: &IntOrString) -> bool {
    match amount {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(text) => text.trim_end_matches('%').parse() == Ok(0),
    }
}

/// What claims keep for life, of a template, in words.
pub(super) fn fixed(template: &VolumeClaimTemplate) -> [(&'static str, String); 4] {
    let spec = &template.spec;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let modes = match spec.access_modes.join(",") {
        modes if modes.is_empty() => "ReadWriteOnce".to_owned(),
        modes => modes,
    };
    let limits = spec.resources.limits.iter();
    let limits: Vec<String> = limits
        .map(|(name, of)| format!("{name} {}", of.0))
        .collect();
    let mode = spec.volume_mode.clone();
    [
        ("accessModes", modes),
        ("resources.limits", limits.join(", ")),
        (
            "volumeMode",
            mode.unwrap_or_else(|| "Filesystem".to_owned()),
        ),
        (
            "volumeAttributesClassName",
            text(&spec.volume_attributes_class_name),
        ),
    ]
}
