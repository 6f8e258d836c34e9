//! PURE: a component's settings -> flags of its etcd, in the version that runs. Names and ranges are the API's
//! ([`etcd_operator_api::settings`]); here is what depends on the version, the definition and the other settings.

use std::collections::BTreeMap;

use etcd_operator_api::quantity::amount;
use etcd_operator_api::settings::{
    self, BadSetting, COMPACTION_MODE, COMPACTION_RETENTION, ELECTION, Flag, HEARTBEAT,
    OF_THE_AGENT, QUOTA, RELAY_CLIENTS_VARIABLE,
};
use etcd_operator_api::{Component, InstanceSet, names};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodSpec, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kbagent_protocol::flags;

use super::part::set;
use crate::definition::minor_of;

/// Variable by which the agent knows the election timeout.
const AGENT_ELECTION: &str = "KB_ELECTION_TIMEOUT_MS";
/// Variable by which agent and launcher know the pod's addresses of both families.
pub(super) const ADDRESSES: &str = "POD_IPS";
/// etcd does not start with fewer heartbeats in an election timeout (`embed.Config.Validate`).
const HEARTBEATS: u64 = 5;

/// A setting cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SettingError {
    #[error("configs[etcd].variables: {0}")]
    Bad(#[from] BadSetting),
    #[error(
        "configs[etcd].variables: election-timeout {election} ms must be at least {HEARTBEATS} times heartbeat-interval {heartbeat} ms"
    )]
    Election { election: u64, heartbeat: u64 },
    #[error(
        "configs[etcd].variables: quota-backend-bytes {quota} is more than the claim {claim} holds, {storage}"
    )]
    Quota {
        quota: u64,
        claim: String,
        storage: String,
    },
    #[error(
        "configs[etcd].variables: auto-compaction-retention {retention} is a length of time, which etcd in auto-compaction-mode \
         revision takes for that many revisions in nanoseconds: set auto-compaction-retention to a number of revisions too, \
         e.g. 10000"
    )]
    Retention { retention: String },
}

/// Settings as they are given to etcd and its agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// Values by flag, without dashes in front.
    flags: BTreeMap<String, String>,
    /// Values of the agent's variables.
    agent: Vec<(&'static str, String)>,
    /// The quota that volumes leave, where they do not hold the definition's, or not yet the owner's.
    pub(super) fitted: Option<u64>,
}

/// The component's settings, checked.
pub(super) fn flags(
    component: &Component,
    its: Option<&InstanceSet>,
    version: &str,
    runtime: &PodSpec,
) -> Result<Flags, SettingError> {
    let wanted = settings::of(&component.spec.configs);
    let mut flags = BTreeMap::new();
    for (name, value) in &wanted {
        let setting = settings::check(name, value)?;
        let flag = match minor_of(version) {
            Some(minor) => setting.flag_in(minor)?,
            None => (setting.flag != Flag::Agent).then(|| name.clone()),
        };
        if let Some(flag) = flag {
            flags.insert(flag, value.clone());
        }
    }
    let args = runtime.containers.first().and_then(|c| c.args.as_deref());
    let args = flags::joined(args.unwrap_or_default());
    let effective = |name: &str| -> Option<&str> {
        let declared = || flags::last(&args, name);
        wanted.get(name).map(String::as_str).or_else(declared)
    };
    let number = |name: &str| -> Option<u64> { effective(name)?.parse().ok() };
    check_compaction(effective(COMPACTION_MODE), effective(COMPACTION_RETENTION))?;
    if let (Some(election), Some(heartbeat)) = (number(ELECTION), number(HEARTBEAT))
        && election < heartbeat.saturating_mul(HEARTBEATS)
    {
        return Err(SettingError::Election {
            election,
            heartbeat,
        });
    }
    if let Some(quota) = wanted.get(QUOTA).and_then(|quota| quota.parse().ok()) {
        check_quota(component, quota)?;
    }
    let fitted = match (wanted.get(QUOTA), number(QUOTA)) {
        (None, Some(quota)) => fitting_quota(component, its, quota),
        (Some(_), Some(quota)) => its.and_then(|its| kept_quota(its, runtime, quota)),
        _ => None,
    };
    if let Some(fits) = fitted {
        flags.insert(QUOTA.to_owned(), fits.to_string());
    }
    let told = OF_THE_AGENT.into_iter().chain([(ELECTION, AGENT_ELECTION)]);
    let agent = told
        .filter_map(|(setting, variable)| Some((variable, wanted.get(setting)?.clone())))
        .collect();
    Ok(Flags {
        flags,
        agent,
        fitted,
    })
}

/// The definition's quota does for claims that hold it. Where one does not, half of it is left for the database: its
/// log and a copy while it is defragmented need space too.
fn fitting_quota(component: &Component, its: Option<&InstanceSet>, quota: u64) -> Option<u64> {
    let templates = component.spec.volume_claim_templates.iter();
    let sizes = templates.filter_map(|t| amount(t.spec.resources.requests.get("storage")?));
    let there = its.map_or(f64::INFINITY, smallest);
    let least = sizes.fold(there, f64::min);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes of claims are positive and far below 2^53 bytes"
    )]
    (quota as f64 >= least).then_some((least / 2.0) as u64)
}

/// The smallest volume that is there: while they grow it counts.
fn smallest(its: &InstanceSet) -> f64 {
    let status = its.status.iter();
    let volumes = status.flat_map(|status| &status.volumes);
    let there = volumes.filter_map(|volume| amount(&Quantity(volume.capacity.clone()?)));
    there.fold(f64::INFINITY, f64::min)
}

/// The quota that etcd has, while a volume does not hold the larger one that is asked for. Of what is asked of claims
/// nothing may ever come.
fn kept_quota(its: &InstanceSet, runtime: &PodSpec, quota: u64) -> Option<u64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a quota is far below 2^53 bytes"
    )]
    let holds = quota as f64 <= smallest(its);
    if holds {
        return None;
    }
    let etcd = &runtime.containers.first()?.name;
    let template: PodTemplateSpec = its.spec.template.parse("spec.template").ok()?;
    let mut containers = template.spec?.containers.into_iter();
    let args = containers.find(|container| container.name == *etcd)?.args?;
    let has: u64 = flags::last(&flags::joined(&args), QUOTA)?.parse().ok()?;
    (has < quota).then_some(has)
}

/// By time, a bare number is one of hours; by revision, only a number will do.
fn check_compaction(mode: Option<&str>, retention: Option<&str>) -> Result<(), SettingError> {
    let by_revision = mode == Some("revision");
    match retention.filter(|text| by_revision && text.parse::<u64>().is_err()) {
        Some(retention) => Err(SettingError::Retention {
            retention: retention.to_owned(),
        }),
        None => Ok(()),
    }
}

/// A database that may outgrow its disk ends in a full disk instead of an alarm.
fn check_quota(component: &Component, quota: u64) -> Result<(), SettingError> {
    for template in &component.spec.volume_claim_templates {
        let Some(storage) = template.spec.resources.requests.get("storage") else {
            continue;
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a quota is far below 2^53 bytes"
        )]
        let too_large = amount(storage).is_some_and(|bytes| quota as f64 > bytes);
        if too_large {
            return Err(SettingError::Quota {
                quota,
                claim: names::claim(&template.name, "*"),
                storage: storage.0.clone(),
            });
        }
    }
    Ok(())
}

impl Flags {
    /// Puts the flags in the place of the definition's.
    pub(super) fn put_into_etcd(&self, container: &mut Container) {
        // The launcher has etcd share its port.
        for (variable, value) in &self.agent {
            if *variable == RELAY_CLIENTS_VARIABLE {
                set(container, variable, value);
            }
        }
        if self.flags.is_empty() {
            return;
        }
        let args: &mut Vec<String> = container.args.get_or_insert_default();
        *args = flags::without(args, |flag| self.flags.contains_key(flag));
        args.extend(
            self.flags
                .iter()
                .map(|(flag, value)| format!("--{flag}={value}")),
        );
    }

    /// Tells the agent what concerns it, in the place of the definition's.
    pub(super) fn tell_agent(&self, container: &mut Container) {
        for (variable, value) in &self.agent {
            set(container, variable, value);
        }
    }
}

/// Where clients come to the agent, it and the launcher are told all addresses of the pod, at each of which clients may
/// come. Containers without that stay as they are.
pub(super) fn tell_addresses(container: &mut Container) {
    let env = container.env.as_deref().unwrap_or_default();
    let relays = |variable: &EnvVar| {
        variable.name == RELAY_CLIENTS_VARIABLE && variable.value.as_deref() == Some("true")
    };
    let told = env.iter().any(|variable| variable.name == ADDRESSES);
    if told || !env.iter().any(relays) {
        return;
    }
    let field = ObjectFieldSelector {
        api_version: None,
        field_path: "status.podIPs".to_owned(),
    };
    container.env.get_or_insert_default().push(EnvVar {
        name: ADDRESSES.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(field),
            ..EnvVarSource::default()
        }),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_takes_the_place_of_the_definitions_flag_in_every_form() {
        for declared in [
            &["--election-timeout=500"][..],
            &["--election-timeout", "500"],
            &["-election-timeout", "500"],
            &["-election-timeout=500"],
            &["--election-timeout", "-1"],
        ] {
            let args = [declared, &["--pre-vote", "--logger", "zap", "-c", "a b"]].concat();
            let mut etcd = Container {
                args: Some(args.iter().map(ToString::to_string).collect()),
                ..Container::default()
            };
            let flags = Flags {
                flags: BTreeMap::from([(ELECTION.to_owned(), "1000".to_owned())]),
                ..Flags::default()
            };
            flags.put_into_etcd(&mut etcd);
            let wanted = ["--pre-vote", "--logger", "zap", "-c", "a b"];
            let wanted = [&wanted[..], &["--election-timeout=1000"]].concat();
            assert_eq!(etcd.args.expect("arguments"), wanted, "{declared:?}");
        }
    }

    #[test]
    fn the_launcher_is_told_with_the_agent_what_concerns_both() {
        let flags = Flags {
            flags: BTreeMap::new(),
            agent: vec![
                (RELAY_CLIENTS_VARIABLE, "true".to_owned()),
                (AGENT_ELECTION, "1000".to_owned()),
            ],
            fitted: None,
        };
        let variable = |name: &str, value: &str| EnvVar {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            value_from: None,
        };
        let shipped = Container {
            env: Some(vec![variable(RELAY_CLIENTS_VARIABLE, "false")]),
            ..Container::default()
        };
        let (mut etcd, mut agent) = (shipped.clone(), shipped);
        flags.put_into_etcd(&mut etcd);
        flags.tell_agent(&mut agent);
        let relays = variable(RELAY_CLIENTS_VARIABLE, "true");
        assert_eq!(etcd.env, Some(vec![relays.clone()]));
        let told = vec![relays, variable(AGENT_ELECTION, "1000")];
        assert_eq!(agent.env, Some(told));
    }
}
