//! The Component of one componentSpec.

use std::collections::BTreeMap;

use etcd_operator_api::names::ComponentName;
use etcd_operator_api::tls::{Issuer, TlsConfig};
use etcd_operator_api::{Cluster, ClusterComponentSpec, Component, ComponentSpec, labels};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::super::resolution::{Resolution, SpecError};
use super::reach::reach;
use crate::controller::own;

pub(in super::super) fn component(
    cluster: &Cluster,
    spec: &ClusterComponentSpec,
    resolution: &Resolution,
) -> Result<Component, SpecError> {
    let name = ComponentName::new(&cluster.name_any(), &spec.name)?;
    let mut component = Component {
        metadata: ObjectMeta {
            name: Some(name.to_string()),
            namespace: cluster.namespace(),
            labels: Some(component_labels(cluster, resolution)),
            annotations: Some(annotations(cluster, reach(cluster, spec)?)),
            finalizers: Some(vec![labels::COMPONENT_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: component_spec(cluster, spec, resolution),
        status: None,
    };
    own(&mut component, cluster);
    Ok(component)
}

fn component_labels(cluster: &Cluster, resolution: &Resolution) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            labels::MANAGED_BY.to_owned(),
            labels::MANAGED_BY_VALUE.to_owned(),
        ),
        (labels::INSTANCE.to_owned(), cluster.name_any()),
        (labels::COMPONENT_NAME.to_owned(), resolution.name.clone()),
        (
            labels::COMPONENT.to_owned(),
            resolution.component_def.clone(),
        ),
        (
            labels::COMPONENT_DEFINITION.to_owned(),
            resolution.component_def.clone(),
        ),
    ])
}

/// `reach` is who may reach the members when the Cluster does not say.
fn annotations(cluster: &Cluster, reach: Option<&str>) -> BTreeMap<String, String> {
    let generation = cluster.metadata.generation.unwrap_or_default();
    let own = cluster.annotations();
    let passed = [
        labels::NETWORK_POLICY,
        labels::REPLACE_UNREACHABLE,
        labels::CERT_MANAGER_ISSUER,
        labels::WITHOUT_BACKUP,
        labels::WITHOUT_V2_CHECK,
    ];
    let passed = passed
        .into_iter()
        .filter_map(|name| own.get_key_value(name));
    let passed = passed.map(|(name, value)| (name.clone(), value.clone()));
    let always = BTreeMap::from([
        (labels::GENERATION.to_owned(), generation.to_string()),
        (
            labels::CRD_API_VERSION.to_owned(),
            "apps.kubeblocks.io/v1".to_owned(),
        ),
        (
            labels::CLUSTER_UID.to_owned(),
            cluster.uid().unwrap_or_default(),
        ),
    ]);
    let reach = reach.map(|reach| (labels::NETWORK_POLICY.to_owned(), reach.to_owned()));
    always.into_iter().chain(reach).chain(passed).collect()
}

/// Every field of the desired spec is named, so that a new one cannot be forgotten. Those without an effect are refused
/// at admission.
fn component_spec(
    cluster: &Cluster,
    spec: &ClusterComponentSpec,
    resolution: &Resolution,
) -> ComponentSpec {
    let ClusterComponentSpec {
        name: _,
        component_def: _,
        service_version: _,
        service_refs: _,
        labels,
        annotations,
        env,
        replicas,
        scheduling_policy,
        resources,
        volume_claim_templates,
        persistent_volume_claim_retention_policy,
        volumes: _,
        services,
        system_accounts,
        configs,
        tls,
        issuer,
        service_account_name,
        parallel_pod_management_concurrency: _,
        pod_update_policy,
        pod_upgrade_policy: _,
        instance_update_strategy,
        instances: _,
        offline_instances,
        disable_exporter,
        stop,
    } = spec.clone();
    let inherited = cluster.spec.scheduling_policy.clone();
    ComponentSpec {
        termination_policy: cluster.spec.termination_policy,
        comp_def: resolution.component_def.clone(),
        service_version: Some(resolution.service_version.clone()),
        labels,
        annotations,
        env,
        replicas,
        scheduling_policy: scheduling_policy.or(inherited),
        runtime_class_name: cluster.spec.runtime_class_name.clone(),
        resources,
        volume_claim_templates,
        persistent_volume_claim_retention_policy,
        services,
        configs,
        tls_config: tls_config(tls, issuer),
        system_accounts,
        service_account_name,
        pod_update_policy,
        instance_update_strategy,
        offline_instances,
        disable_exporter,
        stop,
    }
}

fn tls_config(tls: Option<bool>, issuer: Option<Issuer>) -> Option<TlsConfig> {
    let enable = tls == Some(true);
    (enable || issuer.is_some()).then_some(TlsConfig { enable, issuer })
}
