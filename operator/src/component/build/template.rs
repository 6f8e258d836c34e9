//! The pods' template: the definition's runtime with the release's images and the Component's fields in it.
//!
//! What depends on the single pod (its claims, host name, bootstrap variables) is added by the InstanceSet.

use std::collections::BTreeMap;

use etcd_operator_api::component_definition::ComponentDefinitionSpec;
use etcd_operator_api::scheduling::SchedulingPolicy;
use etcd_operator_api::{Opaque, labels};
use k8s_openapi::api::core::v1::{
    Affinity, ConfigMapEnvSource, Container, EnvFromSource, EnvVar, PodAffinityTerm,
    PodAntiAffinity, PodSpec, PodTemplateSpec, ResourceRequirements, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kbagent_protocol::CONTAINER;
use kube::api::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::part::secret_volume;
use super::super::validate::{SpecError, Valid};
use super::super::{accounts, settings, tls};
use super::metadata::{child_labels, pod_selector};
use super::service_account::{named_account, service_account_name};

/// Volume with the agents' token; the definition's containers mount it by this name.
const TOKEN_VOLUME: &str = "kbagent-token";
/// The container that `kubectl logs` and `kubectl exec` use when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Members spread over nodes first, over zones second.
const SPREAD: [(&str, i32); 2] = [
    ("kubernetes.io/hostname", 100),
    ("topology.kubernetes.io/zone", 50),
];

pub(super) fn template(valid: &Valid<'_>) -> Result<PodTemplateSpec, SpecError> {
    let mut pod = valid.runtime.clone();
    set_flags(&mut pod, valid);
    for container in pod
        .init_containers
        .iter_mut()
        .flatten()
        .chain(&mut pod.containers)
    {
        set_image(container, valid);
        set_environment(container, valid);
    }
    // KubeBlocks' rule: a component's resources are those of its first container.
    if let (Some(first), Some(wish)) = (pod.containers.first_mut(), &valid.component.spec.resources)
    {
        first.resources = Some(ResourceRequirements {
            limits: Some(wish.limits.clone()),
            requests: Some(wish.requests.clone()),
            ..ResourceRequirements::default()
        });
    }
    if let Some(wish) = &valid.tls {
        tls::put_into(&mut pod, wish, valid.name.tls_secret(), CONTAINER);
        if let Some(trust) = &valid.trust {
            tls::start_with(&mut pod, trust);
        }
        if let Some(exporter) = valid.secure_exporter() {
            tls::put_into_exporter(&mut pod, exporter);
        }
    }
    if valid.accounts {
        accounts::put_into(&mut pod, valid.name.accounts_secret(), CONTAINER);
    }
    agent_first(&mut pod);
    pod.volumes
        .get_or_insert_default()
        .push(secret_volume(TOKEN_VOLUME, valid.name.agent_secret()));
    let account = named_account(valid.component).map(str::to_owned);
    pod.service_account_name = Some(account.unwrap_or_else(|| service_account_name(valid)));
    let runtime_class = valid.component.spec.runtime_class_name.clone();
    pod.runtime_class_name = runtime_class.or(pod.runtime_class_name);
    schedule(&mut pod, valid)?;
    Ok(PodTemplateSpec {
        metadata: Some(metadata(valid)),
        spec: Some(pod),
    })
}

/// The kubelet starts containers in their order, each when the `postStart` of the one before has ended; the agent's
/// brings etcd's launcher. Were it ever otherwise, etcd's container would fail to start and be started again.
fn agent_first(pod: &mut PodSpec) {
    pod.containers
        .sort_by_key(|container| container.name != CONTAINER);
}

fn metadata(valid: &Valid<'_>) -> ObjectMeta {
    let (wish, definition) = (&valid.component.spec, &valid.definition.spec);
    let mut pod_labels = definition.labels.clone();
    pod_labels.extend(wish.labels.clone());
    // The operator's own labels last: services and budgets live by them.
    pod_labels.extend(pod_selector(valid));
    pod_labels.insert(labels::COMPONENT.to_owned(), wish.comp_def.clone());
    pod_labels.insert(
        labels::SERVICE_VERSION.to_owned(),
        valid.release.service_version.clone(),
    );
    let mut annotations: BTreeMap<String, String> = definition.annotations.clone();
    annotations.extend(wish.annotations.clone());
    if let Some(restarted) = &valid.restarted {
        let last = || restarted.clone();
        annotations
            .entry(labels::RESTART.to_owned())
            .or_insert_with(last);
    }
    annotations.insert(labels::ROLE_PROBE.to_owned(), role_probe(definition));
    if let Some(first) = valid.runtime.containers.first() {
        // What `kubectl logs` and `exec` use: the definition's first container, which is not the first of the pod.
        annotations
            .entry(DEFAULT_CONTAINER.to_owned())
            .or_insert_with(|| first.name.clone());
    }
    ObjectMeta {
        labels: Some(pod_labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

/// What the role path must know of the definition's probe. A pod's annotations are changed in place.
fn role_probe(definition: &ComponentDefinitionSpec) -> String {
    let actions = definition.lifecycle_actions.as_ref();
    match actions.and_then(|actions| actions.role_probe.as_ref()) {
        None => labels::ROLE_PROBE_OFF.to_owned(),
        Some(probe) => match u32::try_from(probe.period_seconds) {
            Err(_) | Ok(0) => labels::ROLE_PROBE_DEFAULT_SECONDS.to_string(),
            Ok(seconds) => seconds.to_string(),
        },
    }
}

/// KubeBlocks' rule, as with resources: the first container of the definition is the service itself.
fn set_flags(pod: &mut PodSpec, valid: &Valid<'_>) {
    if let Some(first) = pod.containers.first_mut() {
        valid.flags.put_into_etcd(first);
        settings::tell_addresses(first);
    }
    let mut containers = pod.containers.iter_mut();
    if let Some(agent) = containers.find(|container| container.name == CONTAINER) {
        valid.flags.tell_agent(agent);
        settings::tell_addresses(agent);
    }
}

fn set_image(container: &mut Container, valid: &Valid<'_>) {
    if let Some(image) = valid.release.images.get(&container.name) {
        container.image = Some(image.clone());
    }
}

/// The component's variables from its ConfigMap first; the user's own override the definition's by name.
fn set_environment(container: &mut Container, valid: &Valid<'_>) {
    let environment = EnvFromSource {
        config_map_ref: Some(ConfigMapEnvSource {
            name: valid.name.env_config_map(),
            optional: Some(false),
        }),
        ..EnvFromSource::default()
    };
    container
        .env_from
        .get_or_insert_default()
        .insert(0, environment);
    let own: &mut Vec<EnvVar> = container.env.get_or_insert_default();
    for wish in &valid.component.spec.env {
        own.retain(|known| known.name != wish.name);
        own.push(wish.clone());
    }
}

fn schedule(pod: &mut PodSpec, valid: &Valid<'_>) -> Result<(), SpecError> {
    let wish = valid
        .component
        .spec
        .scheduling_policy
        .clone()
        .unwrap_or_default();
    let SchedulingPolicy {
        scheduler_name,
        node_selector,
        node_name,
        affinity,
        tolerations,
        topology_spread_constraints,
    } = wish;
    pod.scheduler_name = scheduler_name.or(pod.scheduler_name.take());
    pod.node_name = node_name.or(pod.node_name.take());
    if !node_selector.is_empty() {
        pod.node_selector = Some(node_selector);
    }
    if let Some(affinity) = affinity {
        pod.affinity = Some(parse(&affinity, "schedulingPolicy.affinity")?);
    }
    let field = "schedulingPolicy.tolerations";
    for toleration in &tolerations {
        pod.tolerations
            .get_or_insert_default()
            .push(parse(toleration, field)?);
    }
    let field = "schedulingPolicy.topologySpreadConstraints";
    for constraint in &topology_spread_constraints {
        pod.topology_spread_constraints
            .get_or_insert_default()
            .push(parse(constraint, field)?);
    }
    let spread: &mut Affinity = pod.affinity.get_or_insert_default();
    spread.pod_anti_affinity.get_or_insert_with(|| apart(valid));
    Ok(())
}

fn parse<T: DeserializeOwned + Serialize>(object: &Opaque, field: &str) -> Result<T, SpecError> {
    object
        .parse(field)
        .map_err(|error| SpecError::NotOfType(error.to_string()))
}

/// Preferred, not required (rule P6): a cluster with fewer nodes than members still comes up.
fn apart(valid: &Valid<'_>) -> PodAntiAffinity {
    let term = |key: &str, weight| WeightedPodAffinityTerm {
        weight,
        pod_affinity_term: PodAffinityTerm {
            label_selector: Some(LabelSelector {
                match_labels: Some(child_labels(valid)),
                match_expressions: None,
            }),
            topology_key: key.to_owned(),
            ..PodAffinityTerm::default()
        },
    };
    PodAntiAffinity {
        preferred_during_scheduling_ignored_during_execution: Some(
            SPREAD
                .iter()
                .map(|(key, weight)| term(key, *weight))
                .collect(),
        ),
        ..PodAntiAffinity::default()
    }
}
