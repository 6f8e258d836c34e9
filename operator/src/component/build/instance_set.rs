//! The InstanceSet: what the definition and the Component say of members, in one object.

use std::collections::BTreeMap;

use etcd_operator_api::instance_set::MembershipReconfiguration;
use etcd_operator_api::restore::{SEED, SEEDED_LABEL};
use etcd_operator_api::volume::{Retention, RetentionPolicy, VolumeClaimTemplate};
use etcd_operator_api::{
    ComponentSpec, InstanceSet, InstanceSetSpec, Opaque, TerminationPolicy, labels,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use kube::ResourceExt;

use super::super::accounts;
use super::super::tls::Tls;
use super::super::validate::{SpecError, Valid};
use super::metadata::{child, child_labels};
use super::template::template;
use crate::controller::own;

pub(in super::super) fn instance_set(valid: &Valid<'_>) -> Result<InstanceSet, SpecError> {
    let mut metadata = child(valid, valid.name.to_string());
    metadata.annotations = Some(annotations(valid));
    if valid.component.annotations().contains_key(SEED) {
        let label = (SEEDED_LABEL.to_owned(), "true".to_owned());
        metadata.labels.get_or_insert_default().extend([label]);
    }
    let mut instance_set = InstanceSet {
        metadata,
        spec: spec(valid)?,
        status: None,
    };
    own(&mut instance_set, valid.component);
    Ok(instance_set)
}

fn annotations(valid: &Valid<'_>) -> BTreeMap<String, String> {
    let generation = valid.component.metadata.generation.unwrap_or_default();
    let held = valid.component.spec.termination_policy == TerminationPolicy::DoNotTerminate;
    let replace = valid.component.annotations();
    let replace = replace.get_key_value(labels::REPLACE_UNREACHABLE);
    let replace = replace.map(|(name, value)| (name.clone(), value.clone()));
    let held = held.then(|| {
        (
            labels::TERMINATION_POLICY.to_owned(),
            labels::HELD.to_owned(),
        )
    });
    let always = BTreeMap::from([
        (labels::GENERATION.to_owned(), generation.to_string()),
        (
            labels::CRD_API_VERSION.to_owned(),
            "workloads.kubeblocks.io/v1".to_owned(),
        ),
        (
            labels::COMPONENT.to_owned(),
            valid.component.spec.comp_def.clone(),
        ),
        (
            labels::SERVICE_VERSION.to_owned(),
            valid.release.service_version.clone(),
        ),
        (labels::CLUSTER_UID.to_owned(), valid.cluster_uid.clone()),
    ]);
    let seed = valid.component.annotations().get(SEED).cloned();
    let seed = seed.map(|seed| (SEED.to_owned(), seed));
    let tls = valid.tls.as_ref().map(Tls::record);
    let accounts = valid.accounts.then(accounts::record);
    let downgrade = valid.change.downgrade;
    let downgrade = downgrade.map(|to| (labels::DOWNGRADE.to_owned(), to.to_string()));
    let upgrade = valid.change.upgrade;
    let upgrade = upgrade.map(|to| (labels::UPGRADE.to_owned(), to.to_string()));
    let awaited = valid.change.until.clone();
    let awaited = awaited.map(|version| (labels::MINOR_AWAITED.to_owned(), version));
    always
        .into_iter()
        .chain(held)
        .chain(replace)
        .chain(seed)
        .chain(tls)
        .chain(accounts)
        .chain(downgrade)
        .chain(upgrade)
        .chain(awaited)
        .collect()
}

fn spec(valid: &Valid<'_>) -> Result<InstanceSetSpec, SpecError> {
    let (wish, definition) = (&valid.component.spec, &valid.definition.spec);
    let template = Opaque::of(&template(valid)?);
    let actions = definition.lifecycle_actions.clone();
    let switchover = actions
        .as_ref()
        .and_then(|actions| actions.switchover.clone());
    Ok(InstanceSetSpec {
        replicas: wish.replicas,
        stop: wish.stop == Some(true),
        min_ready_seconds: definition.min_ready_seconds,
        selector: LabelSelector {
            match_labels: Some(child_labels(valid)),
            match_expressions: None,
        },
        template: template.map_err(|error| SpecError::NotOfType(error.to_string()))?,
        volume_claim_templates: wish
            .volume_claim_templates
            .iter()
            .map(claim_template)
            .collect(),
        persistent_volume_claim_retention_policy: retention(&valid.component.spec),
        pod_management_policy: definition.pod_management_policy,
        pod_update_policy: wish
            .pod_update_policy
            .unwrap_or(definition.pod_update_policy),
        instance_update_strategy: wish.instance_update_strategy.clone().unwrap_or_default(),
        member_update_strategy: definition.update_strategy,
        roles: definition.roles.clone(),
        membership_reconfiguration: switchover.map(|switchover| MembershipReconfiguration {
            switchover: Some(switchover),
        }),
        lifecycle_actions: actions,
        template_vars: BTreeMap::new(),
        headless_service_annotations: monitoring(valid),
        instances: Vec::new(),
        offline_instances: wish.offline_instances.clone(),
        paused: false,
    })
}

/// An empty storage class means the default one (KubeBlocks' rule), which a claim asks for by leaving it out.
fn claim_template(template: &VolumeClaimTemplate) -> VolumeClaimTemplate {
    let mut template = template.clone();
    template.spec.storage_class_name = template
        .spec
        .storage_class_name
        .filter(|class| !class.is_empty());
    if template.spec.access_modes.is_empty() {
        template.spec.access_modes = vec!["ReadWriteOnce".to_owned()];
    }
    template
}

/// How long claims live.
pub(in super::super) fn retention(spec: &ComponentSpec) -> RetentionPolicy {
    let wish = spec
        .persistent_volume_claim_retention_policy
        .unwrap_or_default();
    let wipe = spec.termination_policy == TerminationPolicy::WipeOut;
    let when_deleted = if wipe {
        Retention::Delete
    } else {
        wish.when_deleted.unwrap_or_default()
    };
    RetentionPolicy {
        when_deleted: Some(when_deleted),
        when_scaled: Some(wish.when_scaled.unwrap_or_default()),
    }
}

/// What tells Prometheus to scrape the exporter, unless the user disabled it.
fn monitoring(valid: &Valid<'_>) -> BTreeMap<String, String> {
    let Some(exporter) = &valid.definition.spec.exporter else {
        return BTreeMap::new();
    };
    if valid.component.spec.disable_exporter == Some(true) {
        return BTreeMap::new();
    }
    let name = |field: &str| format!("{}{field}", labels::MONITOR_PREFIX);
    let text =
        |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
    BTreeMap::from([
        (name("path"), text(&exporter.scrape_path, "/metrics")),
        (
            name("port"),
            scrape_port(valid, &text(&exporter.scrape_port, "http")),
        ),
        (
            name("scheme"),
            match valid.secure_exporter() {
                Some(_) => "https".to_owned(),
                None => text(&exporter.scrape_scheme, "http"),
            },
        ),
        (name("scrape"), "true".to_owned()),
    ])
}

/// Scrapers want numbers: a name is looked up among the containers' ports.
fn scrape_port(valid: &Valid<'_>, port: &str) -> String {
    let exporter = valid.definition.spec.exporter.as_ref();
    let named = exporter.and_then(|exporter| exporter.container_name.as_ref());
    let answers = |name: &String| named.is_none_or(|named| named == name);
    let containers = valid.runtime.containers.iter();
    let mut ports = containers
        .filter(|container| answers(&container.name))
        .flat_map(|c| c.ports.iter().flatten());
    let named = ports.find(|known| known.name.as_deref() == Some(port));
    named.map_or_else(|| port.to_owned(), |known| known.container_port.to_string())
}
