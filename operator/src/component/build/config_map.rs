//! Environment of the containers, as a ConfigMap: it is read when a container starts, so that a change of the
//! member count does not change the pods' template and restart them.

use std::collections::BTreeMap;

use etcd_operator_api::names::{headless_domain, service_domain};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::super::validate::Valid;
use super::metadata::child;
use super::service::leader_service_name;
use crate::controller::own;
use crate::instanceset::names;

pub(in super::super) fn environment(valid: &Valid<'_>, cluster_domain: &str) -> ConfigMap {
    let namespace = valid.component.namespace().unwrap_or_default();
    let spec = &valid.component.spec;
    let replicas = u32::try_from(spec.replicas).unwrap_or(0);
    let pods = valid.name.pods(replicas, &spec.offline_instances);
    let domain = headless_domain(&valid.name, &namespace, cluster_domain);
    let hosts: Vec<String> = pods.iter().map(|pod| format!("{pod}.{domain}")).collect();
    let mut data = BTreeMap::from([
        ("CLUSTER_NAME".to_owned(), valid.cluster.clone()),
        ("CLUSTER_NAMESPACE".to_owned(), namespace.clone()),
        ("COMPONENT_REPLICAS".to_owned(), spec.replicas.to_string()),
        (
            "ETCD_COMPONENT_NAME".to_owned(),
            valid.component_name.clone(),
        ),
        (names::ENV_CLUSTER_UID.to_owned(), valid.cluster_uid.clone()),
        (names::ENV_HEADLESS_DOMAIN.to_owned(), domain),
        (names::ENV_PEERS.to_owned(), pods.join(",")),
        ("PEER_FQDNS".to_owned(), hosts.join(",")),
    ]);
    if let Some(service) = leader_service_name(valid) {
        let service = service_domain(&service, &namespace, cluster_domain);
        data.insert(names::ENV_LEADER_SERVICE.to_owned(), service);
    }
    if valid.tls.is_some() {
        data.insert("TLS_ENABLED".to_owned(), "true".to_owned());
    }
    let mut map = ConfigMap {
        metadata: child(valid, valid.name.env_config_map()),
        data: Some(data),
        ..ConfigMap::default()
    };
    own(&mut map, valid.component);
    map
}
